//! A disk that fails, and works again.

use super::*;
use rusqlite::Connection;

fn fault(result: Result<Reply, StoreError>) -> Fault {
    result.expect_err("a fault").fault
}

fn open(settings: Settings) -> Store {
    Store::open(settings).unwrap().0
}

fn append(id: u64) -> Command<u64> {
    Command { tag: id, request: Request::Append(message(id, "hi")) }
}

#[test]
fn a_locked_file_fails_the_writes_and_no_read_until_it_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { busy_timeout: Duration::from_millis(5), ..on_disk(dir.path()) };
    let desk = Desk::open(settings.clone());
    desk.say(1, "before");
    let other = Connection::open(&settings.path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();

    let refused = desk.ask(Request::Append(message(2, "meanwhile"))).unwrap_err();
    assert_eq!(refused.fault, Fault::Locked);
    assert_eq!(refused.to_string(), "the history is locked by another process: database is locked");
    assert_eq!(refused.message.as_deref(), Some(&message(2, "meanwhile")));
    assert_eq!(desk.before(None, 10), (vec![1], false));

    other.execute_batch("COMMIT").unwrap();
    desk.say(3, "after");
    assert_eq!(desk.before(None, 10), (vec![1, 3], false));
}

#[test]
fn a_batch_waits_for_a_lock_twice_at_most_and_not_once_for_each_message() {
    let dir = tempfile::tempdir().unwrap();
    // 200 messages at 100 ms each would be 20 s; the assertion is on the attempts, not on the clock.
    let settings = Settings { busy_timeout: Duration::from_millis(100), ..on_disk(dir.path()) };
    let mut store = open(settings.clone());
    let other = Connection::open(&settings.path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let mut batch: Vec<_> = (1..=200).map(append).collect();
    batch.insert(
        0,
        Command {
            tag: 0,
            request: Request::Before { room: "lobby".into(), before: None, limit: 9 },
        },
    );
    let answers = store.apply(batch);
    assert!(answers[0].result.is_ok(), "reads go on");
    assert!(
        answers[1..]
            .iter()
            .all(|answer| answer.result.as_ref().unwrap_err().fault == Fault::Locked)
    );
    assert_eq!(store.attempts, 2, "the batch, and the read alone");
}

#[test]
fn a_full_disk_fails_the_messages_that_do_not_fit_and_recovers_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(on_disk(dir.path()));
    store.connection().pragma_update(None, "max_page_count", 40).unwrap();
    let desk = Desk::over(store);
    let long = "x".repeat(2_000);
    let mut stored = Vec::new();
    let refused = (1..=100)
        .find_map(|id| match desk.ask(Request::Append(message(id, &long))) {
            Ok(_) => {
                stored.push(id);
                None
            }
            Err(error) => Some(error),
        })
        .expect("40 pages do not hold 100 messages of 2,000 characters");
    assert_eq!(refused.fault, Fault::Full);
    assert_eq!(refused.to_string(), "the disk is full: database or disk is full");
    assert!(stored.len() > 10, "{stored:?}");
    assert_eq!(desk.before(None, 100), (stored, false), "what was acknowledged is there");

    desk.ask(Request::Clear { room: "lobby".into(), through: 10 }).unwrap();
    desk.say(200, &long);
}

#[test]
fn one_message_that_does_not_fit_does_not_take_its_batch_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(on_disk(dir.path()));
    store.connection().pragma_update(None, "max_page_count", 20).unwrap();
    let huge = Request::Append(message(2, &"x".repeat(200_000)));
    let answers = store.apply(vec![append(1), Command { tag: 2, request: huge }, append(3)]);
    let results: Vec<_> = answers.into_iter().map(|answer| answer.result).collect();
    let [first, second, third] = results.try_into().unwrap();
    assert_eq!(first, Ok(Reply::Stored(message(1, "hi"))));
    assert_eq!(fault(second), Fault::Full);
    assert_eq!(third, Ok(Reply::Stored(message(3, "hi"))));
}

#[test]
fn a_file_that_cannot_be_written_is_opened_anew_until_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(on_disk(dir.path()));
    store.connection().pragma_update(None, "query_only", true).unwrap();
    let desk = Desk::over(store);
    assert_eq!(fault(desk.ask(Request::Append(message(1, "hi")))), Fault::ReadOnly);
    desk.say(2, "the new connection has no such pragma");
}

#[test]
fn a_damaged_file_is_named_and_a_good_one_in_its_place_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let settings = on_disk(dir.path());
    let desk = Desk::open(settings.clone());
    desk.say(1, "hi");
    desk.history.stop();
    let good = std::fs::read(&settings.path).unwrap();

    let desk = Desk::open(settings.clone());
    let mut bad = good.clone();
    bad[100..].fill(0xaa); // all pages, and the header left as it was
    std::fs::write(&settings.path, &bad).unwrap();
    let refused = desk.ask(Request::Append(message(2, "hi")));
    assert_eq!(fault(refused), Fault::Corrupt);
    for left in ["chat.db-wal", "chat.db-shm"] {
        drop(std::fs::remove_file(dir.path().join(left)));
    }
    std::fs::write(&settings.path, &good).unwrap();
    desk.say(3, "hi");
    assert_eq!(desk.before(None, 10), (vec![1, 3], false));
}

fn refusal(path: &Path) -> String {
    let Err(error) = Store::open(Settings::new(path)) else { panic!("{path:?} was opened") };
    let text = error.to_string();
    assert_eq!(text.lines().count(), 1, "{text}");
    text.strip_prefix(path.to_str().unwrap()).expect("the file's name").to_owned()
}

#[test]
fn a_file_that_is_not_ours_is_refused_in_one_line_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("notes.txt");
    std::fs::write(&text, "no database, but more than a hundred bytes of text ".repeat(4)).unwrap();
    assert_eq!(refusal(&text), ": this file is not a SQLite database");

    let foreign = dir.path().join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE messages (x)").unwrap();
    let before = std::fs::read(&foreign).unwrap();
    assert!(refusal(&foreign).contains("another program's SQLite database"));
    assert_eq!(std::fs::read(&foreign).unwrap(), before);

    let newer = dir.path().join("newer.db");
    drop(open(Settings::new(&newer)));
    Connection::open(&newer).unwrap().pragma_update(None, "user_version", 9).unwrap();
    assert!(refusal(&newer).contains("this history has form 9, made by a newer version"));

    assert!(refusal(&dir.path().join("no/such/dir.db")).contains("cannot be opened"));
    assert!(refusal(dir.path()).contains("cannot be opened"));
}
