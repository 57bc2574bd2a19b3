//! Null needs a reason: turns failed reads into the document's `unknown` lists.

use report::document::Unknown;

/// Collects why fields of one object are null.
#[derive(Debug, Default)]
pub struct Reasons {
    unknown: Vec<Unknown>,
}

impl Reasons {
    /// The value, or `None` with the reason kept under the name of the field.
    pub fn known<T>(&mut self, field: &str, value: Result<T, String>) -> Option<T> {
        value
            .map_err(|reason| self.unknown.push(Unknown::new(field, reason)))
            .ok()
    }

    /// The list for the object.
    pub fn into_unknown(self) -> Vec<Unknown> {
        self.unknown
    }
}
