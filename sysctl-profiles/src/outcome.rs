//! What became of the values that were to be put back.

use crate::hold::Hold;

/// What became of a profile's values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreReport {
    /// The profile.
    pub profile: String,
    /// How long it was to stay.
    pub hold: Hold,
    /// Who had applied it.
    pub owner: String,
    /// The journal was of another boot: the reboot had put everything back, and nothing was written.
    pub other_boot: bool,
    /// Its keys in the order of putting back.
    pub keys: Vec<RestoredKey>,
}

/// One key that was to be put back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredKey {
    /// The key.
    pub key: String,
    /// The value before the profile, which was to come back.
    pub old: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The old value is there again, written and read back.
    PutBack,
    /// The old value was there already.
    AlreadyBack,
    /// Somebody else has written this since; it was left.
    LeftAlone {
        /// What the profile had made of it.
        ours: String,
        /// What is there.
        found: String,
    },
    /// Its file is not there any more: the device or module has taken the value along.
    Gone,
    /// It could not be read, written, or read back as it was: why.
    Failed(String),
}

impl std::fmt::Display for RestoredKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { key, old, outcome } = self;
        match outcome {
            Outcome::PutBack => write!(f, "{key}: {old} again"),
            Outcome::AlreadyBack => write!(f, "{key}: {old}, as it was"),
            Outcome::LeftAlone { ours, found } => {
                write!(
                    f,
                    "{key}: left at {found}, which somebody else has written over our {ours}; it was {old} before"
                )
            }
            Outcome::Gone => write!(f, "{key}: gone with its device or module; it was {old}"),
            Outcome::Failed(why) => write!(f, "{key}: not put back to {old}: {why}"),
        }
    }
}

impl RestoreReport {
    /// Whether nothing is left to do: every value is as it was, or somebody else's.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed().next().is_none()
    }

    /// What was left, because somebody else has written it.
    pub fn left_alone(&self) -> impl Iterator<Item = &RestoredKey> {
        let left = |key: &&RestoredKey| matches!(key.outcome, Outcome::LeftAlone { .. });
        self.keys.iter().filter(left)
    }

    /// What could not be put back.
    pub fn failed(&self) -> impl Iterator<Item = &RestoredKey> {
        let failed = |key: &&RestoredKey| matches!(key.outcome, Outcome::Failed(_));
        self.keys.iter().filter(failed)
    }
}
