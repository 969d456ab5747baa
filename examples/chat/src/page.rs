//! The page: one file, which is part of the program, and the headers that keep it to itself.

use wheelhouse::codec::http::{InvalidHeader, Response, StatusCode};

/// The whole page: its markup, its style and its script.
const PAGE: &str = include_str!("page.html");

/// What the page may load and whom it may talk to: nothing and nobody but this server. Its script and style stand in it.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// The answer to `GET /`.
pub(crate) fn page() -> Result<Response, InvalidHeader> {
    Response::html(StatusCode::OK, PAGE)
        .header("content-security-policy", POLICY)?
        .header("x-content-type-options", "nosniff")?
        // The page's address may have the token in it.
        .header("referrer-policy", "no-referrer")?
        .header("cache-control", "no-cache")
}
