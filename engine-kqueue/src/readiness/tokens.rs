//! What registrations are made for: the kinds of tokens.

use engine::proactor::{ConnectionId, Token};

/// A connection's.
pub(super) const KIND_CONNECTION: u8 = 1;
/// The listener's.
pub(super) const KIND_LISTENER: u8 = 2;
/// That of the descriptor that wakes the worker.
pub(super) const KIND_WAKE: u8 = 3;

/// A token that belongs to no connection.
pub(super) const fn special(kind: u8) -> Token {
    Token::pack(
        kind,
        ConnectionId {
            index: 0,
            generation: 0,
        },
    )
}
