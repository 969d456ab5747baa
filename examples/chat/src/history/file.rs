//! The history's file: its form, and whether it is ours.

use rusqlite::{Connection, OpenFlags, OptionalExtension, Result, Row, Transaction, params};

use super::sql::{prune_rooms, unsigned};
use super::store::in_memory;
use super::{Opened, Room, Settings};
use crate::names::Key;

/// Marks a file as ours: "Whch".
const APPLICATION_ID: i64 = 0x5768_6368;
/// The form below. A newer one gets a step in [`bring_up`].
const VERSION: i64 = 2;

const SCHEMA: &str = "
    CREATE TABLE rooms (
        room INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        owner TEXT,
        last_id INTEGER NOT NULL DEFAULT 0,
        kept INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX rooms_by_age ON rooms (last_id);
    CREATE TABLE messages (
        room INTEGER NOT NULL,
        id INTEGER NOT NULL,
        ts INTEGER NOT NULL,
        user TEXT NOT NULL,
        text TEXT NOT NULL,
        kind INTEGER NOT NULL,
        session TEXT,
        nonce TEXT,
        PRIMARY KEY (room, id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE nonces (
        session TEXT NOT NULL,
        nonce TEXT NOT NULL,
        id INTEGER NOT NULL,
        ts INTEGER NOT NULL,
        room TEXT NOT NULL,
        PRIMARY KEY (session, nonce)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX nonces_by_age ON nonces (id);
";

/// The greatest id that was forgotten of a room, also of one that is there no more.
const FLOORS: &str = "
    CREATE TABLE floors (
        name TEXT PRIMARY KEY,
        id INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX floors_by_age ON floors (id);
";

/// From form 1, which did not know what it had forgotten: all that is older than the oldest message of a room.
const FLOORS_OF_FORM_1: &str = "
    INSERT INTO floors (name, id)
    SELECT name, coalesce((SELECT min(id) - 1 FROM messages m WHERE m.room = rooms.room), last_id)
    FROM rooms WHERE last_id > 0;
";

/// Opens the file and makes sure that it is ours; the text says what it is instead.
pub(super) fn open(settings: &Settings) -> std::result::Result<Connection, String> {
    let mut connection = connect(settings).map_err(|error| why_closed(&error))?;
    prepare(&mut connection)?;
    Ok(connection)
}

/// As [`open`], for a file that was ours before.
pub(super) fn reopen(settings: &Settings) -> Result<Connection> {
    let mut connection = connect(settings)?;
    // A file put in place of the old one may be new, and wants its tables.
    prepare(&mut connection).map_err(|text| {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB);
        rusqlite::Error::SqliteFailure(code, Some(text))
    })?;
    Ok(connection)
}

fn connect(settings: &Settings) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = if in_memory(&settings.path) {
        Connection::open_in_memory()?
    } else {
        Connection::open_with_flags(&settings.path, flags)?
    };
    connection.busy_timeout(settings.busy_timeout)?;
    // The first look into the file: a foreign one shows itself here.
    connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))?;
    Ok(connection)
}

fn why_closed(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => "this file is not a SQLite database".into(),
        _ => format!("cannot be opened: {error}"),
    }
}

/// Makes the tables in an empty file, and refuses a file of somebody else's. Only then is anything changed.
fn prepare(connection: &mut Connection) -> std::result::Result<(), String> {
    let failed = |error: rusqlite::Error| format!("cannot be used: {error}");
    let pragma = |connection: &Connection, name: &str| {
        connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(failed)
    };
    let (application, version) =
        (pragma(connection, "application_id")?, pragma(connection, "user_version")?);
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(failed)?;
    match (application, version) {
        (0, 0) if tables == 0 => {}
        (APPLICATION_ID, 1..=VERSION) => {}
        (APPLICATION_ID, _) => {
            return Err(format!(
                "this history has form {version}, made by a newer version; this one knows up to {VERSION}"
            ));
        }
        _ => {
            return Err(format!(
                "this is another program's SQLite database (application id {application:#x}, \
                 {tables} tables and indices)"
            ));
        }
    }
    durable(connection).map_err(failed)?;
    if version < VERSION {
        bring_up(connection).map_err(failed)?;
    }
    Ok(())
}

fn durable(connection: &Connection) -> Result<()> {
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")
}

/// Makes of an empty file, or of one of an older form, one of this form; a power cut leaves the one or the other.
fn bring_up(connection: &mut Connection) -> Result<()> {
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    // Another server may have been here in between.
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version == 0 {
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    if version <= 1 {
        respell(&transaction)?;
        transaction.execute_batch(FLOORS)?;
        transaction.execute_batch(FLOORS_OF_FORM_1)?;
    }
    if version < VERSION {
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    transaction.commit()
}

/// From form 1, where some rooms lie under a key that is no name, or not its own key. Where there is a room under the right
/// one as well, they are one.
fn respell(transaction: &Transaction<'_>) -> Result<()> {
    let mut statement = transaction.prepare("SELECT room, name FROM rooms")?;
    let rooms: Vec<(i64, String)> =
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_>>()?;
    for (room, name) in rooms {
        let key = Key::of_form_1(&name);
        if key.as_str() == name {
            continue;
        }
        let right: Option<i64> = transaction
            .query_row("SELECT room FROM rooms WHERE name = ?1", [key.as_str()], |row| row.get(0))
            .optional()?;
        let Some(right) = right else {
            transaction.execute(
                "UPDATE rooms SET name = ?2 WHERE room = ?1",
                params![room, key.as_str()],
            )?;
            continue;
        };
        transaction.execute("UPDATE messages SET room = ?2 WHERE room = ?1", [room, right])?;
        transaction.execute(
            "UPDATE rooms SET kept = rooms.kept + old.kept, last_id = max(rooms.last_id, old.last_id)
             FROM (SELECT kept, last_id FROM rooms WHERE room = ?1) AS old WHERE room = ?2",
            [room, right],
        )?;
        transaction.execute("DELETE FROM rooms WHERE room = ?1", [room])?;
    }
    Ok(())
}

/// What is in the file, once it has no more rooms than it may: it may have been left by a server with more of them, or one
/// that could not write down that a room was to go.
pub(super) fn opened(connection: &mut Connection, settings: &Settings) -> Result<Opened> {
    let rooms = |connection: &Connection| {
        connection.query_row("SELECT count(*) FROM rooms", [], |row| row.get::<_, i64>(0))
    };
    if rooms(connection)? >= i64::from(settings.rooms) {
        let transaction =
            connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        prune_rooms(&transaction, settings.rooms, &settings.lobby)?;
        transaction.commit()?;
    }
    let mut statement =
        connection.prepare("SELECT name, owner, last_id FROM rooms ORDER BY name")?;
    let room = |row: &Row<'_>| {
        Ok(Room { name: row.get(0)?, owner: row.get(1)?, last_id: unsigned(row.get(2)?) })
    };
    let rooms = statement.query_map([], room)?.collect::<Result<Vec<_>>>()?;
    let last_id = rooms.iter().map(|room| room.last_id).max().unwrap_or(0);
    // The newest of all may have been in a room that is forgotten.
    let forgotten: Option<i64> =
        connection.query_row("SELECT max(id) FROM floors", [], |row| row.get(0))?;
    let last_id = last_id.max(unsigned(forgotten.unwrap_or(0)));
    Ok(Opened { last_id, rooms })
}

pub(super) fn checkpoint(connection: &Connection) -> Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}
