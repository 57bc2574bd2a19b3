//! Which sends nobody waits for are under way: see `lazy`.

use engine::proactor::ConnectionId;

/// The lazy sends under way.
#[derive(Debug, Default)]
pub(super) struct Lazy {
    /// Queued in this turn; a call has to take it yet.
    pub(super) queued: Option<ConnectionId>,
    /// Taken by the call that began this turn: over, unless one of its completions says otherwise.
    pub(super) tried: Option<ConnectionId>,
    /// Completions that this turn brought.
    pub(super) brought: usize,
}

impl Lazy {
    /// Whether one of this connection waits to be taken by a call.
    pub(super) fn is_queued(&self, id: ConnectionId) -> bool {
        self.queued == Some(id)
    }
}
