//! The WebSocket protocol (RFC 6455) without I/O: the opening handshake, frames, masks, UTF-8 and closing, for both
//! sides. No extension is offered or accepted, permessage-deflate (RFC 7692) neither.
//!
//! What sessions say with it is in [`crate::workload`].

pub mod close;
pub mod frame;
pub mod handshake;
pub mod mask;
pub mod utf8;

/// Why a connection must be failed (RFC 6455 section 7.1.7), and what the peer is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The status code for the close frame (section 7.4.1).
    pub code: u16,
    /// What was wrong, in words.
    pub why: &'static str,
}

impl Violation {
    pub(crate) const fn protocol(why: &'static str) -> Self {
        Self {
            code: close::PROTOCOL_ERROR,
            why,
        }
    }

    /// Text that is no UTF-8.
    pub const NOT_UTF8: Self = Self {
        code: close::INVALID_DATA,
        why: "text that is not UTF-8",
    };

    /// A message that is longer than is taken.
    pub const TOO_BIG: Self = Self {
        code: close::TOO_BIG,
        why: "a message that is longer than the limit",
    };
}
