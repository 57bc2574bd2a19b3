//! From the command line to the request.

use runner::plan::CommonRequest;

/// Part of a command line that every workload has.
pub trait Fill {
    /// Writes what was given into the request.
    fn fill(&self, request: &mut CommonRequest);
}
