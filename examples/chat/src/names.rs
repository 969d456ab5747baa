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
///
/// A key is a name itself, whose key it is: a room is stored by it, told of by it to other nodes, and spelled so by who has
/// heard of it no otherwise. `page.html` compares names in the same way.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(Arc<str>);

impl Key {
    pub(crate) fn of(name: &str) -> Self {
        if name.is_ascii() {
            return Self(name.to_ascii_lowercase().into());
        }
        Self(name.chars().flat_map(folded).collect::<String>().into())
    }

    /// The key of a name from a history of the first form. There, letters with marks were taken apart: `İ` lay under `i` and
    /// a dot, which is no name.
    pub(crate) fn of_form_1(stored: &str) -> Self {
        let mut name = stored.to_owned();
        if !stored.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c)) {
            let apart = |c: char| c.to_uppercase().flat_map(char::to_lowercase).collect::<String>();
            let letters = ('\u{80}'..=char::MAX).filter(|c| c.is_alphanumeric());
            let mut letters: Vec<_> = letters
                .map(|c| (apart(c), c))
                .filter(|(apart, _)| !apart.chars().all(char::is_alphanumeric))
                .collect();
            // One that begins like another comes before it.
            letters.sort_by_key(|(apart, _)| std::cmp::Reverse(apart.len()));
            for (apart, letter) in letters {
                name = name.replace(&apart, letter.encode_utf8(&mut [0; 4]));
            }
        }
        Self::of(&name)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A letter without its case. By way of its upper case, so that letters with two lower cases (`σ`, `ς`) or none of their
/// own (`ß`) come together. One whose other case is written with a mark (`İ`, `ΐ`) stays as it is: no name has a mark in it.
fn folded(c: char) -> Vec<char> {
    let lower = c.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    let lower: Vec<char> = lower.collect();
    if lower.iter().all(|c| c.is_alphanumeric()) { lower } else { vec![c] }
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
    checked(bare_room(name), longest)
}

/// A room's name as it may be typed, without what is not part of it.
pub(crate) fn bare_room(name: &str) -> &str {
    let name = name.trim();
    name.strip_prefix('#').unwrap_or(name).trim()
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
        let same = [
            ("Ann", "aNN"),
            ("ОЛЯ", "оля"),
            ("ΣΑΣ", "σας"),
            ("STRASSE", "straße"),
            ("STRAẞE", "strasse"),
            ("IŞIK", "ışık"),
        ];
        for (one, other) in same {
            assert_eq!(Key::of(one), Key::of(other));
        }
        assert_ne!(Key::of("a"), Key::of("а"), "Latin and Cyrillic");
    }

    #[test]
    fn a_key_is_a_name_and_its_own_key() {
        for c in ('\0'..=char::MAX).filter(|c| checked(&c.to_string(), 1).is_ok()) {
            let key = Key::of(&c.to_string());
            assert_eq!(checked(key.as_str(), 3), Ok(key.as_str()), "{c:?}");
            assert_eq!(Key::of(key.as_str()), key, "{c:?}");
        }
    }
}
