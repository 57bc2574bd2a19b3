//! CPU quota of the control group that this process is in: a run that is throttled measures the quota.

use std::path::{Path, PathBuf};

use super::files;

/// The tightest CPU quota in force for this process, in words: `none` or `1.5 CPUs`.
pub fn cpu_quota() -> Result<String, String> {
    let groups = files::text("/proc/self/cgroup")?;
    let tightest = quota_below(Path::new("/sys/fs/cgroup"), &groups)?;
    Ok(tightest.map_or_else(|| "none".to_owned(), |cpus| format!("{cpus} CPUs")))
}

/// How long CPU quotas have stopped the processes of this process' control groups so far, us, summed over
/// the groups on the way up to the root and over CPUs (`cpu.stat`); `None` where nothing is counted.
pub(super) fn throttled_us() -> Option<u64> {
    let groups = files::text("/proc/self/cgroup").ok()?;
    throttled_below(Path::new("/sys/fs/cgroup"), &groups)
}

fn throttled_below(mount: &Path, groups: &str) -> Option<u64> {
    let directories = cpu_directories(mount, groups);
    let throttled = directories
        .iter()
        .filter_map(|directory| throttled_in(directory));
    throttled.reduce(|sum, one| sum + one)
}

/// Version 2 has `throttled_usec`, version 1 `throttled_time` in ns.
fn throttled_in(directory: &Path) -> Option<u64> {
    let stat = files::text(directory.join("cpu.stat")).ok()?;
    let value = |name: &str| -> Option<u64> {
        let mut lines = stat.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(known, _)| *known == name)?.1.parse().ok()
    };
    value("throttled_usec").or_else(|| Some(value("throttled_time")? / 1_000))
}

/// Quotas are inherited: the smallest on the way up to the root counts. `None`: nothing limits.
fn quota_below(mount: &Path, groups: &str) -> Result<Option<f64>, String> {
    let directories = cpu_directories(mount, groups);
    if directories.is_empty() {
        return Err("this process is in no control group for CPU time".to_owned());
    }
    let quotas = directories
        .iter()
        .filter_map(|directory| quota_in(directory));
    Ok(quotas.min_by(f64::total_cmp))
}

/// All directories from the group of this process up to the mount, for version 2 and version 1 (cgroups(7)).
fn cpu_directories(mount: &Path, groups: &str) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let root = match controllers {
            "" => mount.to_owned(),
            _ if controllers.split(',').any(|controller| controller == "cpu") => {
                mount.join(controllers)
            }
            _ => continue,
        };
        // A path with `..` is outside of this cgroup namespace and cannot be seen from here.
        let inside = path.trim_start_matches('/');
        let visible = !inside.split('/').any(|part| part == "..");
        let group = if visible {
            root.join(inside)
        } else {
            root.clone()
        };
        directories.extend(
            group
                .ancestors()
                .take_while(|ancestor| ancestor.starts_with(&root))
                .map(Path::to_owned),
        );
    }
    directories
}

/// `cpu.max` is `QUOTA PERIOD` or `max PERIOD`; version 1 has a file for each, and -1 for none.
fn quota_in(directory: &Path) -> Option<f64> {
    if let Ok(max) = files::text(directory.join("cpu.max")) {
        let (quota, period) = max.split_once(' ')?;
        return ratio(quota.parse().ok()?, period.parse().ok()?);
    }
    let quota: f64 = files::number(directory.join("cpu.cfs_quota_us")).ok()?;
    ratio(
        quota,
        files::number(directory.join("cpu.cfs_period_us")).ok()?,
    )
}

fn ratio(quota_us: f64, period_us: f64) -> Option<f64> {
    let cpus = quota_us / period_us;
    (cpus.is_finite() && cpus > 0.0).then_some(cpus)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;

    use super::*;

    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root =
                std::env::temp_dir().join(format!("linerate-cgroup-{name}-{}", std::process::id()));
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().expect("below the root"))
                    .expect("a directory of our own");
                fs::write(path, text).expect("written");
            }
            Self(root)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn version_2_takes_the_tightest_on_the_way_up() {
        let tree = Tree::new(
            "v2",
            &[
                ("a/cpu.max", "150000 100000\n"),
                ("a/b/cpu.max", "max 100000\n"),
                ("c/cpu.max", "1 2\n"),
            ],
        );
        assert_eq!(quota_below(&tree.0, "0::/a/b\n"), Ok(Some(1.5)));
        assert_eq!(quota_below(&tree.0, "0::/\n"), Ok(None));
        assert_eq!(quota_below(&tree.0, "0::/../../c\n"), Ok(None));
    }

    #[test]
    fn version_1_has_two_files() {
        let files = [
            ("cpu,cpuacct/x/cpu.cfs_quota_us", "50000\n"),
            ("cpu,cpuacct/x/cpu.cfs_period_us", "100000\n"),
            ("cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
            ("cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
        ];
        let tree = Tree::new("v1", &files);
        let groups = "9:name=systemd:/\n3:cpuset:/y\n1:cpu,cpuacct:/x\n0::/\n";
        assert_eq!(quota_below(&tree.0, groups), Ok(Some(0.5)));
        assert_eq!(quota_below(&tree.0, "1:cpu,cpuacct:/\n"), Ok(None));
    }

    #[test]
    fn throttled_time_is_summed_on_the_way_up() {
        let tree = Tree::new(
            "throttled",
            &[
                (
                    "a/cpu.stat",
                    "usage_usec 9\nnr_throttled 3\nthrottled_usec 1500\n",
                ),
                ("a/b/cpu.stat", "usage_usec 9\nthrottled_usec 20\n"),
                ("cpu.stat", "usage_usec 9\n"),
                ("cpu/x/cpu.stat", "nr_periods 1\nthrottled_time 7000\n"),
            ],
        );
        assert_eq!(throttled_below(&tree.0, "0::/a/b\n"), Some(1520));
        assert_eq!(
            throttled_below(&tree.0, "0::/\n"),
            None,
            "the root has no quota"
        );
        assert_eq!(throttled_below(&tree.0, "1:cpu:/x\n"), Some(7));
    }

    #[test]
    fn no_group_is_a_reason() {
        assert!(quota_below(Path::new("/nowhere"), "").is_err());
        assert!(quota_below(Path::new("/nowhere"), "3:cpuset:/y\nnonsense\n").is_err());
    }
}
