//! How many connections were started, and what became of them.

/// Every connection that was started is counted once as succeeded, failed or unfinished, whatever the
/// order of events: once a run is over, `started = succeeded + failed + unfinished`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    /// Connections that it was tried to open. The same one tried from another source address, or again
    /// because a backlog was full, is not another one.
    pub started: u64,
    /// Those that ended as planned, or stood at the end of the run and owed nothing.
    pub succeeded: u64,
    /// Those that could not be opened, or were lost.
    pub failed: u64,
    /// Of these, those that had been established.
    pub lost: u64,
    /// Those that were being opened, or were owed an answer, when the run ended.
    pub unfinished: u64,
}

impl Accounts {
    /// Adds another worker's.
    pub fn add(&mut self, other: Self) {
        self.started += other.started;
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.lost += other.lost;
        self.unfinished += other.unfinished;
    }

    /// Connections that are neither of the three yet.
    pub fn pending(&self) -> u64 {
        self.started - self.succeeded - self.failed - self.unfinished
    }
}
