//! A room of hundreds: what is said there reaches all, and who comes and goes costs a frame a second each.

mod kit;

use kit::Server;
use serde_json::{Value, json};

const PEOPLE: usize = 500;

fn metric(server: &Server, name: &str) -> u64 {
    let metrics = server.get("/metrics", "Connection: close\r\n");
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}: {metrics}"))
}

#[test]
fn a_room_of_hundreds_hears_all_and_is_told_of_itself_in_summaries() {
    let server = Server::start(&["--address-clients", "1000"]);
    let mut people: Vec<_> =
        (0..PEOPLE).map(|person| server.hello(&format!("p{person}"), &json!({}))).collect();
    let joined = people[PEOPLE - 1].next_of("joined");
    assert_eq!(joined["count"], PEOPLE);
    assert_eq!(joined["people"].as_array().map(Vec::len), Some(200), "a list has an end");

    people[0].message("hello, all", "n1");
    for person in &mut people {
        let message = person.next_of("message");
        assert_eq!((&message["user"], &message["text"]), (&json!("p0"), &json!("hello, all")));
    }

    // The second half goes, all at once: the first is told in few frames.
    people.truncate(PEOPLE / 2);
    let mut left = 0;
    let mut frames = 0;
    while left < PEOPLE - PEOPLE / 2 {
        let presence = people[0].next_of("presence");
        frames += 1;
        left += match presence["event"].as_str() {
            Some("many") => presence["leaves"].as_u64().expect("a number") as usize,
            Some("leave") => 1,
            _ => 0,
        };
        assert!(presence["joins"] == Value::Null || presence["joins"].as_u64().is_some());
    }
    assert_eq!(left, PEOPLE - PEOPLE / 2);
    assert!(frames < PEOPLE / 2, "{frames} frames");

    // Each of the first 200 was told to all who were there, the rest in a summary each second.
    let sent = metric(&server, "wheelhouse_packets_out_total");
    let one_by_one = (PEOPLE * PEOPLE / 2) as u64;
    println!("{sent} frames; one by one they would have been over {one_by_one}");
    assert!(sent < one_by_one, "{sent}");
    assert_eq!(metric(&server, "wheelhouse_slow_consumers_total"), 0);
}
