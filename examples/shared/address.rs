//! The address that an example listens on, as its `--addr` takes it.

use std::io;
use std::net::ToSocketAddrs;

/// `HOST:PORT`, or `:PORT` for every interface. What is no address is refused with the arguments, where it is named.
pub(crate) fn address(text: &str) -> io::Result<String> {
    let address = match text.strip_prefix(':') {
        Some(port) => format!("0.0.0.0:{port}"),
        None => text.to_owned(),
    };
    address.to_socket_addrs()?;
    Ok(address)
}
