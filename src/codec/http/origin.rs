//! Whose page made a browser ask: the `Origin` header, held against the host that was asked and against a list.
//!
//! A browser lets any page open a WebSocket to any host, and sends that host's cookies with it. The check is the host's.

use std::fmt;

use http::header;

use super::request::Request;

/// The scheme, host and port of an origin, borrowed from its text.
#[derive(Clone, Copy, Debug)]
struct Site<'a> {
    scheme: &'a str,
    host: &'a str,
    /// The scheme's own where none was named.
    port: Option<u16>,
}

impl<'a> Site<'a> {
    /// `scheme://host` or `scheme://host:port`, and nothing behind it.
    fn parse(origin: &'a str) -> Option<Self> {
        let (scheme, authority) = origin.split_once("://")?;
        let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if scheme.is_empty() || !scheme.bytes().all(is_scheme) {
            return None;
        }
        Self::parse_authority(scheme, authority)
    }

    /// `host` or `host:port`, where the scheme is known from elsewhere.
    fn parse_authority(scheme: &'a str, authority: &'a str) -> Option<Self> {
        let host_len = match authority.strip_prefix('[') {
            Some(literal) => literal.find(']')? + 2,
            None => authority.find(':').unwrap_or(authority.len()),
        };
        let (host, port) = authority.split_at(host_len);
        let is_literal = host.starts_with('[');
        let is_host = |byte: u8| {
            byte.is_ascii_alphanumeric()
                || b"-._~%*".contains(&byte)
                || (is_literal && b"[:]".contains(&byte))
        };
        if host.is_empty() || !host.bytes().all(is_host) {
            return None;
        }
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => default_port(scheme),
            Some("") => default_port(scheme),
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            _ => return None,
        };
        Some(Self { scheme, host, port })
    }

    /// Whether this is an origin that the pattern allows: a host of `*.` and a name allows all names that end in it.
    fn matches(self, pattern: Site<'_>) -> bool {
        let host_matches = match pattern.host.strip_prefix('*') {
            Some(suffix) => {
                let (host, suffix) = (self.host.as_bytes(), suffix.as_bytes());
                host.len() > suffix.len()
                    && host[host.len() - suffix.len()..].eq_ignore_ascii_case(suffix)
            }
            None => self.host.eq_ignore_ascii_case(pattern.host),
        };
        host_matches
            && self.port == pattern.port
            && self.scheme.eq_ignore_ascii_case(pattern.scheme)
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme.to_ascii_lowercase().as_str() {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

impl Request {
    /// Whether no page of another site made a browser ask: the `Origin` has the host and port of the `Host` header, or there
    /// is none, as in requests of other programs. A port that is not named is that of the origin's scheme.
    ///
    /// ```
    /// use wheelhouse::codec::http::Request;
    ///
    /// let asked_by = |origin: &str| {
    ///     let head = format!("GET /ws HTTP/1.1\r\nHost: Example.com:443\r\nOrigin: {origin}\r\n\r\n");
    ///     Request::parse(head.as_bytes()).unwrap()
    /// };
    /// assert!(asked_by("https://example.com").is_same_origin());
    /// assert!(!asked_by("http://example.com").is_same_origin());
    /// assert!(!asked_by("https://example.com.evil.test").is_same_origin());
    /// assert!(!asked_by("null").is_same_origin());
    /// ```
    #[must_use]
    pub fn is_same_origin(&self) -> bool {
        let mut origins = self.headers().get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next() else { return true };
        if origins.next().is_some() {
            return false;
        }
        let same = || {
            let origin = Site::parse(origin.to_str().ok()?)?;
            let host = Site::parse_authority(origin.scheme, self.host()?)?;
            Some(origin.port == host.port && origin.host.eq_ignore_ascii_case(host.host))
        };
        same().unwrap_or(false)
    }
}

/// The sites whose pages may ask: the server's own, and those of a list.
///
/// ```
/// use wheelhouse::codec::http::{Origins, Request};
///
/// let origins = Origins::same().allow("https://*.example.com")?.allow("http://localhost:3000")?;
///
/// let request = Request::parse(
///     b"GET /ws HTTP/1.1\r\nHost: chat.example.net\r\nOrigin: https://evil.test\r\n\r\n",
/// )?;
/// let refused = origins.check(&request).unwrap_err();
/// assert_eq!(
///     refused.to_string(),
///     "a page of the origin \"https://evil.test\" may not use the host \"chat.example.net\""
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Origins {
    any: bool,
    /// Each of them parses as a site, or is `null`.
    patterns: Vec<Box<str>>,
}

impl Origins {
    /// Pages of the server's own site, and programs that are no browsers. See [`Request::is_same_origin`].
    #[must_use]
    pub fn same() -> Self {
        Self { any: false, patterns: Vec::new() }
    }

    /// All pages of all sites. Where users are known by a cookie, each of those pages can then act for them.
    #[must_use]
    pub fn any() -> Self {
        Self { any: true, patterns: Vec::new() }
    }

    /// Allows one more site: `scheme://host`, with `:port` where it is not the scheme's own. A host that begins with `*.`
    /// stands for every name under it, not for the name itself. `null` stands for pages without a site (a local file).
    ///
    /// # Errors
    ///
    /// When the pattern has another form: a path behind the host, say, or a `*` elsewhere.
    pub fn allow(mut self, pattern: &str) -> Result<Self, BadOrigin> {
        let is_fine = pattern == "null"
            || Site::parse(pattern).is_some_and(|site| {
                !site.host.strip_prefix("*.").unwrap_or(site.host).contains('*')
                    && site.host != "*."
            });
        if !is_fine {
            return Err(BadOrigin { pattern: pattern.into() });
        }
        self.patterns.push(pattern.into());
        Ok(self)
    }

    /// Whether this request may be served.
    ///
    /// # Errors
    ///
    /// When it came from a page of a site that is not allowed.
    pub fn check(&self, request: &Request) -> Result<(), OriginRefused> {
        if self.any || request.is_same_origin() || self.lists(request) {
            return Ok(());
        }
        let text = |value: Option<&http::HeaderValue>| match value {
            Some(value) => String::from_utf8_lossy(value.as_bytes()).into(),
            None => "".into(),
        };
        Err(OriginRefused {
            origin: text(request.headers().get(header::ORIGIN)),
            host: text(request.headers().get(header::HOST)),
        })
    }

    fn lists(&self, request: &Request) -> bool {
        let mut origins = request.headers().get_all(header::ORIGIN).iter();
        let (Some(origin), None) = (origins.next(), origins.next()) else { return false };
        let Ok(origin) = origin.to_str() else { return false };
        if origin == "null" {
            return self.patterns.iter().any(|pattern| &**pattern == "null");
        }
        let Some(site) = Site::parse(origin) else { return false };
        self.patterns.iter().filter_map(|p| Site::parse(p)).any(|pattern| site.matches(pattern))
    }
}

/// The server's own site alone.
impl Default for Origins {
    fn default() -> Self {
        Self::same()
    }
}

/// A pattern that stands for no site.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadOrigin {
    pattern: Box<str>,
}

impl fmt::Display for BadOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no origin; write scheme://host or scheme://host:port, where the host may begin with \"*.\", or null",
            self.pattern
        )
    }
}

impl std::error::Error for BadOrigin {}

/// A request from a page of a site that is not allowed: it is told with the host that was asked, since where those two
/// should have been the same, a proxy between them changed one.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct OriginRefused {
    /// The `Origin` header.
    pub origin: Box<str>,
    /// The `Host` header.
    pub host: Box<str>,
}

impl fmt::Display for OriginRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a page of the origin {:?} may not use the host {:?}", self.origin, self.host)
    }
}

impl std::error::Error for OriginRefused {}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(host: &str, origins: &[&str]) -> Request {
        let origins: String = origins.iter().map(|it| format!("Origin: {it}\r\n")).collect();
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n{origins}\r\n");
        Request::parse(head.as_bytes()).unwrap()
    }

    #[test]
    fn the_same_origin_is_the_same_host_and_port() {
        for (host, origin, same) in [
            ("a.test", "http://a.test", true),
            ("a.test:80", "http://A.test", true),
            ("a.test", "https://a.test:443", true),
            ("a.test:8080", "http://a.test:8080", true),
            ("[::1]:9000", "http://[::1]:9000", true),
            ("a.test", "http://a.test:", true),
            ("[::1]", "http://[::1]evil", false),
            ("a.test:1", "http://a.test:+1", false),
            ("a.test", "ht tp://a.test", false),
            ("a.test", "://a.test", false),
            ("a.test", "https://a.test:80", false),
            ("a.test:8080", "http://a.test", false),
            ("a.test", "http://b.a.test", false),
            ("a.test", "http://a.test.evil", false),
            ("a.test", "http://a.test@evil", false),
            ("a.test", "http://evil/a.test", false),
            ("a.test", "http://a.test/", false),
            ("a.test", "http://a.test:80x", false),
            ("a.test", "http://a.test:65616", false),
            ("a.test", "//a.test", false),
            ("a.test", "a.test", false),
            ("a.test", "null", false),
            ("a.test", "", false),
            ("", "http://", false),
        ] {
            assert_eq!(asked(host, &[origin]).is_same_origin(), same, "{host} {origin}");
        }
        assert!(asked("a.test", &[]).is_same_origin(), "no browser");
        assert!(!asked("a.test", &["http://a.test"; 2]).is_same_origin(), "two are no origin");
    }

    #[test]
    fn a_pattern_allows_what_it_says_and_no_more() {
        for (pattern, origin, allowed) in [
            ("https://b.test", "https://b.test", true),
            ("https://b.test", "HTTPS://B.test:443", true),
            ("https://b.test", "http://b.test", false),
            ("https://b.test", "https://b.test:8443", false),
            ("https://*.b.test", "https://c.b.test", true),
            ("https://*.b.test", "https://d.c.B.test", true),
            ("https://*.b.test", "https://b.test", false),
            ("https://*.b.test", "https://.b.test:1", false),
            ("https://*.b.test", "https://.b.test", false),
            ("https://*.b.test", "https://cb.test", false),
            ("https://*.b.test", "https://evil/.b.test", false),
            ("https://*.b.test", "https://evil#.b.test", false),
            ("https://*.b.test:8443", "https://c.b.test:8443", true),
            ("chrome-extension://abc", "chrome-extension://abc", true),
            ("null", "null", true),
            ("https://b.test", "null", false),
        ] {
            let origins = Origins::same().allow(pattern).unwrap();
            let refused = origins.check(&asked("a.test", &[origin]));
            assert_eq!(refused.is_ok(), allowed, "{pattern} {origin}");
        }
        assert!(Origins::any().check(&asked("a.test", &["https://evil"])).is_ok());
        assert!(Origins::any().allow("https://b.test").is_ok());
    }

    #[test]
    fn a_pattern_that_is_none_is_refused() {
        for pattern in ["", "*", "b.test", "https://", "https://*", "https://*.", "https://a*.test"]
        {
            let error = Origins::same().allow(pattern).unwrap_err();
            assert!(error.to_string().contains("is no origin"), "{pattern}");
        }
        for pattern in ["https://b.test/", "https://*.*.test", "https://b.test:*", "https://a b"] {
            assert!(Origins::same().allow(pattern).is_err(), "{pattern}");
        }
        for pattern in ["https://b[c", "https://b]c", "https://[::1", "https://[::1]c", "a b://c"] {
            assert!(Origins::same().allow(pattern).is_err(), "{pattern}");
        }
    }
}
