//! What comes before the chat: HTTP requests for the page, the health, the metrics, and for becoming a WebSocket.
//!
//! A connection begins with the handlers that are here; when its request to be a WebSocket has been accepted, they are
//! replaced by those of `live.rs`. Nothing is a file here, so no path can lead anywhere: `/..` is a 404 like any other.

use std::rc::Rc;
use std::time::Duration;

use wheelhouse::codec::http::{Method, Origins, Request, Response, StatusCode, header};
use wheelhouse::codec::websocket::{Incoming, Upgrade, WebSocket};
use wheelhouse::{HandlerError, Handlers};

use crate::config::{Secret, Settings};
use crate::hub::Hub;
use crate::live::{self, Connection};
use crate::{metrics, page};

/// How long a connection that is no WebSocket stays when the server stops, so that who asks for its health is told.
const TELL_FOR: Duration = Duration::from_secs(1);

/// Who has said nothing for so long only listens: a page says hello at once.
const LISTENS_AFTER: Duration = Duration::from_secs(1);

/// Who may come in.
#[derive(Debug)]
pub(crate) struct Gate {
    tokens: Vec<Secret>,
    origins: Origins,
}

impl Gate {
    /// # Errors
    ///
    /// One line, where an allowed origin is none.
    pub(crate) fn new(settings: &Settings) -> Result<Self, String> {
        let mut origins = Origins::same();
        for pattern in &settings.allow_origins {
            origins = match pattern.as_str() {
                "*" => Origins::any(),
                pattern => origins.allow(pattern).map_err(|error| error.to_string())?,
            };
        }
        Ok(Self { tokens: settings.tokens.clone(), origins })
    }

    /// Whether a request brings a token, where one is wanted: in its query, since a browser's WebSocket can send no
    /// headers, or as a bearer's.
    fn knows(&self, request: &Request) -> bool {
        let in_query = request.query("token");
        let in_header = request.header("authorization").and_then(bearer);
        let given = [in_query.as_deref(), in_header];
        // All are compared, so that the time does not tell which was nearly right.
        let fits = |token: &str| {
            self.tokens.iter().fold(false, |any, known| any | is_same(known.reveal(), token))
        };
        self.tokens.is_empty() || given.into_iter().flatten().any(fits)
    }
}

fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Takes the same time wherever the two differ. Their lengths are no secret.
fn is_same(known: &str, given: &str) -> bool {
    let pairs = known.bytes().zip(given.bytes());
    let difference = pairs.fold(0, |difference, (a, b)| std::hint::black_box(difference | (a ^ b)));
    known.len() == given.len() && difference == 0
}

/// The handlers of a connection that has yet to say what it wants.
pub(crate) fn handlers(conn: &Connection<'_>, gate: &Rc<Gate>) -> Handlers<WebSocket, Hub> {
    let gate = Rc::clone(gate);
    conn.handlers()
        .on_read(move |hub, conn, incoming| match incoming {
            Incoming::Request(request) => answer(&gate, hub, conn, &request),
            _ => Ok(()),
        })
        .on_error(|_, conn, error| log::info!("{}: {error}", conn.id()))
        .on_stop(|_, conn| {
            conn.after(TELL_FOR, |_, conn| conn.close());
        })
}

fn answer(
    gate: &Gate,
    hub: &mut Hub,
    conn: &mut Connection<'_>,
    request: &Request,
) -> Result<(), HandlerError> {
    let (id, peer) = (conn.id(), conn.peer_addr());
    log::debug!("{id}: {peer} {} {}", request.method(), request.path());
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let response = match request.path() {
        "/healthz" | "/ws" if conn.server().is_shutting_down() => {
            Response::text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n").closing()
        }
        "/ws" => return enter(gate, hub, conn, request),
        "/" | "/healthz" | "/metrics" if !reads => {
            Response::text(StatusCode::METHOD_NOT_ALLOWED, "GET it\n")
                .header("allow", "GET, HEAD")?
        }
        "/" => page::page()?,
        "/healthz" => Response::text(StatusCode::OK, "ok\n"),
        "/metrics" => metrics::response(hub, &conn.server()),
        _ => Response::text(StatusCode::NOT_FOUND, "there is nothing here\n"),
    };
    Ok(conn.write(response.into())?)
}

/// Makes the connection a WebSocket, and its peer a client of the hub's.
fn enter(
    gate: &Gate,
    hub: &mut Hub,
    conn: &mut Connection<'_>,
    request: &Request,
) -> Result<(), HandlerError> {
    let (id, peer) = (conn.id(), conn.peer_addr());
    if !Upgrade::is_wanted(request) {
        let text = "a WebSocket is here, and nothing to look at\n";
        let response = Response::text(StatusCode::UPGRADE_REQUIRED, text);
        return Ok(conn.write(response.header(header::UPGRADE, "websocket")?.into())?);
    }
    let upgrade = match Upgrade::from_request(request) {
        Ok(upgrade) => upgrade,
        Err(refusal) => {
            log::info!("{id}: {peer} is no WebSocket: {refusal}");
            return Ok(conn.write(refusal.response().into())?);
        }
    };
    if let Err(refused) = gate.origins.check(request) {
        log::warn!("{id}: {peer} refused: {refused}; --allow-origin would allow it");
        let text = "pages of your origin may not come here\n";
        return Ok(conn.write(Response::text(StatusCode::FORBIDDEN, text).into())?);
    }
    if !gate.knows(request) {
        log::warn!("{id}: {peer} refused: no token, or a wrong one");
        let text = "a token is needed: ?token=, or Authorization: Bearer\n";
        let response = Response::text(StatusCode::UNAUTHORIZED, text);
        let response = response.header(header::WWW_AUTHENTICATE, "Bearer")?;
        return Ok(conn.write(response.into())?);
    }
    conn.write(upgrade.accept().into())?;
    log::info!("{id}: {peer} connected");
    let handlers = live::handlers(conn);
    conn.set_handlers(handlers);
    conn.after(LISTENS_AFTER, |hub, conn| hub.stayed(conn.id()));
    hub.connected(&mut conn.server(), id, peer.ip());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_same_or_it_is_not() {
        assert!(is_same("secret", "secret"));
        for other in ["", "secre", "secrets", "Secret", "terces"] {
            assert!(!is_same("secret", other), "{other}");
        }
    }

    #[test]
    fn a_bearer_is_read_in_any_case() {
        assert_eq!(bearer("bearer  abc "), Some("abc"));
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("Basic abc"), None);
        assert_eq!(bearer("abc"), None);
    }
}
