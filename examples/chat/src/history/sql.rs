//! The statements of the history; the tables are in `file.rs`.
//!
//! A room's messages lie together in the order of their ids, so a page is one walk along the table, and the oldest of a
//! room are found without a search. `rooms.kept` counts them, so the cap costs no count either. Nonces outlive their
//! messages: a resend must be known for one although the room has moved on. For the same reason there is a floor under each
//! room, the greatest id that was ever forgotten of it: a node that starts reads anew what was said some time ago.

use std::collections::BTreeSet;

use rusqlite::{OptionalExtension, Result, Row, Transaction, params};

use super::{Kind, Message, Nonce, Request, Settings};

/// Nonces remembered, in all rooms together.
const NONCES: u32 = 50_000;
/// How many more there may be before the oldest are thrown out.
pub(super) const NONCES_SLACK: u32 = 1_000;

/// Floors remembered: as many as a node may read anew messages of (`cluster/scripts.rs`, `EVENTS`).
const FLOORS: u32 = 10_000;

/// Messages in a page, whatever was asked for.
const PAGE: u32 = 1_000;

/// What a request came to; the request itself is put beside it later.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    Stored,
    Duplicate { id: u64, ts: u64, room: String },
    IdTaken(u64),
    Page { messages: Vec<Message>, more: bool },
    Done,
}

/// All requests of a transaction, and then the caps, once for each room that grew.
pub(super) fn perform_all(
    transaction: &Transaction<'_>,
    requests: &[Request],
    settings: &Settings,
    nonces: &mut u32,
) -> Result<Vec<Outcome>> {
    let mut grown = BTreeSet::new();
    let mut outcomes = Vec::with_capacity(requests.len());
    for request in requests {
        let outcome = perform(transaction, request)?;
        if let (Outcome::Stored, Request::Append(message)) = (&outcome, request) {
            grown.insert(message.room.as_str());
            *nonces += u32::from(message.nonce.is_some());
        }
        outcomes.push(outcome);
    }
    for room in grown {
        prune_room(transaction, room, settings.per_room)?;
    }
    if *nonces > NONCES_SLACK {
        prune_nonces(transaction)?;
        *nonces = 0;
    }
    Ok(outcomes)
}

pub(super) fn perform(transaction: &Transaction<'_>, request: &Request) -> Result<Outcome> {
    match request {
        Request::Append(message) => append(transaction, message),
        Request::Before { room, before, limit } => {
            let below = before.map_or(i64::MAX, signed);
            page(transaction, "m.id < ?2", room, below, *limit)
        }
        Request::Since { room, since, limit } => {
            page(transaction, "m.id > ?2", room, signed(*since), *limit)
        }
        Request::Clear { room, through } => clear(transaction, room, *through),
        Request::Forget { room } => forget(transaction, room),
        Request::SetOwner { room, owner } => {
            transaction
                .prepare_cached(
                    "INSERT INTO rooms (name, owner) VALUES (?1, ?2)
                     ON CONFLICT (name) DO UPDATE SET owner = ?2",
                )?
                .execute(params![room, owner])?;
            Ok(Outcome::Done)
        }
    }
}

fn append(transaction: &Transaction<'_>, message: &Message) -> Result<Outcome> {
    if let Some(nonce) = &message.nonce
        && let Some(known) = known_nonce(transaction, nonce)?
    {
        return Ok(known);
    }
    if signed(message.id) <= floor(transaction, &message.room)? {
        let (id, ts, room) = (message.id, message.ts, message.room.clone());
        return Ok(Outcome::Duplicate { id, ts, room });
    }
    let room: i64 = transaction
        .prepare_cached(
            "INSERT INTO rooms (name, last_id) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET last_id = max(last_id, ?2) RETURNING room",
        )?
        .query_row(params![message.room, signed(message.id)], |row| row.get(0))?;
    let (session, nonce) = match &message.nonce {
        Some(Nonce { session, nonce }) => (Some(session), Some(nonce)),
        None => (None, None),
    };
    let added = transaction
        .prepare_cached(
            "INSERT INTO messages (room, id, ts, user, text, kind, session, nonce)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            room,
            signed(message.id),
            signed(message.ts),
            message.user,
            message.text,
            kind_code(message.kind),
            session,
            nonce
        ])?;
    if added == 0 {
        return known_id(transaction, room, message);
    }
    transaction
        .prepare_cached("UPDATE rooms SET kept = kept + 1 WHERE room = ?1")?
        .execute([room])?;
    if message.nonce.is_some() {
        transaction
            .prepare_cached(
                "INSERT INTO nonces (session, nonce, id, ts, room) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                session,
                nonce,
                signed(message.id),
                signed(message.ts),
                message.room
            ])?;
    }
    Ok(Outcome::Stored)
}

/// Up to where a room was forgotten.
fn floor(transaction: &Transaction<'_>, room: &str) -> Result<i64> {
    let floor = transaction
        .prepare_cached("SELECT id FROM floors WHERE name = ?1")?
        .query_row([room], |row| row.get(0))
        .optional()?;
    Ok(floor.unwrap_or(0))
}

fn raise_floor(transaction: &Transaction<'_>, room: &str, id: i64) -> Result<()> {
    let added = transaction
        .prepare_cached("INSERT INTO floors (name, id) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute(params![room, id])?;
    if added == 0 {
        transaction
            .prepare_cached("UPDATE floors SET id = ?2 WHERE name = ?1 AND id < ?2")?
            .execute(params![room, id])?;
        return Ok(());
    }
    transaction
        .prepare_cached(
            "DELETE FROM floors WHERE name IN
             (SELECT name FROM floors ORDER BY id DESC LIMIT -1 OFFSET ?1)",
        )?
        .execute([FLOORS])?;
    Ok(())
}

fn known_nonce(transaction: &Transaction<'_>, nonce: &Nonce) -> Result<Option<Outcome>> {
    transaction
        .prepare_cached("SELECT id, ts, room FROM nonces WHERE session = ?1 AND nonce = ?2")?
        .query_row([&nonce.session, &nonce.nonce], |row| {
            Ok(Outcome::Duplicate {
                id: unsigned(row.get(0)?),
                ts: unsigned(row.get(1)?),
                room: row.get(2)?,
            })
        })
        .optional()
}

fn known_id(transaction: &Transaction<'_>, room: i64, message: &Message) -> Result<Outcome> {
    let (user, text): (String, String) = transaction
        .prepare_cached("SELECT user, text FROM messages WHERE room = ?1 AND id = ?2")?
        .query_row(params![room, signed(message.id)], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if user != message.user || text != message.text {
        return Ok(Outcome::IdTaken(message.id));
    }
    Ok(Outcome::Duplicate { id: message.id, ts: message.ts, room: message.room.clone() })
}

/// The newest of what `bound` lets through, oldest first.
fn page(
    transaction: &Transaction<'_>,
    bound: &str,
    room: &str,
    id: i64,
    limit: u32,
) -> Result<Outcome> {
    let limit = limit.min(PAGE);
    let mut statement = transaction.prepare_cached(&format!(
        "SELECT m.id, m.ts, m.user, m.text, m.kind, m.session, m.nonce
         FROM rooms JOIN messages m USING (room)
         WHERE rooms.name = ?1 AND {bound} ORDER BY m.id DESC LIMIT ?3"
    ))?;
    let message = |row: &Row<'_>| {
        Ok(Message {
            id: unsigned(row.get(0)?),
            room: room.to_owned(),
            ts: unsigned(row.get(1)?),
            user: row.get(2)?,
            text: row.get(3)?,
            kind: if row.get::<_, i64>(4)? == 0 { Kind::Message } else { Kind::Action },
            nonce: match (row.get(5)?, row.get(6)?) {
                (Some(session), Some(nonce)) => Some(Nonce { session, nonce }),
                _ => None,
            },
        })
    };
    // One more than asked for tells whether there are more.
    let mut messages =
        statement.query_map(params![room, id, limit + 1], message)?.collect::<Result<Vec<_>>>()?;
    let more = messages.len() > limit as usize;
    messages.truncate(limit as usize);
    messages.reverse();
    Ok(Outcome::Page { messages, more })
}

fn clear(transaction: &Transaction<'_>, room: &str, through: u64) -> Result<Outcome> {
    let gone = transaction
        .prepare_cached(
            "DELETE FROM messages
             WHERE room = (SELECT room FROM rooms WHERE name = ?1) AND id <= ?2",
        )?
        .execute(params![room, signed(through)])?;
    transaction
        .prepare_cached("UPDATE rooms SET kept = kept - ?2 WHERE name = ?1")?
        .execute(params![room, gone as i64])?;
    raise_floor(transaction, room, signed(through))?;
    Ok(Outcome::Done)
}

fn forget(transaction: &Transaction<'_>, room: &str) -> Result<Outcome> {
    let last: Option<i64> = transaction
        .prepare_cached("SELECT last_id FROM rooms WHERE name = ?1 AND last_id > 0")?
        .query_row([room], |row| row.get(0))
        .optional()?;
    if let Some(last) = last {
        raise_floor(transaction, room, last)?;
    }
    transaction
        .prepare_cached(
            "DELETE FROM messages WHERE room = (SELECT room FROM rooms WHERE name = ?1)",
        )?
        .execute([room])?;
    transaction.prepare_cached("DELETE FROM rooms WHERE name = ?1")?.execute([room])?;
    Ok(Outcome::Done)
}

/// The cap of one room: what is over it goes, from the old end of the room's stretch of the table.
fn prune_room(transaction: &Transaction<'_>, name: &str, cap: u32) -> Result<()> {
    let (room, kept): (i64, i64) = transaction
        .prepare_cached("SELECT room, kept FROM rooms WHERE name = ?1")?
        .query_row([name], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let over = kept - i64::from(cap);
    if over <= 0 {
        return Ok(());
    }
    let last: Option<i64> = transaction
        .prepare_cached("SELECT id FROM messages WHERE room = ?1 ORDER BY id LIMIT 1 OFFSET ?2")?
        .query_row([room, over - 1], |row| row.get(0))
        .optional()?;
    let Some(last) = last else { return Ok(()) };
    transaction
        .prepare_cached("DELETE FROM messages WHERE room = ?1 AND id <= ?2")?
        .execute([room, last])?;
    transaction
        .prepare_cached("UPDATE rooms SET kept = ?2 WHERE room = ?1")?
        .execute([room, i64::from(cap)])?;
    raise_floor(transaction, name, last)
}

/// The cap of rooms in a file that is opened, when nobody is in any of them: those that were silent for longest go. The
/// lobby does not, and its place is kept.
pub(super) fn prune_rooms(transaction: &Transaction<'_>, cap: u32, lobby: &str) -> Result<()> {
    let mut statement = transaction.prepare(
        "SELECT name FROM rooms WHERE name <> ?1 ORDER BY last_id DESC LIMIT -1 OFFSET ?2",
    )?;
    let over: Vec<String> = statement
        .query_map(params![lobby, cap.saturating_sub(1)], |row| row.get(0))?
        .collect::<Result<_>>()?;
    for room in over {
        forget(transaction, &room)?;
    }
    Ok(())
}

fn prune_nonces(transaction: &Transaction<'_>) -> Result<()> {
    transaction
        .prepare_cached(
            "DELETE FROM nonces WHERE id <=
             (SELECT id FROM nonces ORDER BY id DESC LIMIT 1 OFFSET ?1)",
        )?
        .execute([NONCES])?;
    Ok(())
}

fn kind_code(kind: Kind) -> i64 {
    match kind {
        Kind::Message => 0,
        Kind::Action => 1,
    }
}

/// SQLite's integers are signed; no id or time comes near the end, and a client's bound that does is as good as the end.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
