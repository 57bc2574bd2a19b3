//! Why operations fail.

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum ErrorKind {
    /// The peer refused the connection (ECONNREFUSED), or no such Unix socket.
    ConnectRefused,
    /// Connecting took longer than its timeout.
    ConnectTimeout,
    /// The peer reset the connection (ECONNRESET, EPIPE).
    Reset,
    /// The peer closed although an answer was owed.
    ClosedEarly,
    /// No answer within the operation timeout.
    Timeout,
    /// More bytes than agreed. Of fewer nobody knows that they are all: that is a timeout or an end.
    Long,
    /// Bytes that nobody had asked for.
    Unsolicited,
    /// Bytes that differ from those expected.
    Mismatch,
    /// The peer broke the protocol, or refused to speak it.
    Protocol,
    /// No local port left (EADDRNOTAVAIL, EADDRINUSE).
    NoPorts,
    /// No descriptor left (EMFILE, ENFILE).
    NoDescriptors,
    /// Anything else; the first text is kept.
    Other,
}

impl ErrorKind {
    /// All kinds, in order.
    pub const ALL: [Self; 12] = [
        Self::ConnectRefused,
        Self::ConnectTimeout,
        Self::Reset,
        Self::ClosedEarly,
        Self::Timeout,
        Self::Long,
        Self::Unsolicited,
        Self::Mismatch,
        Self::Protocol,
        Self::NoPorts,
        Self::NoDescriptors,
        Self::Other,
    ];

    /// The name in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConnectRefused => "connect_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::Reset => "reset",
            Self::ClosedEarly => "closed_early",
            Self::Timeout => "timeout",
            Self::Long => "long",
            Self::Unsolicited => "unsolicited",
            Self::Mismatch => "mismatch",
            Self::Protocol => "protocol",
            Self::NoPorts => "no_ports",
            Self::NoDescriptors => "no_descriptors",
            Self::Other => "other",
        }
    }

    /// The kind of an errno.
    pub fn of_errno(errno: i32) -> Self {
        match errno {
            libc::ECONNREFUSED | libc::ENOENT => Self::ConnectRefused,
            libc::ETIMEDOUT => Self::ConnectTimeout,
            libc::ECONNRESET | libc::EPIPE | libc::ECONNABORTED => Self::Reset,
            libc::EADDRNOTAVAIL | libc::EADDRINUSE => Self::NoPorts,
            libc::EMFILE | libc::ENFILE => Self::NoDescriptors,
            _ => Self::Other,
        }
    }
}
