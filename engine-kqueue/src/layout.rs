//! `struct kevent` of four systems, byte for byte, with encoding and decoding.
//!
//! All four are compiled and tested everywhere. On a real target `kqueue.rs` asserts at compile
//! time that the one it uses has libc's size, offsets and constants, so that a `cargo check` for
//! that target on Linux finds any difference. Sources: `sys/event.h` of FreeBSD 12+, XNU, NetBSD
//! and OpenBSD.

use crate::selector::{Change, Filter, Op, Ready};

macro_rules! layout {
    (
        $(#[$doc:meta])* $module:ident, repr: [$($repr:tt)+],
        filter: $filter:ty, flags: $flags:ty, data: $data:ty, ext: $ext:literal,
        read: $read:literal, write: $write:literal
    ) => {
        $(#[$doc])*
        pub mod $module {
            use super::{Change, Filter, Op, Ready};

            /// Registers, or changes a registration.
            pub const EV_ADD: $flags = 0x1;
            /// Removes a registration.
            pub const EV_DELETE: $flags = 0x2;
            /// Removed when reported.
            pub const EV_ONESHOT: $flags = 0x10;
            /// An edge: reset when reported.
            pub const EV_CLEAR: $flags = 0x20;
            /// The entry answers a change; `data` is errno.
            pub const EV_ERROR: $flags = 0x4000;
            /// FIN or error; `fflags` is the socket's error.
            pub const EV_EOF: $flags = 0x8000;
            /// `data` is the least number of bytes to report.
            pub const NOTE_LOWAT: u32 = 0x1;
            /// Readable.
            pub const EVFILT_READ: $filter = $read;
            /// Writable.
            pub const EVFILT_WRITE: $filter = $write;

            /// The system's `struct kevent`. `udata` is a pointer there; it carries the token.
            #[repr($($repr)+)]
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub struct Kevent {
                /// The descriptor.
                pub ident: usize,
                /// EVFILT_*.
                pub filter: $filter,
                /// EV_*.
                pub flags: $flags,
                /// Per filter: NOTE_*, and with EV_EOF the socket's error.
                pub fflags: u32,
                /// Per filter: bytes, connections, errno.
                pub data: $data,
                /// The token.
                pub udata: u64,
                /// Only on FreeBSD: not used.
                pub ext: [u64; $ext],
            }

            impl Kevent {
                /// An entry of an event list before the kernel writes it.
                pub const EMPTY: Self = Self {
                    ident: 0,
                    filter: 0,
                    flags: 0,
                    fflags: 0,
                    data: 0,
                    udata: 0,
                    ext: [0; $ext],
                };

                /// The change as an entry of a changelist.
                pub fn encode(change: &Change) -> Self {
                    let filter = match change.filter {
                        Filter::Read => EVFILT_READ,
                        Filter::Write => EVFILT_WRITE,
                    };
                    let flags = match change.op {
                        Op::Delete => EV_DELETE,
                        Op::Add => {
                            EV_ADD
                                | if change.clear { EV_CLEAR } else { 0 }
                                | if change.oneshot { EV_ONESHOT } else { 0 }
                        }
                    };
                    Self {
                        ident: change.fd as usize,
                        filter,
                        flags,
                        fflags: if change.lowat.is_some() { NOTE_LOWAT } else { 0 },
                        data: change.lowat.unwrap_or(0) as $data,
                        udata: change.token,
                        ext: [0; $ext],
                    }
                }

                /// What an entry of the event list says; `None` for one that says nothing: a
                /// receipt (an error entry with errno 0) or a filter that is not used here.
                pub fn decode(&self) -> Option<Ready> {
                    // By value: a packed field cannot be borrowed.
                    let (kind, flags, fflags, data) =
                        (self.filter, self.flags, self.fflags, self.data);
                    let filter = match kind {
                        EVFILT_READ => Filter::Read,
                        EVFILT_WRITE => Filter::Write,
                        _ => return None,
                    };
                    let base = Ready {
                        token: self.udata,
                        filter,
                        avail: None,
                        eof: false,
                        err: None,
                        change_error: false,
                    };
                    if flags & EV_ERROR != 0 {
                        let errno = data as i32;
                        return (errno != 0)
                            .then_some(Ready { err: Some(errno), change_error: true, ..base });
                    }
                    let eof = flags & EV_EOF != 0;
                    let err = (eof && fflags != 0).then_some(fflags as i32);
                    Some(Ready { avail: Some(data as i64), eof, err, ..base })
                }
            }
        }
    };
}

layout!(
    /// FreeBSD 12 and later.
    freebsd, repr: [C],
    filter: i16, flags: u16, data: i64, ext: 4, read: -1, write: -2
);
layout!(
    /// macOS: packed to 4 bytes.
    macos, repr: [C, packed(4)],
    filter: i16, flags: u16, data: isize, ext: 0, read: -1, write: -2
);
layout!(
    /// NetBSD: wide, unsigned filters that count from 0.
    netbsd, repr: [C],
    filter: u32, flags: u32, data: i64, ext: 0, read: 0, write: 1
);
layout!(
    /// OpenBSD.
    openbsd, repr: [C],
    filter: i16, flags: u16, data: i64, ext: 0, read: -1, write: -2
);

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGE: Change = Change {
        fd: 7,
        filter: Filter::Read,
        op: Op::Add,
        clear: true,
        shared: false,
        oneshot: false,
        lowat: None,
        token: 0xfedc_ba98_7654_3210,
    };

    macro_rules! tests {
        ($module:ident, size: $size:literal, data_at: $data_at:literal, udata_at: $udata_at:literal) => {
            mod $module {
                use super::super::$module::*;
                use super::*;
                use std::mem::offset_of;

                #[test]
                fn layout() {
                    assert_eq!(size_of::<Kevent>(), $size);
                    assert_eq!(offset_of!(Kevent, filter), 8);
                    assert_eq!(offset_of!(Kevent, data), $data_at);
                    assert_eq!(offset_of!(Kevent, udata), $udata_at);
                }

                #[test]
                fn changes_are_encoded() {
                    let read = Kevent::encode(&CHANGE);
                    assert_eq!({ read.ident }, 7);
                    assert_eq!({ read.filter }, EVFILT_READ);
                    assert_eq!({ read.flags }, EV_ADD | EV_CLEAR);
                    let once = Change {
                        filter: Filter::Write,
                        clear: false,
                        shared: true,
                        oneshot: true,
                        lowat: Some(4096),
                        ..CHANGE
                    };
                    let write = Kevent::encode(&once);
                    assert_eq!({ write.filter }, EVFILT_WRITE);
                    assert_eq!({ write.flags }, EV_ADD | EV_ONESHOT);
                    assert_eq!(({ write.fflags }, { write.data }), (NOTE_LOWAT, 4096));
                    let delete = Kevent::encode(&Change {
                        op: Op::Delete,
                        ..CHANGE
                    });
                    assert_eq!({ delete.flags }, EV_DELETE);
                }

                #[test]
                fn reports_are_decoded() {
                    let entry = |flags, fflags, data| Kevent {
                        flags,
                        fflags,
                        data,
                        ..Kevent::encode(&CHANGE)
                    };
                    let ready = |avail, eof, err, change_error| Ready {
                        token: CHANGE.token,
                        filter: Filter::Read,
                        avail,
                        eof,
                        err,
                        change_error,
                    };
                    // Bytes; FIN behind bytes; RST; a refused change; a receipt; another filter.
                    let bytes = entry(EV_ADD | EV_CLEAR, 0, 100).decode();
                    assert_eq!(bytes, Some(ready(Some(100), false, None, false)));
                    let fin = entry(EV_CLEAR | EV_EOF, 0, 227).decode();
                    assert_eq!(fin, Some(ready(Some(227), true, None, false)));
                    let reset = entry(EV_CLEAR | EV_EOF, 54, 0).decode();
                    assert_eq!(reset, Some(ready(Some(0), true, Some(54), false)));
                    let refused = entry(EV_ERROR, 0, 9).decode();
                    assert_eq!(refused, Some(ready(None, false, Some(9), true)));
                    assert_eq!(entry(EV_ERROR, 0, 0).decode(), None);
                    assert_eq!(
                        Kevent {
                            filter: 5,
                            ..Kevent::EMPTY
                        }
                        .decode(),
                        None
                    );
                }

                #[test]
                fn every_change_comes_back() {
                    for filter in [Filter::Read, Filter::Write] {
                        for token in [0, 1, u64::MAX, CHANGE.token] {
                            let sent = Kevent::encode(&Change {
                                filter,
                                token,
                                ..CHANGE
                            });
                            let back = sent.decode().unwrap();
                            assert_eq!((back.filter, back.token), (filter, token));
                        }
                    }
                }
            }
        };
    }

    tests!(freebsd, size: 64, data_at: 16, udata_at: 24);
    tests!(macos, size: 32, data_at: 16, udata_at: 24);
    tests!(netbsd, size: 40, data_at: 24, udata_at: 32);
    tests!(openbsd, size: 32, data_at: 16, udata_at: 24);
}
