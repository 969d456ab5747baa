//! The small syntax that headers share: tokens, and lists of them (RFC 9110, section 5.6).

use http::{HeaderMap, HeaderName};

/// Whether a byte may stand in a token: a method, a header's name, the name of a protocol.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether the text is a token.
#[cfg(feature = "websocket")]
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// Blanks and tabs: what HTTP calls white space.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// The elements of a header that is a list, over all headers of this name. Empty elements are left out, and so are
/// headers that are not printable ASCII.
pub(crate) fn list<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a str> + use<'a> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(trim)
        .filter(|element| !element.is_empty())
}

/// Whether a list has this element, in any case of letters.
pub(crate) fn list_has(headers: &HeaderMap, name: &HeaderName, element: &str) -> bool {
    list(headers, name).any(|other| other.eq_ignore_ascii_case(element))
}
