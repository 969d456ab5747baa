use std::fs;
use std::path::PathBuf;

use super::*;

/// A folder of its own for one test, which is gone after it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("wheelhouse-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn with(self, name: &str, bytes: &[u8]) -> Self {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn request(line: &str, headers: &str) -> Request {
    let head = format!("{line} HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
    Request::parse(head.as_bytes()).unwrap()
}

fn page() -> Files {
    Files::embedded([
        ("/index.html", "text/html; charset=utf-8", "<p>hello"),
        ("/a b/é.txt", "text/plain", "x"),
        ("/doc/index.html", "text/html", "<p>doc"),
    ])
}

#[test]
fn files_are_found_by_their_decoded_paths() {
    let body = |line: &str| page().respond(&request(line, "")).map(|it| it.bytes().clone());
    assert_eq!(body("GET /").unwrap(), "<p>hello");
    assert_eq!(body("GET /index.html?x=/y").unwrap(), "<p>hello");
    assert_eq!(body("GET http://a/").unwrap(), "<p>hello");
    assert_eq!(body("GET /a%20b/%c3%a9.txt").unwrap(), "x");
    assert_eq!(body("GET /doc/").unwrap(), "<p>doc");
    assert_eq!(body("HEAD /").unwrap(), "<p>hello", "whose body the codec leaves out");
    assert_eq!((page().len(), page().is_empty()), (3, false));
    assert!(Files::embedded([("/", "", ""); 0]).is_empty());
}

#[test]
fn no_path_leads_elsewhere() {
    let folder = Folder::new("elsewhere").with("in/page.html", b"x").with("secret", b"y");
    let files = Files::load(folder.0.join("in")).unwrap();
    assert_eq!(files.len(), 1);
    assert!(files.respond(&request("GET /page.html", "")).is_some());
    for path in [
        "/../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/%2e%2e%2fsecret",
        "/..%5csecret",
        "/..\\secret",
        "/page.html%00",
        "/page.html%00.png",
        "/./page.html",
        "//page.html",
        "/page.html/",
        "/PAGE.HTML",
        "/%ff",
        "/etc/passwd",
        "//etc/passwd",
        "/page.html%2f..%2f..%2fsecret",
    ] {
        assert!(files.respond(&request(&format!("GET {path}"), "")).is_none(), "{path}");
    }
}

#[test]
fn a_folder_is_answered_with_the_way_to_its_index() {
    let response = page().respond(&request("GET /doc?x=1", "")).unwrap();
    assert_eq!(response.status(), StatusCode::PERMANENT_REDIRECT);
    assert_eq!(response.headers()[header::LOCATION], "/doc/?x=1");
}

#[test]
fn other_methods_are_told_which_there_are() {
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let response = page().respond(&request(&format!("{method} /"), "")).unwrap();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()[header::ALLOW], "GET, HEAD");
    }
    assert!(page().respond(&request("POST /none", "")).is_none());
}

#[test]
fn a_client_that_has_the_file_is_told_so() {
    let files = page();
    let first = files.respond(&request("GET /", "")).unwrap();
    assert_eq!(first.headers()[header::CACHE_CONTROL], "no-cache");
    assert_eq!(first.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    let etag = first.headers()[header::ETAG].to_str().unwrap().to_owned();
    for (tags, has_it) in [
        (etag.clone(), true),
        (format!("W/{etag}"), true),
        ("*".to_owned(), true),
        (format!("\"a,b\" , W/\"c\",{etag}"), true),
        (format!("\"a\"\r\nIf-None-Match: {etag}"), true),
        (String::new(), false),
        ("\"a\"".to_owned(), false),
        (etag.trim_matches('"').to_owned(), false),
        (format!("\"unfinished, {etag}"), false),
        (format!("w/{etag}"), false),
        ("\"*\"".to_owned(), false),
    ] {
        let header = format!("If-None-Match: {tags}\r\n");
        let response = files.respond(&request("GET /", &header)).unwrap();
        assert_eq!(response.status() == StatusCode::NOT_MODIFIED, has_it, "{tags}");
        assert_eq!(response.headers()[header::ETAG], etag);
        assert_eq!(response.bytes().is_empty(), has_it);
    }
    let other = Files::embedded([("/index.html", "text/html", "<p>hellp")]);
    let other = other.respond(&request("GET /", "")).unwrap();
    assert_ne!(other.headers()[header::ETAG], etag);
}

#[test]
fn a_folder_is_read_with_its_folders_and_without_what_is_hidden() {
    let folder = Folder::new("read")
        .with("index.html", b"<p>")
        .with("js/app.JS", b"1")
        .with("js/data", b"\0")
        .with(".env", b"secret")
        .with(".git/config", b"secret");
    let files = Files::load(&folder.0).unwrap().header("x-frame-options", "DENY").unwrap();
    assert_eq!(files.len(), 3);
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/js/app.JS", "text/javascript; charset=utf-8"),
        ("/js/data", "application/octet-stream"),
    ] {
        let response = files.respond(&request(&format!("GET {path}"), "")).unwrap();
        assert_eq!(response.headers()[header::CONTENT_TYPE], content_type);
        assert_eq!(response.headers()["x-frame-options"], "DENY");
    }
    assert!(files.respond(&request("GET /.env", "")).is_none());
    assert!(files.respond(&request("GET /js/", "")).is_none(), "a folder is not listed");
}

#[test]
fn a_folder_over_its_limits_is_refused() {
    let folder = Folder::new("limits").with("a", &[0; 60]).with("b/c", &[0; 40]);
    assert_eq!(Files::load_within(&folder.0, 100, 3).unwrap().len(), 2);
    let error = Files::load_within(&folder.0, 99, 3).unwrap_err();
    assert!(matches!(error, FilesError::TooLarge { max: 99, .. }), "{error}");
    let error = Files::load_within(&folder.0, 100, 2).unwrap_err();
    assert!(matches!(error, FilesError::TooMany { max: 2 }), "{error}");
    assert!(error.to_string().contains("more than the maximum of 2 files"), "{error}");
    assert!(std::error::Error::source(&error).is_none());
    let error = Files::load(folder.0.join("none")).unwrap_err();
    assert!(matches!(error, FilesError::Io { .. }), "{error}");
    let source = std::error::Error::source(&error).expect("what the system said");
    assert!(source.is::<std::io::Error>(), "{error}");
}

#[cfg(unix)]
#[test]
fn links_are_followed_to_files_inside_alone() {
    use std::os::unix::fs::symlink;
    let folder =
        Folder::new("links").with("in/a.txt", b"a").with("in/sub/b", b"b").with("out", b"o");
    let inside = folder.0.join("in");
    symlink("a.txt", inside.join("same.txt")).unwrap();
    let files = Files::load(&inside).unwrap();
    assert_eq!(files.respond(&request("GET /same.txt", "")).unwrap().bytes(), "a");
    for target in ["../out", "sub", ".", "/etc/passwd"] {
        let link = inside.join("link");
        symlink(target, &link).unwrap();
        let error = Files::load(&inside).unwrap_err();
        assert!(matches!(error, FilesError::Link { .. }), "{target}: {error}");
        fs::remove_file(link).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_refused_unread() {
    let folder = Folder::new("odd");
    let socket = std::os::unix::net::UnixListener::bind(folder.0.join("socket")).unwrap();
    let error = Files::load(&folder.0).unwrap_err();
    assert!(matches!(error, FilesError::Odd { .. }), "{error}");
    drop(socket);
}

#[test]
fn bodies_are_shared() {
    let files = page();
    let bytes = |files: &Files| files.respond(&request("GET /", "")).unwrap().bytes().as_ptr();
    assert_eq!(bytes(&files), bytes(&files.clone()));
}

#[test]
#[should_panic(expected = "the path \"/a\" is there twice")]
fn a_path_that_is_embedded_twice_is_a_mistake() {
    let _ = Files::embedded([("/a", "text/plain", "x"), ("/a", "text/plain", "y")]);
}
