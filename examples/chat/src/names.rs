//! Names of people and of rooms: which are allowed, and when two are the same.
//!
//! Two names are the same if only their case differs. Letters that merely look alike (a Latin `a` and a Cyrillic `а`) are
//! different letters here, and different spellings of one letter (`é` as one character or as two) are not brought
//! together: the second has a combining mark in it, which no name may.

use std::fmt;
use std::sync::Arc;

/// Letters that show nothing. Unicode calls them letters, a reader would call them a forgery.
const BLANK_LETTERS: [char; 4] = ['\u{115f}', '\u{1160}', '\u{3164}', '\u{ffa0}'];

/// A name or a room as it is compared: without its case. Cheap to clone; what people see is kept beside it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(Arc<str>);

impl Key {
    /// Upper case first, so that letters with two lower cases (`σ`, `ς`) or none of their own (`ß`) come together.
    pub(crate) fn of(name: &str) -> Self {
        let folded: String = name.to_uppercase().chars().flat_map(char::to_lowercase).collect();
        Self(folded.into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// The name without the space around it, if it is one: at most so many letters, digits and `-_.`, of any script.
pub(crate) fn checked(name: &str, longest: usize) -> Result<&str, String> {
    let name = name.trim();
    let allowed =
        |c: char| (c.is_alphanumeric() && !BLANK_LETTERS.contains(&c)) || "-_.".contains(c);
    let length = name.chars().count();
    if length == 0 {
        return Err("a name has at least one character".to_owned());
    }
    if length > longest {
        return Err(format!("a name of {length} characters: the longest has {longest}"));
    }
    match name.chars().find(|c| !allowed(*c)) {
        Some(c) => Err(format!(
            "a name has no {c:?} (U+{:04X}) in it: letters, digits and -_. are allowed",
            u32::from(c)
        )),
        None => Ok(name),
    }
}

/// A room's name; `#rust` is `rust`, since many type it so.
pub(crate) fn checked_room(name: &str, longest: usize) -> Result<&str, String> {
    let name = name.trim();
    checked(name.strip_prefix('#').unwrap_or(name), longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_script_are_names() {
        for name in ["ann", "Оля", "李雷", "a-b_c.d", "x", "अदिति", "٤٢"] {
            assert_eq!(checked(&format!(" {name} "), 32), Ok(name));
        }
        assert_eq!(checked_room("#rust", 32), Ok("rust"));
    }

    #[test]
    fn what_would_fool_a_reader_is_refused_and_named() {
        let refused = [
            ("a b", "U+0020"),
            ("a\u{202e}b", "U+202E"),
            ("a\u{200d}b", "U+200D"),
            ("\u{3164}", "U+3164"),
            ("a\nb", "U+000A"),
            ("<b>", "U+003C"),
            ("e\u{301}", "U+0301"),
        ];
        for (name, culprit) in refused {
            let why = checked(name, 32).expect_err(name);
            assert!(why.contains(culprit), "{name:?}: {why}");
        }
        assert!(checked("  ", 32).is_err());
        let why = checked(&"я".repeat(33), 32).expect_err("too long");
        assert!(why.contains("33") && why.contains("32"), "{why}");
        assert!(checked(&"я".repeat(32), 32).is_ok(), "characters are counted, not bytes");
    }

    #[test]
    fn case_makes_no_difference() {
        let same = [("Ann", "aNN"), ("ОЛЯ", "оля"), ("ΣΑΣ", "σας"), ("STRASSE", "straße")];
        for (one, other) in same {
            assert_eq!(Key::of(one), Key::of(other));
        }
        assert_ne!(Key::of("a"), Key::of("а"), "Latin and Cyrillic");
    }
}
