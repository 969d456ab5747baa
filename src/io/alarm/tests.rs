use std::time::Duration;

use mio::{Events, Poll, Token};
use rustix::time::timerfd_gettime;

use super::{Alarm, FAR};
use crate::clock::{Tick, system_now};
use crate::io::Timeout;

const TOKEN: Token = Token(7);

/// Longer than any of these tests should take.
const PATIENCE: Duration = Duration::from_secs(20);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A timeout that begins at the start of the clock: what is later ends later.
fn timeout(span: Duration) -> Timeout {
    Timeout { span, at: Tick::START + span }
}

fn alarm() -> (Poll, Alarm) {
    let poll = Poll::new().expect("a poll");
    let alarm = Alarm::new(poll.registry(), TOKEN).expect("a descriptor");
    (poll, alarm)
}

/// How often the poll tells that it rang, within the limit.
fn rings(poll: &mut Poll, limit: Duration) -> usize {
    let mut events = Events::with_capacity(8);
    poll.poll(&mut events, Some(limit)).expect("a working poll");
    assert!(events.iter().all(|event| event.token() == TOKEN && event.is_readable()));
    events.iter().count()
}

/// What is left until it rings; zero where it is not set.
fn left(alarm: &Alarm) -> Duration {
    let left = timerfd_gettime(&alarm.timer).expect("a timer").it_value;
    Duration::try_from(left).expect("it is not negative")
}

#[test]
fn each_setting_rings_once_although_nothing_is_read() {
    let (mut poll, mut alarm) = alarm();
    for round in 1..=50 {
        alarm.set(timeout(Duration::from_micros(round)));
        assert_eq!(rings(&mut poll, PATIENCE), 1, "round {round}");
        assert_eq!(rings(&mut poll, Duration::ZERO), 0, "round {round}: told a second time");
        alarm.rang();
    }
}

#[test]
fn it_is_never_early() {
    let (mut poll, mut alarm) = alarm();
    for micros in [1, 10, 50, 100, 333, 500, 999, 1_000, 1_001, 1_500, 2_999] {
        let span = Duration::from_micros(micros);
        let began = system_now();
        alarm.set(timeout(span));
        assert_eq!(rings(&mut poll, PATIENCE), 1);
        let slept = began.elapsed();
        assert!(slept >= span, "{slept:?} instead of {span:?}");
        alarm.rang();
    }
}

#[test]
fn it_is_not_set_anew_for_the_same_moment_nor_for_a_later_one() {
    let (_poll, mut alarm) = alarm();
    alarm.set(timeout(ms(400)));
    for later in [400, 401, 700, 999] {
        alarm.set(timeout(ms(later)));
        assert_eq!(alarm.set_for, Some(timeout(ms(400)).at), "{later} ms");
        assert!(left(&alarm) <= ms(400), "{:?} left", left(&alarm));
    }
    alarm.set(timeout(ms(300)));
    assert_eq!(alarm.set_for, Some(timeout(ms(300)).at), "an earlier moment");
    assert!(left(&alarm) <= ms(300), "{:?} left", left(&alarm));
}

#[test]
fn a_look_and_a_long_sleep_leave_it_alone() {
    let (_poll, mut alarm) = alarm();
    for span in [Duration::ZERO, FAR, FAR * 3_600, Duration::MAX] {
        alarm.set(timeout(span));
        assert_eq!((alarm.set_for, left(&alarm)), (None, Duration::ZERO), "{span:?}");
    }
    alarm.set(timeout(FAR - Duration::from_nanos(1)));
    assert!(alarm.set_for.is_some());
}
