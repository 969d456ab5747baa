//! The history's file: when it is opened, how a batch of commands becomes one transaction, and what a fault does.
//!
//! A batch that fails is rolled back, and its members are tried one by one, so that only those that are at fault fail.
//! After a fault that the connection may not outlive, the file is opened anew with the next batch. What the statements
//! say is in `sql.rs`, the tables are in `file.rs`.

use std::path::Path;

use rusqlite::{Connection, Error as SqlError, ErrorCode, TransactionBehavior};

use super::file;
use super::sql::{self, Outcome};
use super::{Answer, Command, Fault, OpenError, Opened, Reply, Request, Settings, StoreError};

/// The open file, or the wish to open it again.
pub(super) struct Store {
    settings: Settings,
    /// `None` after a fault that asks for a new one.
    connection: Option<Connection>,
    /// Whether the last write failed; its change is what the log tells.
    failing: bool,
    /// Nonces stored since the old ones were last thrown out.
    nonces: u32,
    /// Write transactions committed, for the tests of group commit.
    #[cfg(test)]
    pub(super) commits: u64,
    /// Transactions begun or tried to, for the tests of a locked file.
    #[cfg(test)]
    pub(super) attempts: u64,
}

/// Why a transaction came to nothing.
enum Abort {
    /// The file's lock could not be had, or the file not be opened: no write can go on now.
    Begin(SqlError),
    /// A member, or the commit.
    Within(SqlError),
}

impl Store {
    pub(super) fn open(settings: Settings) -> Result<(Self, Opened), OpenError> {
        let mut connection = file::open(&settings)
            .map_err(|error| OpenError(format!("{}: {error}", settings.path.display())))?;
        let opened = file::opened(&mut connection, &settings).map_err(|error| {
            OpenError(format!("{} cannot be read: {error}", settings.path.display()))
        })?;
        let store = Self {
            settings,
            connection: Some(connection),
            failing: false,
            nonces: sql::NONCES_SLACK, // what an earlier run left over goes with the first one
            #[cfg(test)]
            commits: 0,
            #[cfg(test)]
            attempts: 0,
        };
        Ok((store, opened))
    }

    /// Does the commands in their order, and answers each.
    pub(super) fn apply<T>(&mut self, commands: Vec<Command<T>>) -> Vec<Answer<T>> {
        let (tags, requests): (Vec<_>, Vec<_>) =
            commands.into_iter().map(|command| (command.tag, command.request)).unzip();
        let results = match self.transact(&requests) {
            Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
            Err(Abort::Within(error)) if requests.len() == 1 => vec![Err(failure(&error))],
            Err(Abort::Within(_)) => self.one_by_one(&requests, None),
            Err(Abort::Begin(error)) => self.one_by_one(&requests, Some(failure(&error))),
        };
        self.tell(&requests, &results);
        let answers = tags.into_iter().zip(requests).zip(results);
        answers
            .map(|((tag, request), result)| Answer { tag, result: reply(request, result) })
            .collect()
    }

    /// Each request in a transaction of its own. Once no write can begin, the other writes fail alike, so that a batch
    /// waits for a lock once and not once for each message; reads need no lock.
    fn one_by_one(
        &mut self,
        requests: &[Request],
        mut no_write: Option<(Fault, String)>,
    ) -> Vec<Result<Outcome, (Fault, String)>> {
        let mut results = Vec::with_capacity(requests.len());
        for request in requests {
            let result = match (&no_write, writes(request)) {
                (Some(fault), true) => Err(fault.clone()),
                _ => match self.transact(std::slice::from_ref(request)) {
                    Ok(mut outcomes) => Ok(outcomes.remove(0)),
                    Err(Abort::Within(error)) => Err(failure(&error)),
                    Err(Abort::Begin(error)) => {
                        let fault = failure(&error);
                        no_write = Some(fault.clone());
                        Err(fault)
                    }
                },
            };
            results.push(result);
        }
        results
    }

    /// All requests in one transaction, or none of them.
    fn transact(&mut self, requests: &[Request]) -> Result<Vec<Outcome>, Abort> {
        #[cfg(test)]
        {
            self.attempts += 1;
        }
        let result = self.try_transact(requests);
        if let Err(Abort::Begin(error) | Abort::Within(error)) = &result {
            self.doubt(error);
        }
        result
    }

    fn try_transact(&mut self, requests: &[Request]) -> Result<Vec<Outcome>, Abort> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(file::reopen(&self.settings).map_err(Abort::Begin)?),
        };
        if !requests.iter().any(writes) {
            let snapshot = connection
                .transaction_with_behavior(TransactionBehavior::Deferred)
                .map_err(Abort::Within)?;
            return requests
                .iter()
                .map(|request| sql::perform(&snapshot, request))
                .collect::<Result<_, _>>()
                .map_err(Abort::Within);
        }
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(Abort::Begin)?;
        let mut nonces = self.nonces;
        let outcomes = sql::perform_all(&transaction, requests, &self.settings, &mut nonces)
            .map_err(Abort::Within)?;
        transaction.commit().map_err(Abort::Within)?;
        self.nonces = nonces;
        #[cfg(test)]
        {
            self.commits += 1;
        }
        Ok(outcomes)
    }

    /// Gives a connection up whose file may not be what it was; one in memory is all there is, and stays.
    fn doubt(&mut self, error: &SqlError) {
        let mistrusted = matches!(fault(error), Fault::Corrupt | Fault::ReadOnly | Fault::Io);
        if mistrusted && !in_memory(&self.settings.path) {
            self.connection = None;
        }
    }

    /// Logs when writes begin to fail, and when they work again.
    fn tell(&mut self, requests: &[Request], results: &[Result<Outcome, (Fault, String)>]) {
        for (request, result) in requests.iter().zip(results) {
            match result {
                Err((fault, text)) if !self.failing => {
                    log::error!("the history fails ({fault:?}): {text}");
                    self.failing = true;
                }
                Ok(_) if self.failing && writes(request) => {
                    log::info!("the history works again");
                    self.failing = false;
                }
                _ => {}
            }
        }
    }

    /// Writes the log back into the file.
    pub(super) fn close(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if let Err(error) = file::checkpoint(&connection) {
            log::warn!("the history's log stays beside its file until the next start: {error}");
        }
        if let Err((_, error)) = connection.close() {
            log::warn!("the history was not closed well: {error}");
        }
    }

    #[cfg(test)]
    pub(super) fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("an open file")
    }
}

pub(super) fn in_memory(path: &Path) -> bool {
    path.as_os_str() == ":memory:"
}

fn writes(request: &Request) -> bool {
    match request {
        Request::Append(_)
        | Request::Clear { .. }
        | Request::Forget { .. }
        | Request::SetOwner { .. } => true,
        Request::Before { .. } | Request::Since { .. } => false,
    }
}

fn reply(request: Request, result: Result<Outcome, (Fault, String)>) -> Result<Reply, StoreError> {
    let refused = |fault, text, request| {
        let message = match request {
            Request::Append(message) => Some(Box::new(message)),
            _ => None,
        };
        Err(StoreError { fault, text, message })
    };
    match (result, request) {
        (Err((fault, text)), request) => refused(fault, text, request),
        (Ok(Outcome::IdTaken(id)), request) => {
            refused(Fault::IdTaken, format!("another message has the id {id}"), request)
        }
        (Ok(Outcome::Stored), Request::Append(message)) => Ok(Reply::Stored(message)),
        (Ok(Outcome::Duplicate { id, ts, room }), Request::Append(asked)) => {
            Ok(Reply::Duplicate { asked, id, ts, room })
        }
        (
            Ok(Outcome::Page { messages, more }),
            Request::Before { room, .. } | Request::Since { room, .. },
        ) => Ok(Reply::Page { room, messages, more }),
        (Ok(_), _) => Ok(Reply::Done),
    }
}

fn failure(error: &SqlError) -> (Fault, String) {
    (fault(error), error.to_string())
}

fn fault(error: &SqlError) -> Fault {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Fault::Locked,
        Some(ErrorCode::DiskFull) => Fault::Full,
        Some(ErrorCode::ReadOnly) => Fault::ReadOnly,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Fault::Corrupt,
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => Fault::Io,
        _ => Fault::Other,
    }
}
