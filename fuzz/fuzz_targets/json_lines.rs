//! JSON values of any kind, one a line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use wheelhouse::codec::JsonLines;
use wheelhouse_fuzz::{Arrival, assert_round_trip, packets_of};

fuzz_target!(|input: (u8, Arrival<'_>)| {
    let (max, arrival) = input;
    let max = usize::from(max);
    let read = packets_of(&JsonLines::<Value>::new(max), &arrival, max + 1);
    // A number with a fraction is read by an approximation, so it may come back as its neighbour.
    let exact = read.into_iter().filter(|value| !has_fraction(value)).collect();
    assert_round_trip(&JsonLines::<Value>::new(1 << 20), exact, false);
});

fn has_fraction(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(values) => values.iter().any(has_fraction),
        Value::Object(fields) => fields.values().any(has_fraction),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}
