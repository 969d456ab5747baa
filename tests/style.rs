//! What no lint checks: how long files, functions and lines are, how files open, and which files may name what.

use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES: usize = 500; // blank lines and the opening text not counted
const FUNCTION_LINES: usize = 70;
const LINE_CHARS: usize = 125; // comments run up to here; rustfmt holds code to 100

struct Source {
    /// Below the root, with `/` between its parts.
    name: String,
    text: String,
}

impl Source {
    fn is_test(&self) -> bool {
        let name = &self.name;
        name.ends_with("tests.rs") || name.contains("/tests/") || name.ends_with("test_support.rs")
    }

    /// The numbered lines of code that ships: no comments, and nothing from an inline `mod tests` on.
    fn shipped(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .map(|(at, line)| (at + 1, line.trim_start()))
            .take_while(|(_, line)| !line.starts_with("mod tests {"))
            .filter(|(_, line)| !self.is_test() && !line.starts_with("//"))
    }
}

/// All of a directory's `.rs` files. Asserts that there are some: a check of nothing would always pass.
fn sources(directory: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut directories = vec![root.join(directory)];
    let mut found = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("a directory to read") {
            let path: PathBuf = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).expect("below the root").display().to_string();
                let text = fs::read_to_string(&path).expect("a readable file");
                found.push(Source { name, text });
            }
        }
    }
    assert!(!found.is_empty(), "no files in {directory}");
    found
}

/// Fails with all complaints at once.
fn none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// The lines of shipped code in `src/` that `is_wrong` finds, as `file:line: code`.
fn wrong_lines(is_wrong: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in sources("src") {
        for (at, line) in source.shipped().filter(|(_, line)| is_wrong(&source.name, line)) {
            wrong.push(format!("{}:{at}: {line}", source.name));
        }
    }
    wrong
}

#[test]
fn every_file_says_what_it_is_for() {
    let says = |source: &Source| source.is_test() || source.text.starts_with("//!");
    let silent = sources("src").into_iter().filter(|source| !says(source));
    none(silent.map(|source| format!("{}: opens without //!", source.name)).collect());
}

#[test]
fn files_are_short() {
    let counts = |line: &&str| !line.trim().is_empty() && !line.starts_with("//!");
    let lines = |source: &Source| source.text.lines().filter(counts).count();
    let all = sources("src").into_iter().chain(sources("tests")).chain(sources("examples"));
    let long = all.filter(|source| lines(source) > FILE_LINES);
    none(long.map(|source| format!("{}: {} lines", source.name, lines(&source))).collect());
}

#[test]
fn lines_are_short() {
    let mut long = Vec::new();
    for source in sources("src").into_iter().chain(sources("tests")).chain(sources("examples")) {
        for (at, line) in source.text.lines().enumerate() {
            let chars = line.chars().count();
            if chars > LINE_CHARS {
                long.push(format!("{}:{}: {chars} characters", source.name, at + 1));
            }
        }
    }
    none(long);
}

/// A function ends at the brace that stands under its beginning, as rustfmt puts it.
#[test]
fn functions_are_short() {
    let mut long = Vec::new();
    for source in sources("src").into_iter().chain(sources("tests")).chain(sources("examples")) {
        let mut begun: Option<(usize, usize)> = None; // its line, its indentation
        for (at, line) in source.text.lines().enumerate() {
            let code = line.trim_start();
            let indent = line.len() - code.len();
            let begins = ["fn ", "pub fn ", "pub(crate) fn ", "pub(super) fn ", "const fn "];
            if begins.iter().any(|begin| code.starts_with(begin)) && !code.ends_with(['}', ';']) {
                begun = Some((at, indent));
            } else if let Some((start, _)) = begun.filter(|begun| code == "}" && begun.1 == indent)
            {
                let lines = at - start + 1;
                if lines > FUNCTION_LINES {
                    long.push(format!(
                        "{}:{}: a function of {lines} lines",
                        source.name,
                        start + 1
                    ));
                }
                begun = None;
            }
        }
    }
    none(long);
}

#[test]
fn one_file_reads_the_clock() {
    none(wrong_lines(|file, line| file != "src/clock.rs" && line.contains("Instant::now")));
}

#[test]
fn only_the_io_layer_names_mio_and_socket2() {
    let names = |line: &str| {
        ["mio::", "socket2::"].iter().any(|name| {
            line.match_indices(name)
                .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        })
    };
    none(wrong_lines(|file, line| !file.starts_with("src/io/") && names(line)));
}

#[test]
fn nothing_that_ships_unwraps() {
    none(wrong_lines(|_, line| line.contains(".unwrap()")));
}
