//! What is recorded, and how it lies in a ring: four words.

use crate::meter::ErrorKind;

/// Something that a client did, or that happened to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientEvent {
    /// When, monotonic ns.
    pub at_ns: u64,
    /// Number of the client's connection among all of the run.
    pub client: u32,
    /// What.
    pub what: Happening,
}

/// Kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// It begins to connect. The same connect tried again is not another start.
    Start,
    /// It is ready for traffic: connected, and its handshake done.
    Open,
    /// It sent a message: the number of that on this connection, from 0.
    Sent(u64),
    /// It received the answer to the message of this number, whole.
    Received(u64),
    /// Its connection has ended. One for each start.
    Exit(Ending),
}

/// How a client's connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As planned, or with the run, owing nothing.
    Normal,
    /// The run ended before it was open, or before it had every answer.
    Unfinished,
    /// It was not established within the connect timeout.
    ConnectTimeout,
    /// It could not be opened in another way, or was lost.
    Failed {
        /// In what way.
        kind: ErrorKind,
        /// What the system said; 0 where it said nothing.
        errno: i32,
    },
}

/// An event as it lies in a ring.
pub(super) type Words = [u64; 4];

impl ClientEvent {
    #[inline]
    pub(super) fn to_words(self) -> Words {
        let (kind, ending, number, errno) = match self.what {
            Happening::Start => (0, 0, 0, 0),
            Happening::Open => (1, 0, 0, 0),
            Happening::Sent(sequence) => (2, 0, sequence, 0),
            Happening::Received(sequence) => (3, 0, sequence, 0),
            Happening::Exit(Ending::Normal) => (4, 0, 0, 0),
            Happening::Exit(Ending::Unfinished) => (4, 1, 0, 0),
            Happening::Exit(Ending::ConnectTimeout) => (4, 2, 0, 0),
            Happening::Exit(Ending::Failed { kind, errno }) => (4, 3, kind as u64, errno),
        };
        let errno = u64::from(errno as u32);
        let client = u64::from(self.client);
        [self.at_ns, number, client | errno << 32, kind | ending << 8]
    }

    pub(super) fn of_words([at_ns, number, client_errno, kinds]: Words) -> Self {
        let errno = (client_errno >> 32) as u32 as i32;
        let what = match (kinds & 0xff, kinds >> 8) {
            (0, _) => Happening::Start,
            (1, _) => Happening::Open,
            (2, _) => Happening::Sent(number),
            (3, _) => Happening::Received(number),
            (_, 0) => Happening::Exit(Ending::Normal),
            (_, 1) => Happening::Exit(Ending::Unfinished),
            (_, 2) => Happening::Exit(Ending::ConnectTimeout),
            _ => Happening::Exit(Ending::Failed {
                kind: ErrorKind::ALL[number as usize],
                errno,
            }),
        };
        Self {
            at_ns,
            client: client_errno as u32,
            what,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_comes_back_as_it_went() {
        let failed = |kind, errno| Happening::Exit(Ending::Failed { kind, errno });
        let mut all = vec![
            Happening::Start,
            Happening::Open,
            Happening::Sent(u64::MAX),
            Happening::Received(0),
            Happening::Exit(Ending::Normal),
            Happening::Exit(Ending::Unfinished),
            Happening::Exit(Ending::ConnectTimeout),
            failed(ErrorKind::Other, i32::MIN),
            failed(ErrorKind::Reset, -1),
        ];
        all.extend(ErrorKind::ALL.map(|kind| failed(kind, 110)));
        for what in all {
            for (at_ns, client) in [(0, 0), (u64::MAX, u32::MAX), (7, 9)] {
                let event = ClientEvent {
                    at_ns,
                    client,
                    what,
                };
                assert_eq!(ClientEvent::of_words(event.to_words()), event);
            }
        }
    }
}
