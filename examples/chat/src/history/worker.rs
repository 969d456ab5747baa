//! The history's thread: takes what waits, has it done at one go, hands back the answers.

use std::sync::mpsc::Receiver;

use super::store::Store;
use super::{Answers, Command};

/// Commands in one transaction.
const BATCH: usize = 256;

/// What the thread can be told.
#[derive(Debug)]
pub(super) enum Input<T> {
    Do(Command<T>),
    Stop,
}

/// Runs until it is told to stop, or until nobody is left who could tell it anything.
pub(super) fn run<T>(store: &mut Store, inputs: &Receiver<Input<T>>, answers: &Answers<T>) {
    let mut stopped = false;
    while !stopped {
        let Ok(mut input) = inputs.recv() else { break };
        let mut batch = Vec::new();
        loop {
            match input {
                Input::Do(command) => batch.push(command),
                Input::Stop => stopped = true,
            }
            if stopped || batch.len() == BATCH {
                break;
            }
            match inputs.try_recv() {
                Ok(next) => input = next,
                Err(_) => break,
            }
        }
        if !batch.is_empty() {
            answers(store.apply(batch));
        }
    }
    store.close();
}
