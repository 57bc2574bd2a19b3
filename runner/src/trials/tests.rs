use super::*;
use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of its own for each test, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("linerate-trials-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn header(started_at_unix_ns: u64) -> Header {
    let command = vec!["linerate".to_owned(), "compare".to_owned()];
    Header::new(Kind::Compare, started_at_unix_ns, command, &[1, 2]).unwrap()
}

fn create(path: &Path) -> TrialLog {
    TrialLog::create(&LogPath::Beside(path.to_owned()), &header(0)).unwrap()
}

fn trials(path: &Path) -> Trials<u32> {
    read(path).unwrap()
}

#[test]
fn what_was_appended_is_read_in_order() {
    let directory = Directory::new();
    let path = directory.0.join("x.trials.jsonl");
    let mut log = create(&path);
    for trial in [3_u32, 1, 2] {
        log.append(&trial).unwrap();
        // On disk at once, and not only at the end.
        assert_eq!(trials(&path).trials.last(), Some(&trial));
    }
    let so_far = trials(&path);
    assert_eq!(
        (so_far.trials, so_far.end, so_far.torn),
        (vec![3, 1, 2], None, None)
    );
    assert_eq!(so_far.header, header(0));
    assert_eq!(so_far.header.plan::<Vec<u32>>(&path).unwrap(), [1, 2]);
    assert!(so_far.header.is_of_this_build());
    log.end(&"done").unwrap();
    assert_eq!(trials(&path).end, Some("done".into()));
}

#[test]
fn a_torn_last_line_is_left_out_and_told_and_cut_before_the_next() {
    let directory = Directory::new();
    let path = directory.0.join("x.trials.jsonl");
    let mut log = create(&path);
    log.append(&7_u32).unwrap();
    drop(log);
    // Cut in the middle of a value, or before the end of the line only; or blocks of zeros, as a file system may
    // leave them after a power failure.
    for torn in ["{\"trial\":1", "{\"trial\":1}", "\0\0\0\0\0\0\0\0\n"] {
        let whole = fs::read(&path).unwrap();
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(torn.as_bytes()).unwrap();
        let found = trials(&path);
        assert_eq!(
            (&found.trials[..], found.torn),
            (&[7][..], Some(3)),
            "{torn:?}"
        );
        drop(TrialLog::resume(&found).unwrap());
        assert_eq!(fs::read(&path).unwrap(), whole, "{torn:?}");
    }
    let mut log = TrialLog::resume(&trials(&path)).unwrap();
    log.append(&8_u32).unwrap();
    assert_eq!(
        (trials(&path).trials, trials(&path).torn),
        (vec![7, 8], None)
    );
}

#[test]
fn damage_elsewhere_is_no_log_to_believe() {
    let directory = Directory::new();
    let path = directory.0.join("x.trials.jsonl");
    let mut log = create(&path);
    log.append(&7_u32).unwrap();
    drop(log);
    let whole = fs::read_to_string(&path).unwrap();
    for (text, why) in [
        (format!("{whole}{{\"tri\n{{\"trial\":8}}\n"), "line 3"),
        (
            format!("{whole}{{\"end\":null}}\n{{\"trial\":8}}\n"),
            "line 4: something follows the end",
        ),
        (
            whole.replace("linerate.trials/1", "linerate.trials/9"),
            "use the linerate that wrote it",
        ),
        (
            "{\"schema\":\"linerate.result/1\"}\n".to_owned(),
            "does not say",
        ),
        (String::new(), "does not say"),
    ] {
        fs::write(&path, text).unwrap();
        let error = read::<u32>(&path).unwrap_err().to_string();
        assert!(error.contains(why), "{why}: {error}");
    }
    let error = read::<u32>(&directory.0).unwrap_err().to_string();
    assert!(error.contains("no regular file"), "{error}");
    let error = read::<u32>(Path::new("/dev/zero")).unwrap_err().to_string();
    assert!(error.contains("no regular file"), "{error}");
}

#[test]
fn nobody_writes_a_log_that_another_writes() {
    let directory = Directory::new();
    let path = directory.0.join("x.trials.jsonl");
    let log = create(&path);
    let error = TrialLog::resume(&trials(&path)).unwrap_err();
    assert!(matches!(error, TrialsError::InUse { .. }), "{error}");
    let place = LogPath::Beside(path.clone());
    let error = TrialLog::create(&place, &header(0)).unwrap_err();
    assert!(matches!(error, TrialsError::InUse { .. }), "{error}");
    let of_a_child = log.of_a_child();
    drop(log);
    assert!(TrialLog::resume(&trials(&path)).is_ok());
    drop(of_a_child);
}

#[test]
fn a_log_that_did_not_end_is_put_aside_and_another_replaced() {
    let directory = Directory::new();
    assert_eq!(
        beside(&directory.0.join("x.json")),
        LogPath::Beside(directory.0.join("x.trials.jsonl"))
    );
    let path = directory.0.join("x.trials.jsonl");
    let mut log = create(&path);
    log.append(&7_u32).unwrap();
    drop(log);
    create(&path).end(&()).unwrap();
    let aside = "x.1970-01-01T00-00-00Z.trials.jsonl";
    assert_eq!(directory.names(), [aside, "x.trials.jsonl"]);
    assert_eq!(trials(&directory.0.join(aside)).trials, [7]);
    drop(create(&path));
    assert_eq!(directory.names(), [aside, "x.trials.jsonl"]);
    assert_eq!(trials(&path).end, None, "the ended one has been replaced");
    // What is no log is nobody's to replace.
    fs::write(&path, "a letter").unwrap();
    assert!(TrialLog::create(&LogPath::Beside(path.clone()), &header(0)).is_err());
    assert_eq!(fs::read_to_string(&path).unwrap(), "a letter");
}

#[test]
fn the_newest_logs_of_a_directory_are_kept_and_those_in_use() {
    let directory = Directory::new();
    let state = directory.0.join("deep/trials");
    let place = LogPath::Directory(state.clone());
    let begin = |second: u64| TrialLog::create(&place, &header(second * 1_000_000_000)).unwrap();
    let in_use = begin(0);
    for second in 1..30 {
        let log = begin(second);
        let file = fs::File::options().append(true).open(log.path()).unwrap();
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(second);
        file.set_modified(at).unwrap();
    }
    let old = fs::File::options()
        .append(true)
        .open(in_use.path())
        .unwrap();
    old.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    fs::write(state.join("notes.txt"), "mine").unwrap();
    drop(begin(30));
    let mut names: Vec<String> = fs::read_dir(&state)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    // 20 logs, the one in use among them or beside them, and what is none.
    assert!(names.contains(&"notes.txt".to_owned()));
    assert!(in_use.path().exists());
    assert_eq!(names.len(), 20 + 1 + 1, "{names:?}");
    assert!(
        names[0].starts_with("compare-1970-01-01T00-00-00Z-"),
        "{names:?}"
    );
    assert!(
        !names.iter().any(|name| name.contains("T00-00-05Z")),
        "{names:?}"
    );
    assert!(
        names.iter().any(|name| name.contains("T00-00-30Z")),
        "{names:?}"
    );
}

use std::time::SystemTime;
