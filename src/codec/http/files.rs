//! Files of a page, answered from memory: the loop never waits for a disk, and a path is looked up, never followed.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::request::Request;
use super::response::{InvalidHeader, Response};

mod content_type;
mod load;
#[cfg(test)]
mod tests;

pub use self::load::FilesError;

/// A set of files, all of them in memory.
///
/// A request is answered where its path, decoded, is that of a file, letter by letter: a `..`, a backslash or a NUL leads
/// nowhere, since no file has such a path. A folder with an `index.html` is answered with that, at its path with a slash
/// at the end; without it, with a redirect to there.
///
/// Clients may keep a file and have to ask whether it is still the same (`Cache-Control: no-cache` and an `ETag` by
/// content).
///
/// ```
/// use wheelhouse::codec::http::{Files, Request};
///
/// let files = Files::embedded([
///     ("/index.html", "text/html; charset=utf-8", &b"<script src=app.js></script>"[..]),
///     ("/app.js", "text/javascript; charset=utf-8", &b"alert('hello')"[..]),
/// ]);
///
/// let request = Request::parse(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")?;
/// let response = files.respond(&request).unwrap();
/// assert_eq!(response.status(), 200);
/// assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
///
/// let request = Request::parse(b"GET /no-such-page HTTP/1.1\r\nHost: a\r\n\r\n")?;
/// assert!(files.respond(&request).is_none());
/// # Ok::<(), wheelhouse::codec::http::HttpError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Files {
    /// By decoded path, which begins with a slash.
    entries: HashMap<Box<str>, Entry>,
    headers: HeaderMap,
}

#[derive(Clone, Debug)]
enum Entry {
    File(File),
    /// A folder that has an index, without the slash at its end.
    Folder,
}

#[derive(Clone, Debug)]
struct File {
    content_type: HeaderValue,
    etag: HeaderValue,
    bytes: Bytes,
}

impl File {
    fn new(content_type: HeaderValue, bytes: Bytes) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(&bytes);
        let etag = format!("\"{:x}-{:016x}\"", bytes.len(), hasher.finish());
        let etag = HeaderValue::try_from(etag).expect("digits and quotes");
        Self { content_type, etag, bytes }
    }
}

impl Files {
    /// The default of the most bytes that a folder may have: 64 MiB.
    pub const MAX_BYTES: u64 = 64 << 20;

    /// The default of the most files and folders that a folder may have.
    pub const MAX_FILES: usize = 4_096;

    /// Files that are part of the program: the path of each, its content type, and its bytes.
    ///
    /// # Panics
    ///
    /// When a path does not begin with a slash or is there twice, or a content type has a line break.
    #[must_use]
    pub fn embedded<'a, B: Into<Bytes>>(
        files: impl IntoIterator<Item = (&'a str, &'a str, B)>,
    ) -> Self {
        let mut all = Self { entries: HashMap::new(), headers: HeaderMap::new() };
        for (path, content_type, bytes) in files {
            assert!(path.starts_with('/'), "the path {path:?} does not begin with a slash");
            let content_type = HeaderValue::from_str(content_type)
                .unwrap_or_else(|_| panic!("{content_type:?} is no content type"));
            let is_new = all.add(path, File::new(content_type, bytes.into()));
            assert!(is_new, "the path {path:?} is there twice");
        }
        all
    }

    /// Reads a folder and the folders in it: 64 MiB at most, in 4,096 files. The content types go by the files' extensions.
    ///
    /// What begins with a dot is left out. Changes that are made to the folder later are not seen.
    ///
    /// # Errors
    ///
    /// When something cannot be read, is over a limit, is neither a file nor a folder, or is a link out of the folder.
    pub fn load(folder: impl AsRef<Path>) -> Result<Self, FilesError> {
        Self::load_within(folder, Self::MAX_BYTES, Self::MAX_FILES)
    }

    /// The same with other limits: on the bytes of all files together, and on the number of files and folders.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_within(
        folder: impl AsRef<Path>,
        max_bytes: u64,
        max_files: usize,
    ) -> Result<Self, FilesError> {
        let mut all = Self { entries: HashMap::new(), headers: HeaderMap::new() };
        for (path, bytes) in load::load(folder.as_ref(), max_bytes, max_files)? {
            let content_type = HeaderValue::from_static(content_type::of(&path));
            all.add(&path, File::new(content_type, bytes));
        }
        Ok(all)
    }

    /// Adds a header to all answers with a file: a `Content-Security-Policy`, say.
    ///
    /// # Errors
    ///
    /// When the name is no header's name, or the value has a line break.
    pub fn header<N, V>(mut self, name: N, value: V) -> Result<Self, InvalidHeader>
    where
        N: TryInto<HeaderName, Error: Into<InvalidHeader>>,
        V: TryInto<HeaderValue, Error: Into<InvalidHeader>>,
    {
        let name = name.try_into().map_err(Into::into)?;
        self.headers.insert(name, value.try_into().map_err(Into::into)?);
        Ok(self)
    }

    /// How many files there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.values().filter(|entry| matches!(entry, Entry::File(_))).count()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The answer to a request for one of these files, or `None` where it is for something else.
    ///
    /// Other methods than `GET` and `HEAD` are answered with 405, and a file that the client has already with 304.
    #[must_use]
    pub fn respond(&self, request: &Request) -> Option<Response> {
        let path = request.decoded_path()?;
        let entry = self.find(&path)?;
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let text = "a file can be asked for with GET and HEAD\n";
            let mut response = Response::text(StatusCode::METHOD_NOT_ALLOWED, text);
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Some(response);
        }
        Some(match entry {
            Entry::File(file) => self.respond_with(file, request),
            Entry::Folder => redirect(request),
        })
    }

    fn find(&self, path: &str) -> Option<&Entry> {
        match path.strip_suffix('/') {
            Some(folder) => match self.entries.get(path) {
                Some(entry) => Some(entry),
                None => self.entries.get(format!("{folder}/index.html").as_str()),
            },
            None => self.entries.get(path),
        }
    }

    fn respond_with(&self, file: &File, request: &Request) -> Response {
        let mut response = Response::new(StatusCode::OK);
        if has_it(request, &file.etag) {
            response = Response::new(StatusCode::NOT_MODIFIED);
        } else {
            response = response.body(file.content_type.clone(), file.bytes.clone());
        }
        let headers = response.headers_mut();
        headers.insert(header::ETAG, file.etag.clone());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        response
    }

    /// Says whether there was none of this path.
    fn add(&mut self, path: &str, file: File) -> bool {
        if let Some(folder) = path.strip_suffix("/index.html").filter(|folder| !folder.is_empty()) {
            self.entries.entry(folder.into()).or_insert(Entry::Folder);
        }
        let old = self.entries.insert(path.into(), Entry::File(file));
        !matches!(old, Some(Entry::File(_)))
    }
}

/// To the same path with a slash at its end, so that what a page names relative to itself is found.
fn redirect(request: &Request) -> Response {
    let target = match request.target().split_once('?') {
        Some((_, query)) => format!("{}/?{query}", request.path()),
        None => format!("{}/", request.path()),
    };
    let mut response = Response::new(StatusCode::PERMANENT_REDIRECT);
    if let Ok(location) = HeaderValue::try_from(target) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// Whether the client has what is tagged so: `If-None-Match`, by weak comparison (RFC 9110, section 13.1.2).
fn has_it(request: &Request, etag: &HeaderValue) -> bool {
    let values = request.headers().get_all(header::IF_NONE_MATCH).iter();
    values.into_iter().any(|value| names(value.as_bytes(), etag.as_bytes()))
}

/// Whether a list of tags names this one. What is no list names nothing from there on.
fn names(list: &[u8], etag: &[u8]) -> bool {
    let mut rest = list.trim_ascii();
    if rest == b"*" {
        return true;
    }
    loop {
        while let [b' ' | b'\t' | b',', behind @ ..] = rest {
            rest = behind;
        }
        rest = rest.strip_prefix(b"W/").unwrap_or(rest);
        let Some(opaque) = rest.strip_prefix(b"\"") else { return false };
        let Some(len) = opaque.iter().position(|&byte| byte == b'"') else { return false };
        // With the quote at each end.
        let (tag, behind) = rest.split_at(len + 2);
        if tag == etag {
            return true;
        }
        rest = behind;
    }
}
