//! A machine: where its settings are, where its journals are, and how one value is read and written.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::catalogue;
use crate::error::Error;
use crate::files::{Files, SystemFiles};
use crate::namespace::{self, Existence, Here, NetworkNamespace};
use crate::read::relative_path;
use crate::state::{self, StateDir};
use crate::value;

/// How long another linerate may hold the lock; it takes milliseconds to write some files.
const LOCK_DEADLINE: Duration = Duration::from_secs(10);

/// This machine, seen from the calling thread's network namespace.
///
/// Two variables point it elsewhere, for tests and for users without root in a namespace of their own:
/// `LINERATE_STATE_DIR` (journals; `/run/linerate` otherwise) and `LINERATE_SYS_ROOT` (what stands for `/`
/// before `proc/sys` and `sys`).
#[derive(Clone)]
pub struct Host {
    pub(crate) files: Arc<dyn Files>,
    pub(crate) state: StateDir,
    pub(crate) here: Here,
    /// Whether another network namespace, by its inode, is still there.
    pub(crate) existence: fn(u64) -> Existence,
}

impl Host {
    /// The machine that this process runs on.
    ///
    /// `namespace_cookie`: `SO_NETNS_COOKIE` of any socket that the calling thread makes, which tells its network
    /// namespace from every earlier and later one; `None` where the kernel has none.
    ///
    /// # Errors
    /// [`Error::Unsupported`] on systems other than Linux; [`Error::Identity`] without `/proc`.
    pub fn here(namespace_cookie: Option<u64>) -> Result<Self, Error> {
        if !cfg!(target_os = "linux") {
            return Err(Error::Unsupported);
        }
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let root = variable("LINERATE_SYS_ROOT").unwrap_or_else(|| "/".into());
        let state = variable("LINERATE_STATE_DIR").unwrap_or_else(|| state::DEFAULT.into());
        let files = SystemFiles::below(root.into());
        Self::with(Arc::new(files), state.into(), namespace_cookie)
    }

    /// A machine behind other files; `namespace_cookie` as in [`Host::here`].
    ///
    /// # Errors
    /// [`Error::Identity`] when the files do not say which boot it is.
    pub fn with(
        files: Arc<dyn Files>,
        state_dir: PathBuf,
        namespace_cookie: Option<u64>,
    ) -> Result<Self, Error> {
        let here = Here::find(files.as_ref(), namespace_cookie)?;
        let state = StateDir::at(state_dir, LOCK_DEADLINE);
        Ok(Self {
            files,
            state,
            here,
            existence: namespace::existence,
        })
    }

    /// Whether the network namespace of a journal of this boot is still there.
    pub(crate) fn existence_of(&self, namespace: NetworkNamespace) -> Existence {
        match namespace.inode == self.here.namespace.inode {
            true if namespace.is(&self.here.namespace) => Existence::Exists,
            // This one has the inode now, so the other one has given it back.
            true => Existence::Gone,
            false => (self.existence)(namespace.inode),
        }
    }

    /// Whether the key has no file here.
    pub(crate) fn is_missing(&self, key: &str) -> bool {
        let read = path_of(key).map(|path| self.files.read(&path));
        matches!(read, Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound)
    }
}

/// Where the value of a key is.
pub(crate) fn path_of(key: &str) -> Result<PathBuf, Error> {
    if key.starts_with("/sys/") {
        return Ok(PathBuf::from(key));
    }
    let relative = relative_path(key).map_err(|error| Error::DeniedKey {
        key: key.to_owned(),
        profile: "a profile".to_owned(),
        why: error.to_string(),
    })?;
    Ok(PathBuf::from("/proc/sys").join(relative))
}

/// One write, all of it.
pub(crate) fn write(host: &Host, key: &str, value: &str) -> Result<(), String> {
    let path = path_of(key).map_err(|error| error.to_string())?;
    // The line end makes an empty list a value: a write of nothing is none.
    let line = format!("{value}\n");
    match host.files.write(&path, &line) {
        Ok(written) if written == line.len() => Ok(()),
        Ok(written) => Err(format!(
            "it took only {written} of {} bytes, so it has fewer elements than that",
            line.len()
        )),
        Err(error) => Err(error.to_string()),
    }
}

pub(crate) fn read(host: &Host, key: &str) -> Result<String, String> {
    let (info, _) = catalogue::find(key).map_err(|_| "it is not in the catalogue".to_owned())?;
    let path = path_of(key).map_err(|error| error.to_string())?;
    let text = host.files.read(&path).map_err(|error| error.to_string())?;
    Ok(value::normalise(info.kind, &text))
}
