//! What becomes of a setting, in a word.

use crate::value::Change;

/// What becomes of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It has the value already, or more than the profile demands.
    Unchanged,
    /// It becomes larger.
    Raises,
    /// It becomes smaller, or a part of it does.
    Lowers,
    /// It becomes another value that is neither more nor less, such as a name.
    Changes,
    /// It may be written, and the kernel takes no notice of it; so it is not written.
    NoOp,
    /// It cannot be written here, by nobody.
    ReadOnly,
    /// This kernel or network namespace does not have it.
    Missing,
    /// It may be written by root only.
    NeedsRoot,
}

impl Class {
    pub(crate) fn of(change: Change) -> Self {
        match change {
            Change::Unchanged => Class::Unchanged,
            Change::Raises => Class::Raises,
            Change::Lowers => Class::Lowers,
            Change::Changes => Class::Changes,
        }
    }
}
