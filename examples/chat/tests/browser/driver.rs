//! Browsers, driven through chromedriver's HTTP interface (W3C WebDriver): as much of it as the test of the page needs.
//!
//! It is written by hand because it is small: a dozen JSON calls to one peer on loopback. The crates that would do it
//! bring an async runtime, and none of them would be used for anything else here. What the test waits for is awaited by
//! a script inside the page, so nothing here sleeps, and the deadline is WebDriver's.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use serde_json::{Value, json};

/// For one condition to come true in a page. Generous: browsers share this machine with builds.
const PATIENCE: Duration = Duration::from_secs(60);

/// WebDriver's name for "this object is an element".
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// WebDriver's code for the Enter key.
pub(crate) const ENTER: char = '\u{E007}';

/// A running chromedriver. Killed when dropped.
pub(crate) struct Driver {
    child: Child,
    addr: SocketAddr,
    chromium: PathBuf,
}

impl Driver {
    /// Starts chromedriver. `None` where this machine has no browser: the error names what is missing.
    pub(crate) fn start() -> Result<Self, String> {
        let chromium = find("CHROMIUM", &["chromium", "chromium-browser", "google-chrome"])?;
        let chromedriver = find("CHROMEDRIVER", &["chromedriver"])?;
        let mut child = Command::new(&chromedriver)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", chromedriver.display()));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                line.split_once("successfully on port ")?.1.trim_end_matches('.').parse().ok()
            })
            .expect("chromedriver names its port");
        // Read on, so that it never waits for its reader.
        thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Ok(Self { child, addr: SocketAddr::from(([127, 0, 0, 1], port)), chromium })
    }

    /// Opens a browser with a profile of its own, at an address.
    pub(crate) fn open(&self, name: &'static str, url: &str) -> Page {
        let mut args = vec!["--headless=new", "--disable-gpu", "--window-size=1100,760"];
        if rustix::process::geteuid().is_root() {
            args.push("--no-sandbox"); // its sandbox refuses to run as root
        }
        let chrome = json!({ "binary": self.chromium, "args": args });
        let always = json!({
            "goog:chromeOptions": chrome,
            "goog:loggingPrefs": { "browser": "ALL" },
            "unhandledPromptBehavior": "ignore",
            "timeouts": { "script": PATIENCE.as_millis() as u64 },
        });
        let wanted = json!({ "capabilities": { "alwaysMatch": always } });
        let made = call(self.addr, "POST", "/session", &wanted).expect("a browser");
        let session = made["sessionId"].as_str().expect("a session id").to_owned();
        let page = Page { addr: self.addr, base: format!("/session/{session}"), name };
        page.go(url);
        page
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program, by an environment variable or on the PATH.
fn find(variable: &str, names: &[&str]) -> Result<PathBuf, String> {
    if let Some(named) = env::var_os(variable) {
        return Ok(named.into());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .flat_map(|dir| names.iter().map(move |name| dir.join(name)))
        .find(|file| file.is_file())
        .ok_or_else(|| format!("no {} on the PATH, and {variable} is not set", names.join(" or ")))
}

/// One browser. Closed when dropped.
pub(crate) struct Page {
    addr: SocketAddr,
    base: String,
    name: &'static str,
}

impl Page {
    fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        call(self.addr, method, &format!("{}{path}", self.base), body)
    }

    #[track_caller]
    fn must(&self, method: &str, path: &str, body: &Value) -> Value {
        self.call(method, path, body)
            .unwrap_or_else(|error| panic!("{}: {method} {path}: {error}", self.name))
    }

    #[track_caller]
    pub(crate) fn go(&self, url: &str) {
        self.must("POST", "/url", &json!({ "url": url }));
    }

    #[track_caller]
    pub(crate) fn reload(&self) {
        self.must("POST", "/refresh", &json!({}));
    }

    /// Opens another tab of the same browser, and goes on there.
    #[track_caller]
    pub(crate) fn new_tab(&self, url: &str) {
        let made = self.must("POST", "/window/new", &json!({ "type": "tab" }));
        self.must("POST", "/window", &json!({ "handle": made["handle"] }));
        self.go(url);
    }

    /// What an expression is worth in the page. `args[0]` and on are `args`.
    #[track_caller]
    pub(crate) fn eval(&self, expression: &str, args: &[&str]) -> Value {
        let script = format!("const args = arguments; return ({expression});");
        self.must("POST", "/execute/sync", &json!({ "script": script, "args": args }))
    }

    /// Waits until an expression is true in the page. If it never is, shows the page as it was.
    #[track_caller]
    pub(crate) fn until(&self, expression: &str, args: &[&str]) {
        let script = format!(
            "const args = [...arguments], done = args.pop();
             const look = () => ({expression}) ? done(true) : setTimeout(look, 20);
             look();"
        );
        let asked = json!({ "script": script, "args": args });
        if let Err(error) = self.call("POST", "/execute/async", &asked) {
            let shot = self.screenshot("failed");
            let text = self.eval("document.body.innerText", &[]);
            let log = self.console();
            panic!(
                "{} waited in vain for {expression} {args:?}: {error}\n{}\n{}\nconsole: {log:#?}",
                self.name,
                shot.display(),
                text.as_str().unwrap_or_default(),
            );
        }
    }

    #[track_caller]
    fn element(&self, css: &str) -> String {
        let found =
            self.must("POST", "/element", &json!({ "using": "css selector", "value": css }));
        format!("/element/{}", found[ELEMENT].as_str().expect("an element"))
    }

    #[track_caller]
    pub(crate) fn click(&self, css: &str) {
        let element = self.element(css);
        self.must("POST", &format!("{element}/click"), &json!({}));
    }

    /// Types into a field, as a keyboard would.
    #[track_caller]
    pub(crate) fn type_into(&self, css: &str, text: &str) {
        let element = self.element(css);
        self.must("POST", &format!("{element}/value"), &json!({ "text": text }));
    }

    /// Whether an `alert` is up: what a script that got into the page would do.
    pub(crate) fn has_alert(&self) -> bool {
        self.call("GET", "/alert/text", &Value::Null).is_ok()
    }

    /// Whether the browser has complained of the page: exceptions, and what its content policy forbade.
    pub(crate) fn console(&self) -> Vec<String> {
        let log = self.must("POST", "/se/log", &json!({ "type": "browser" }));
        let entries = log.as_array().cloned().unwrap_or_default();
        let ours =
            |entry: &&Value| entry["source"] == "javascript" || entry["source"] == "security";
        entries.iter().filter(ours).map(|entry| entry["message"].to_string()).collect()
    }

    /// Keeps a picture of the page among the build's artefacts, and says where.
    #[track_caller]
    pub(crate) fn screenshot(&self, what: &str) -> PathBuf {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("browser");
        fs::create_dir_all(&dir).expect("a directory for pictures");
        let file = dir.join(format!("{}-{what}.png", self.name));
        let picture = self.must("GET", "/screenshot", &Value::Null);
        fs::write(&file, from_base64(picture.as_str().expect("a picture"))).expect("room for it");
        file
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = self.call("DELETE", "", &Value::Null);
    }
}

/// One call. The error is WebDriver's own sentence, or what went wrong on the way.
fn call(addr: SocketAddr, method: &str, path: &str, body: &Value) -> Result<Value, String> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = exchange(addr, method, path, &body).map_err(|error| error.to_string())?;
    let value = answer["value"].clone();
    match value["error"].as_str() {
        Some(error) => Err(format!("{error}: {}", value["message"].as_str().unwrap_or_default())),
        None => Ok(value),
    }
}

fn exchange(addr: SocketAddr, method: &str, path: &str, body: &str) -> std::io::Result<Value> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(2 * PATIENCE))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {addr}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else {
            if line.trim().is_empty() {
                break;
            }
            continue; // the status line: the body says the same, better
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}

fn from_base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0);
    for digit in text.bytes().filter_map(|b| DIGITS.iter().position(|digit| *digit == b)) {
        bits = bits << 6 | digit as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}
