//! What the selector is asked to watch: changed lazily, in the next wait.

use super::Readiness;
use super::tokens::{KIND_CONNECTION, KIND_LISTENER, special};
use crate::selector::{Change, Filter, Op, Selector};
use engine::proactor::{ConnectionId, Token};
use std::os::fd::{AsRawFd, RawFd};

fn add_or_delete(wanted: bool) -> Op {
    if wanted { Op::Add } else { Op::Delete }
}

impl<S: Selector> Readiness<S> {
    /// Notes that the interest of `index` may differ from what the selector knows.
    pub(super) fn mark(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(index);
        }
    }

    /// Turns changed interests into changes for the selector.
    pub(super) fn flush(&mut self) {
        for index in self.dirty.drain(..) {
            let connection = &mut self.connections[index as usize];
            connection.dirty = false;
            let Some(socket) = &connection.socket else {
                continue;
            };
            let id = connection.id(index);
            let change = Change {
                fd: socket.as_raw_fd(),
                filter: Filter::Read,
                op: add_or_delete(connection.read_wanted),
                clear: !self.options.level,
                shared: false,
                oneshot: false,
                lowat: None,
                token: Token::pack(KIND_CONNECTION, id).0,
            };
            if connection.read_wanted != connection.read_armed {
                connection.read_armed = connection.read_wanted;
                self.changes.push(change);
            }
            if connection.write_wanted != connection.write_armed {
                connection.write_armed = connection.write_wanted;
                self.counters.rearms += u64::from(connection.write_wanted);
                self.changes.push(Change {
                    filter: Filter::Write,
                    op: add_or_delete(connection.write_wanted),
                    // A connect ends once; the registration then vanishes without another change.
                    // A level is taken back, for epoll would go on to report room.
                    oneshot: connection.connecting && !self.options.level,
                    ..change
                });
            }
        }
    }

    pub(super) fn watch_listener(&mut self, fd: RawFd, op: Op) {
        // A level: whatever is left behind after a bounded number of accepts is reported again.
        self.changes.push(Change {
            fd,
            filter: Filter::Read,
            op,
            clear: false,
            shared: true,
            oneshot: false,
            lowat: None,
            token: special(KIND_LISTENER).0,
        });
    }

    /// With a level, what is left after a receive is reported again, until receiving ends.
    pub(super) fn forget_level(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        connection.readable = false;
        if !connection.receiving {
            connection.read_wanted = false;
            self.mark(index);
        }
    }

    /// With a level, a paused connection would be reported for ever.
    pub(super) fn set_read_wanted(&mut self, id: ConnectionId, wanted: bool) {
        let connection = self.connection(id);
        connection.read_wanted = wanted && connection.receiving;
        self.mark(id.index);
    }
}
