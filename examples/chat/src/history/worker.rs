//! x
use super::*;
#[derive(Debug)]
pub(super) enum Input<T> {
    Do(Command<T>),
    Stop,
}
pub(super) fn run<T>(
    _: &mut store::Store,
    _: &std::sync::mpsc::Receiver<Input<T>>,
    _: &Answers<T>,
) {
}
