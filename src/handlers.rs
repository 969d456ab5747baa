//! The closures that a connection calls, and the error that they may return.

use std::fmt;

use crate::error::BoxError;

/// What a handler returns when it fails: any error, by `?`, or a message.
///
/// ```
/// use wheelhouse::HandlerError;
///
/// fn parse(text: &str) -> Result<u32, HandlerError> {
///     let number: u32 = text.parse()?;
///     if number > 100 {
///         return Err(HandlerError::msg(format!("{number} is over 100")));
///     }
///     Ok(number)
/// }
/// assert_eq!(parse("7").unwrap(), 7);
/// assert_eq!(parse("700").unwrap_err().to_string(), "700 is over 100");
/// ```
///
/// Like `anyhow::Error`, it is not itself a `std::error::Error`, so that `?` can take every type that is one.
pub struct HandlerError(BoxError);

impl HandlerError {
    /// An error that is only a message.
    pub fn msg(message: impl fmt::Display) -> Self {
        Self(message.to_string().into())
    }

    /// The error inside.
    #[must_use]
    pub fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        &*self.0
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for HandlerError {
    fn from(source: E) -> Self {
        Self(Box::new(source))
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
