//! One row of the catalogue.

use serde::Serialize;

/// What is known of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct KeyInfo {
    /// The dotted sysctl, or a pattern of paths below `/sys`.
    pub key: &'static str,
    /// How its value is written and compared.
    pub kind: Kind,
    /// The unit of its numbers: `bytes`, `pages`, `us`.
    pub unit: &'static str,
    /// Smallest and largest number that the kernel accepts, as far as it does not depend on the machine.
    pub range: (i128, i128),
    /// Where it holds.
    pub scope: Scope,
    /// From when on a new value acts.
    pub acts: Acts,
    /// Whether traffic over loopback can show its effect.
    pub loopback: bool,
    /// Whether it can be set.
    pub access: Access,
    /// What the kernel makes of a number.
    pub rounding: Rounding,
    /// What Linux 6.18 starts with, in words where it depends on the machine.
    pub default: &'static str,
    /// Other names for the same value.
    pub aliases: &'static [&'static str],
    /// What it does; empty where the list of recorded keys says it already.
    pub(super) meaning: &'static str,
}

/// How a value is written and compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// So many numbers, of which more is more: each can be raised by itself (`>=`).
    Amount(u8),
    /// A number without more or less: a mode, a switch, a duration.
    Number,
    /// First and last port. A wider range is more.
    PortRange,
    /// Ports and ranges of ports, replaced as a whole: `8080,9000-9100`.
    PortList,
    /// One name out of several.
    Name,
    /// Names in any order.
    Names,
    /// One name; the file lists all of them, the one in force in brackets: `always [madvise] never`.
    Choice,
    /// A set of CPUs as a hexadecimal mask: `3`, `00000000,00000003`.
    CpuMask,
}

/// Where a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Each network namespace has its own.
    Namespace,
    /// The whole machine; other network namespaces see it and cannot write it.
    MachineShown,
    /// The whole machine; other network namespaces do not have the file, or may not write it.
    Machine,
}

/// From when on a new value acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Acts {
    /// At once.
    Now,
    /// On sockets made later.
    NewSockets,
    /// When a socket begins to listen.
    Listen,
    /// On devices that come up later.
    NewDevices,
    /// On network namespaces made later.
    NewNamespaces,
}

/// Whether a key can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// It can.
    Settable,
    /// It can, and the kernel takes no notice: since when and why.
    NoOp(&'static str),
    /// Newer kernels do not have it: since when, and what took its place.
    Removed(&'static str),
    /// linerate does not write it: why.
    Never(&'static str),
}

/// What the kernel silently makes of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// It is kept as it is, or refused.
    None,
    /// It becomes the next power of two.
    PowerOfTwo,
}

/// The largest `int`: most keys are one.
pub(super) const INT: i128 = i32::MAX as i128;
/// Seconds that the kernel keeps in ticks of at most 1000 Hz, in an `int`.
pub(super) const SECONDS: i128 = INT / 1000;
/// The largest `unsigned int`.
pub(super) const UINT: i128 = u32::MAX as i128;
/// The largest `long` of a 64-bit kernel.
pub(super) const LONG: i128 = i64::MAX as i128;

impl KeyInfo {
    const fn new(key: &'static str, kind: Kind, unit: &'static str, scope: Scope) -> Self {
        KeyInfo {
            key,
            kind,
            unit,
            range: (0, INT),
            scope,
            acts: Acts::Now,
            loopback: true,
            access: Access::Settable,
            rounding: Rounding::None,
            default: "",
            aliases: &[],
            meaning: "",
        }
    }

    /// A key of each network namespace.
    pub(super) const fn own(key: &'static str, kind: Kind, unit: &'static str) -> Self {
        Self::new(key, kind, unit, Scope::Namespace)
    }

    /// A key of the whole machine, shown in every network namespace.
    pub(super) const fn shown(key: &'static str, kind: Kind, unit: &'static str) -> Self {
        Self::new(key, kind, unit, Scope::MachineShown)
    }

    /// A key of the whole machine.
    pub(super) const fn machine(key: &'static str, kind: Kind, unit: &'static str) -> Self {
        Self::new(key, kind, unit, Scope::Machine)
    }

    pub(super) const fn range(mut self, min: i128, max: i128) -> Self {
        self.range = (min, max);
        self
    }

    pub(super) const fn acts(mut self, acts: Acts) -> Self {
        self.acts = acts;
        self
    }

    /// Traffic over loopback never meets it.
    pub(super) const fn not_on_loopback(mut self) -> Self {
        self.loopback = false;
        self
    }

    pub(super) const fn rounded(mut self) -> Self {
        self.rounding = Rounding::PowerOfTwo;
        self
    }

    pub(super) const fn default(mut self, text: &'static str) -> Self {
        self.default = text;
        self
    }

    pub(super) const fn also(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// What it does, for keys that results do not record.
    pub(super) const fn means(mut self, text: &'static str) -> Self {
        self.meaning = text;
        self
    }

    pub(super) const fn no_op(mut self, why: &'static str) -> Self {
        self.access = Access::NoOp(why);
        self
    }

    pub(super) const fn removed(mut self, why: &'static str) -> Self {
        self.access = Access::Removed(why);
        self
    }

    pub(super) const fn never(mut self, why: &'static str) -> Self {
        self.access = Access::Never(why);
        self
    }
}
