//! Reading one sysctl.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::files::read_value;

/// Where Linux shows its sysctls, one file each (proc_sys(5)). `net/` below it is that of the reading
/// task's network namespace.
const PROC_SYS: &str = "/proc/sys";

/// Why a sysctl could not be read. Each message names the key, what was tried, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The text is not a sysctl key, so nothing was opened.
    #[error("`{key}` is not a sysctl key: {why}; write it like net.core.somaxconn")]
    InvalidKey {
        /// The key as it was given.
        key: String,
        /// Which rule it breaks.
        why: &'static str,
    },
    /// The key is well formed, and this kernel (or this network namespace) has no such file.
    #[error(
        "reading {key}: no {path} here; this kernel or this network namespace does not have the key"
    )]
    Missing {
        /// The key as it was given.
        key: String,
        /// The file that was looked for.
        path: String,
    },
    /// The key exists and may not be read by this user.
    #[error("reading {key}: {path} may not be read by this user ({source}); run as root to see it")]
    Denied {
        /// The key as it was given.
        key: String,
        /// The file that was tried.
        path: String,
        /// What the system answered.
        source: io::Error,
    },
    /// Any other failure.
    #[error("reading {key} from {path}: {source}")]
    Io {
        /// The key as it was given.
        key: String,
        /// The file that was tried.
        path: String,
        /// What the system answered.
        source: io::Error,
    },
    /// The system is not Linux.
    #[error("{key}: reading sysctls is not built for this system yet")]
    Unsupported {
        /// The key as it was given.
        key: String,
    },
}

/// The present value of the sysctl `key`, as text.
///
/// `key` is dotted (`net.ipv4.tcp_rmem`) or slashed (`net/ipv4/tcp_rmem`). As in sysctl.d(5) the first
/// separator decides which; in the dotted form a `/` stands for a dot inside a name, so
/// `net.ipv4.conf.eth0/100.mtu` and `net/ipv4/conf/eth0.100/mtu` are the same key.
///
/// The whole value is read; tabs and runs of blanks become one space, the last line end goes.
///
/// # Errors
/// See [`ReadError`]. On systems other than Linux always [`ReadError::Unsupported`] for a valid key.
pub fn read(key: &str) -> Result<String, ReadError> {
    read_below(Path::new(PROC_SYS), key, cfg!(target_os = "linux"))
}

/// The file of `key` relative to `/proc/sys`.
///
/// # Errors
/// [`ReadError::InvalidKey`] when the key is empty, absolute, or could leave `/proc/sys`.
pub fn relative_path(key: &str) -> Result<PathBuf, ReadError> {
    let invalid = |why| ReadError::InvalidKey {
        key: key.to_owned(),
        why,
    };
    if key.is_empty() {
        return Err(invalid("it is empty"));
    }
    if key.starts_with('/') {
        return Err(invalid("it is an absolute path"));
    }
    let mut path = PathBuf::new();
    for name in names(key) {
        check_name(&name).map_err(invalid)?;
        path.push(name);
    }
    Ok(path)
}

/// The names along the key's path, with the stand-in for a literal dot resolved.
fn names(key: &str) -> Vec<String> {
    let dotted = match key.find(['.', '/']) {
        Some(at) => key[at..].starts_with('.'),
        None => true,
    };
    if dotted {
        key.split('.').map(|name| name.replace('/', ".")).collect()
    } else {
        key.split('/').map(str::to_owned).collect()
    }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("a part of it is empty");
    }
    if name == "." || name == ".." {
        return Err("`.` and `..` are not names of sysctls");
    }
    // Interface names may hold nearly anything; what no key has are separators, blanks and globs.
    let odd =
        |c: char| c.is_control() || c.is_whitespace() || matches!(c, '/' | '*' | '?' | '[' | '=');
    if name.contains(odd) {
        return Err("blanks, globs and `=` cannot be part of it");
    }
    Ok(())
}

fn read_below(root: &Path, key: &str, supported: bool) -> Result<String, ReadError> {
    let relative = relative_path(key)?;
    if !supported {
        return Err(ReadError::Unsupported {
            key: key.to_owned(),
        });
    }
    let path = root.join(relative);
    File::open(&path)
        .and_then(|mut file| read_value(&mut file))
        .map(|text| normalise(&text))
        .map_err(|source| {
            let (key, path) = (key.to_owned(), path.display().to_string());
            match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                    ReadError::Missing { key, path }
                }
                io::ErrorKind::PermissionDenied => ReadError::Denied { key, path, source },
                _ => ReadError::Io { key, path, source },
            }
        })
}

/// Blanks and tabs to one space per line: vectors such as tcp_rmem are printed with tabs.
fn normalise(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    lines.join("\n").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_of(key: &str) -> String {
        relative_path(key)
            .expect("a valid key")
            .display()
            .to_string()
    }

    #[test]
    fn dotted_and_slashed_keys_are_the_same_file() {
        assert_eq!(path_of("net.core.somaxconn"), "net/core/somaxconn");
        assert_eq!(path_of("net/core/somaxconn"), "net/core/somaxconn");
        assert_eq!(path_of("fs.file-max"), "fs/file-max");
    }

    #[test]
    fn the_first_separator_decides_as_in_sysctl_d() {
        assert_eq!(
            path_of("net.ipv4.conf.eth0/100.mtu"),
            "net/ipv4/conf/eth0.100/mtu"
        );
        assert_eq!(
            path_of("net/ipv4/conf/eth0.100/mtu"),
            "net/ipv4/conf/eth0.100/mtu"
        );
    }

    #[test]
    fn keys_that_could_leave_proc_sys_are_refused() {
        let bad = [
            "",
            "/etc/passwd",
            "/proc/sys/net",
            "net/../../etc",
            "net/..",
            "../x",
            "..",
            ".",
            "net..core",
            ".net",
            "net.",
            "net.//",
            "net/./core",
            "net/core/*",
            "net.core somaxconn",
            "net.a\0b",
            "net.core.x=1",
        ];
        for key in bad {
            assert!(
                matches!(relative_path(key), Err(ReadError::InvalidKey { .. })),
                "{key:?} was accepted"
            );
        }
    }

    #[test]
    fn values_lose_tabs_and_the_last_line_end() {
        assert_eq!(
            normalise("4096\t131072\t33554432\n"),
            "4096 131072 33554432"
        );
        assert_eq!(normalise("\n"), "");
        assert_eq!(normalise("a \t b\nc\n"), "a b\nc");
    }

    #[test]
    fn another_system_says_so_and_still_checks_the_key() {
        let error =
            read_below(Path::new("/nowhere"), "kern.ipc.somaxconn", false).expect_err("no reader");
        assert_eq!(
            error.to_string(),
            "kern.ipc.somaxconn: reading sysctls is not built for this system yet"
        );
        assert!(matches!(
            read_below(Path::new("/nowhere"), "a/../b", false),
            Err(ReadError::InvalidKey { .. })
        ));
    }

    #[test]
    fn a_missing_key_names_the_file() {
        let error =
            read_below(Path::new("/proc/sys"), "net.core.no_such_key", true).expect_err("missing");
        assert!(
            matches!(&error, ReadError::Missing { path, .. } if path == "/proc/sys/net/core/no_such_key")
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn live_keys_are_read() {
        let ports = read("net.ipv4.ip_local_port_range").expect("every Linux has it");
        assert_eq!(ports.split(' ').count(), 2, "{ports:?}");
        assert!(
            read("net/core/somaxconn")
                .expect("every Linux has it")
                .parse::<u64>()
                .is_ok()
        );
    }
}
