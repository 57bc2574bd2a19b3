//! Programs that rewrite settings while they run.

use std::path::Path;

use crate::files::Files;

/// Something that may disturb a profile in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// What it is, what it may do, and what helps.
    pub text: String,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Names as in `/proc/PID/comm`, which has at most 15 characters, and what the program does.
const RIVALS: &[(&str, &str)] = &[
    (
        "tuned",
        "TuneD applies settings of its own when its profile changes; stop it for the run (systemctl stop tuned)",
    ),
    (
        "bpftune",
        "bpftune changes buffers and queues while traffic flows; stop it for the run (systemctl stop bpftune)",
    ),
    (
        "power-profiles-",
        "power-profiles-daemon sets the CPUs' governor; stop it for the run (systemctl stop power-profiles-daemon)",
    ),
];

/// Those that run here.
pub(crate) fn find(files: &dyn Files) -> Vec<Warning> {
    let mut found = vec![false; RIVALS.len()];
    for path in files.expand("/proc/*/comm") {
        // A process may have ended since.
        let Ok(name) = files.read(Path::new(&path)) else {
            continue;
        };
        if let Some(at) = RIVALS.iter().position(|(rival, _)| name.trim() == *rival) {
            found[at] = true;
        }
    }
    let rivals = RIVALS.iter().zip(found).filter(|(_, found)| *found);
    rivals
        .map(|((_, text), _)| Warning {
            text: format!("{text}; what it writes meanwhile is reported and left alone"),
        })
        .collect()
}
