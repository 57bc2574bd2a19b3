use std::os::unix::fs::symlink;

use super::*;

fn namespace(inode: u64, cookie: Option<u64>) -> NetworkNamespace {
    NetworkNamespace { inode, cookie }
}

#[test]
fn an_inode_that_was_given_again_is_another_namespace() {
    let this = namespace(4_026_531_833, Some(7));
    assert!(this.is(&this));
    assert!(
        !this.is(&namespace(4_026_531_833, Some(8))),
        "the same inode later"
    );
    assert!(!this.is(&namespace(4_026_531_834, Some(7))));
    // An older journal, or an older kernel, knows no cookie.
    assert!(this.is(&namespace(4_026_531_833, None)));
    assert!(!this.is(&namespace(4_026_531_834, None)));
}

#[test]
fn only_the_uppermost_proc_counts() {
    let plain = "45 43 0:21 / /proc rw,relatime - proc proc rw\n";
    let hiding = "63 45 0:39 / /proc rw,relatime - proc proc rw,gid=4,hidepid=invisible\n";
    let open = "64 63 0:40 / /proc rw,relatime - proc proc rw,hidepid=0\n";
    assert!(!hides_processes(plain) && hides_processes(hiding));
    assert!(hides_processes(&format!("{plain}{hiding}")));
    assert!(!hides_processes(&format!("{hiding}{plain}")));
    assert!(!hides_processes(&format!("{hiding}{open}")));
}

/// A directory in the form of `/proc`, with the processes 7 and 8 of one thread each.
struct Proc {
    root: PathBuf,
}

impl Proc {
    fn new(test: &str) -> Self {
        let root =
            std::env::temp_dir().join(format!("linerate-proc-{}-{test}", std::process::id()));
        let proc = Self { root };
        for process in ["7", "8"] {
            proc.thread(process, process, "net:[1]");
        }
        fs::create_dir(proc.root.join("sys")).expect("a temporary directory");
        proc
    }

    fn thread(&self, process: &str, thread: &str, net: &str) {
        let task = self.task(process, thread);
        for directory in ["ns", "fd"] {
            fs::create_dir_all(task.join(directory)).expect("a temporary directory");
        }
        symlink(net, task.join("ns/net")).expect("a link");
        symlink(format!("mnt:[{process}]"), task.join("ns/mnt")).expect("a link");
        symlink("/", task.join("root")).expect("a link");
        symlink("socket:[3]", task.join("fd/0")).expect("a link");
        fs::write(
            task.join("mountinfo"),
            "1 1 0:1 / / rw - ext4 /dev/vda rw\n",
        )
        .expect("a file");
    }

    fn task(&self, process: &str, thread: &str) -> PathBuf {
        self.root.join(process).join("task").join(thread)
    }

    fn keeps(&self, name: &str) -> Result<bool, String> {
        is_kept(&self.root, name)
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

#[test]
fn a_thread_a_mount_and_a_descriptor_keep_a_namespace() {
    let proc = Proc::new("kept");
    assert_eq!(
        (proc.keeps("net:[1]"), proc.keeps("net:[2]")),
        (Ok(true), Ok(false))
    );
    proc.thread("8", "9", "net:[2]");
    assert_eq!(proc.keeps("net:[2]"), Ok(true), "a second thread");

    let mount = "2 1 0:4 net:[3] /run/netns/b rw - nsfs nsfs rw\n";
    fs::write(proc.task("8", "8").join("mountinfo"), mount).expect("a file");
    assert_eq!(
        proc.keeps("net:[3]"),
        Ok(true),
        "a mount of another mount namespace"
    );

    symlink("net:[4]", proc.task("7", "7").join("fd/5")).expect("a link");
    assert_eq!(proc.keeps("net:[4]"), Ok(true), "a descriptor");
    assert_eq!(proc.keeps("net:[5]"), Ok(false));
}

#[test]
fn what_cannot_be_looked_at_leaves_it_open() {
    let proc = Proc::new("closed");
    let link = proc.task("8", "8").join("ns/net");
    // A process that ends takes its links along.
    fs::remove_file(&link).expect("it is ours");
    assert_eq!(proc.keeps("net:[2]"), Ok(false));
    // No link: EINVAL, as for a task of another user EACCES.
    fs::write(&link, "").expect("a file");
    let why = proc.keeps("net:[2]").expect_err("it may be there");
    assert!(why.contains("8/task/8"), "{why}");
    // What is found elsewhere is certain all the same.
    proc.thread("8", "9", "net:[2]");
    assert_eq!(proc.keeps("net:[2]"), Ok(true));
}

#[cfg(target_os = "linux")]
#[test]
fn the_namespace_of_this_process_is_not_gone() {
    assert_ne!(existence(inode("net").expect("/proc")), Existence::Gone);
}
