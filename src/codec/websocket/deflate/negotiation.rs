//! The words in which two ends agree on permessage-deflate: the offers of a `Sec-WebSocket-Extensions` header, and the
//! answer.

use std::fmt::Write;

use super::{Deflate, DeflateOptions, Direction};
use crate::codec::http::HeaderValue;

const NAME: &str = "permessage-deflate";

/// What both ends agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) struct Agreement {
    options: DeflateOptions,
    server: Direction,
    client: Direction,
    /// The client said that it can be told its window.
    names_client_window: bool,
}

/// The parameters of one offer, or of the answer.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Parameters {
    server_no_takeover: bool,
    client_no_takeover: bool,
    server_window: Option<u8>,
    /// `Some(None)`: it was named without a number.
    client_window: Option<Option<u8>>,
}

impl Parameters {
    /// `None` for what RFC 7692 does not know, or knows once.
    fn read(offer: &str) -> Option<Self> {
        let mut parts = offer.split(';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case(NAME) {
            return None;
        }
        let mut read = Self::default();
        for part in parts {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name.trim(), Some(unquoted(value.trim()))),
                None => (part, None),
            };
            match (name.to_ascii_lowercase().as_str(), value) {
                ("server_no_context_takeover", None) if !read.server_no_takeover => {
                    read.server_no_takeover = true;
                }
                ("client_no_context_takeover", None) if !read.client_no_takeover => {
                    read.client_no_takeover = true;
                }
                ("server_max_window_bits", Some(value)) if read.server_window.is_none() => {
                    read.server_window = Some(window_bits(value)?);
                }
                ("client_max_window_bits", None) if read.client_window.is_none() => {
                    read.client_window = Some(None);
                }
                ("client_max_window_bits", Some(value)) if read.client_window.is_none() => {
                    read.client_window = Some(Some(window_bits(value)?));
                }
                _ => return None,
            }
        }
        Some(read)
    }
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

/// 8 to 15, without a sign or a leading zero.
fn window_bits(value: &str) -> Option<u8> {
    if value.starts_with(['+', '0']) {
        return None;
    }
    value.parse().ok().filter(|bits| (8..=15).contains(bits))
}

/// Names and numbers are what a header may have.
fn header_value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(NAME))
}

impl Agreement {
    /// A server's choice from a client's offers: the first that it can keep to.
    pub(in super::super) fn choose<'a>(
        options: DeflateOptions,
        headers: impl Iterator<Item = &'a str>,
    ) -> Option<Self> {
        let mut offers = headers.flat_map(|header| header.split(','));
        offers.find_map(|offer| {
            let asked = Parameters::read(offer)?;
            let server_window = asked.server_window.unwrap_or(15).min(options.window_bits);
            // The compressor has no window of 8 bits.
            (server_window >= 9).then_some(())?;
            let client_window = match asked.client_window {
                Some(asked) => asked.unwrap_or(15).min(options.window_bits),
                None => 15,
            };
            Some(Self {
                options,
                server: Direction {
                    window_bits: server_window,
                    takeover: options.takeover && !asked.server_no_takeover,
                },
                client: Direction {
                    window_bits: client_window,
                    takeover: options.takeover && !asked.client_no_takeover,
                },
                names_client_window: asked.client_window.is_some(),
            })
        })
    }

    /// The header of a server's answer.
    pub(in super::super) fn answer(&self) -> HeaderValue {
        header_value(self.answer_text())
    }

    fn answer_text(&self) -> String {
        let mut answer = NAME.to_owned();
        if !self.server.takeover {
            answer.push_str("; server_no_context_takeover");
        }
        if !self.client.takeover {
            answer.push_str("; client_no_context_takeover");
        }
        // Writing to a String does not fail.
        if self.server.window_bits < 15 {
            let _ = write!(answer, "; server_max_window_bits={}", self.server.window_bits);
        }
        if self.names_client_window && self.client.window_bits < 15 {
            let _ = write!(answer, "; client_max_window_bits={}", self.client.window_bits);
        }
        answer
    }

    /// The header of a client's request.
    pub(in super::super) fn offer(options: DeflateOptions) -> HeaderValue {
        header_value(Self::offer_text(options))
    }

    fn offer_text(options: DeflateOptions) -> String {
        let mut offer = NAME.to_owned();
        if !options.takeover {
            offer.push_str("; server_no_context_takeover; client_no_context_takeover");
        }
        let bits = options.window_bits;
        if bits < 15 {
            let _ = write!(offer, "; server_max_window_bits={bits}; client_max_window_bits={bits}");
        } else {
            offer.push_str("; client_max_window_bits");
        }
        offer
    }

    /// What a client reads in a server's answer to its [`offer`](Self::offer). `None`: that is no answer to it.
    pub(in super::super) fn accept(options: DeflateOptions, answer: &str) -> Option<Self> {
        let told = Parameters::read(answer)?;
        let client_window = match told.client_window {
            Some(bits) => bits?,
            None => options.window_bits,
        };
        let server_window = told.server_window.unwrap_or(15);
        let keeps_to_it = server_window <= options.window_bits
            && (options.takeover || told.server_no_takeover)
            && client_window >= 9;
        keeps_to_it.then_some(Self {
            options,
            server: Direction {
                window_bits: server_window.max(9),
                takeover: !told.server_no_takeover,
            },
            client: Direction {
                window_bits: client_window.min(options.window_bits),
                takeover: options.takeover && !told.client_no_takeover,
            },
            names_client_window: told.client_window.is_some(),
        })
    }

    pub(in super::super) fn for_server(self) -> Deflate {
        Deflate::new(self.options, self.server, self.client)
    }

    pub(in super::super) fn for_client(self) -> Deflate {
        Deflate::new(self.options, self.client, self.server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(options: DeflateOptions, header: &str) -> Option<String> {
        Agreement::choose(options, std::iter::once(header)).map(|agreed| agreed.answer_text())
    }

    #[test]
    fn a_server_takes_the_first_offer_that_it_can_keep_to() {
        let default = DeflateOptions::new();
        let narrow = default.window_bits(10).no_context_takeover();
        let cases = [
            (default, "permessage-deflate", Some("permessage-deflate")),
            (default, "permessage-deflate; client_max_window_bits", Some("permessage-deflate")),
            (default, "x-webkit-deflate-frame", None),
            (
                default,
                "foo, PerMessage-Deflate ; server_no_context_takeover",
                Some("permessage-deflate; server_no_context_takeover"),
            ),
            (
                default,
                "permessage-deflate; server_max_window_bits=\"9\"",
                Some("permessage-deflate; server_max_window_bits=9"),
            ),
            (
                default,
                "permessage-deflate; server_max_window_bits=8, permessage-deflate",
                Some("permessage-deflate"),
            ),
            (
                default,
                "permessage-deflate; client_max_window_bits=9; client_no_context_takeover",
                Some("permessage-deflate; client_no_context_takeover; client_max_window_bits=9"),
            ),
            (
                default,
                "permessage-deflate; client_max_window_bits=8", // and no more than it said
                Some("permessage-deflate; client_max_window_bits=8"),
            ),
            (
                narrow,
                "permessage-deflate; client_max_window_bits",
                Some(
                    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                     server_max_window_bits=10; client_max_window_bits=10",
                ),
            ),
            (
                narrow,
                "permessage-deflate",
                Some(
                    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                     server_max_window_bits=10",
                ),
            ),
        ];
        for (options, header, expected) in cases {
            assert_eq!(choice(options, header).as_deref(), expected, "{header}");
        }
    }

    #[test]
    fn offers_that_are_not_in_order_are_passed_over() {
        for parameters in [
            "unknown",
            "server_no_context_takeover=1",
            "server_no_context_takeover; server_no_context_takeover",
            "client_no_context_takeover; client_no_context_takeover",
            "server_max_window_bits=9; server_max_window_bits=9",
            "client_max_window_bits=9; client_max_window_bits=9",
            "client_max_window_bits; client_max_window_bits",
            "server_max_window_bits",
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=010",
            "server_max_window_bits=+9",
            "client_max_window_bits=",
            "client_max_window_bits; client_max_window_bits=9",
            "",
        ] {
            let header = format!("permessage-deflate; {parameters}");
            assert_eq!(choice(DeflateOptions::new(), &header), None, "{header}");
        }
    }

    #[test]
    fn an_offer_says_no_more_than_it_has_to() {
        let offer = |options| Agreement::offer_text(options);
        let widest = offer(DeflateOptions::new());
        assert_eq!(widest, "permessage-deflate; client_max_window_bits");
        let narrow = offer(DeflateOptions::new().window_bits(14));
        assert_eq!(
            narrow,
            "permessage-deflate; server_max_window_bits=14; client_max_window_bits=14"
        );
    }

    #[test]
    fn both_ends_understand_the_same() {
        let all = [
            DeflateOptions::new(),
            DeflateOptions::new().window_bits(9),
            DeflateOptions::new().window_bits(12).no_context_takeover(),
            DeflateOptions::new().no_context_takeover(),
        ];
        for client in all {
            for server in all {
                let offer = Agreement::offer_text(client);
                let chosen = Agreement::choose(server, std::iter::once(&*offer)).expect("agreed");
                let read =
                    Agreement::accept(client, &chosen.answer_text()).expect("an answer to it");
                assert_eq!(read.server, chosen.server, "{offer}: {}", chosen.answer_text());
                assert!(read.client.window_bits <= chosen.client.window_bits);
                assert!(chosen.client.takeover || !read.client.takeover);
            }
        }
    }

    #[test]
    fn a_client_is_not_told_what_it_did_not_offer() {
        let narrow = DeflateOptions::new().window_bits(10).no_context_takeover();
        for answer in [
            "permessage-deflate; server_max_window_bits=10", // keeps its context
            "permessage-deflate; server_no_context_takeover", // a window of 15
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=10; client_max_window_bits",
            "x-deflate",
        ] {
            assert_eq!(Agreement::accept(narrow, answer), None, "{answer}");
        }
    }
}
