//! Where results go: stdout, or a file that is checked before measuring and appears whole at the end. What
//! was measured is not lost when that place takes it no more.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufWriter, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use runner::event_record::EventFile;

use crate::args::run_groups::Format;
use crate::problem::Problem;
use crate::progress::say;

/// A place for one result.
#[derive(Debug)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// What cannot be replaced by another file: no regular one (`/dev/null`, a pipe), one with several names,
    /// or one whose owner a new file cannot have. Written in place.
    InPlace(PathBuf, File),
    /// A regular file, replaced at once when the result is complete, by one of the same owner and mode.
    Replaced(Replacement),
}

/// A temporary file beside its target. Dropped without [`Destination::write`], it leaves nothing.
#[derive(Debug)]
pub struct Replacement {
    target: PathBuf,
    temporary: PathBuf,
    file: File,
}

/// The mode of what is nobody else's business.
const PRIVATE: u32 = 0o600;

/// The temporary files in use, for an exit that runs no destructors.
static TEMPORARIES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Removes what an unfinished result left, for an exit that runs no destructors.
pub fn abandon() {
    for path in temporaries().drain(..) {
        let _ = fs::remove_file(path);
    }
}

fn temporaries() -> std::sync::MutexGuard<'static, Vec<PathBuf>> {
    TEMPORARIES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Destination {
    /// Opens the place for a result: `None` and `-` are stdout.
    ///
    /// # Errors
    /// When it cannot be written: a missing directory, no permission, a directory of that name.
    pub fn open(path: Option<&Path>) -> Result<Self, Problem> {
        let Some(path) = path.filter(|path| path.as_os_str() != "-") else {
            return Ok(Destination::Stdout);
        };
        // A link stays a link: what it points to is replaced.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        match fs::metadata(&target) {
            Ok(metadata) if metadata.is_dir() => Err(cannot_open(path, "it is a directory")),
            Ok(metadata) if !metadata.is_file() => OpenOptions::new()
                .write(true)
                .open(&target)
                .map(|file| Destination::InPlace(target, file))
                .map_err(|error| cannot_open(path, error)),
            Ok(old) => {
                // The rename would succeed on a file that its owner has protected.
                let in_place = OpenOptions::new()
                    .append(true)
                    .open(&target)
                    .map_err(|error| cannot_open(path, error))?;
                if old.nlink() > 1 {
                    return Ok(Destination::InPlace(target, in_place));
                }
                let replacement = Replacement::beside(path, target.clone(), Some(&old))?;
                Ok(match replacement.is_like(&old) {
                    true => Destination::Replaced(replacement),
                    false => Destination::InPlace(target, in_place),
                })
            }
            Err(_) => Replacement::beside(path, target, None).map(Destination::Replaced),
        }
    }

    /// Writes the whole result, or puts it elsewhere: it was measured, and cannot be had again by
    /// naming a better place.
    ///
    /// # Errors
    /// What the system answered, and where the result is instead.
    pub fn keep(self, text: &str, spare: Spare) -> Result<(), Problem> {
        let stdout_has_failed = matches!(self, Destination::Stdout);
        self.write(text).map_err(|problem| {
            let spare = Spare {
                stdout: spare.stdout && !stdout_has_failed,
                ..spare
            };
            problem.with_cure(spare.take(text))
        })
    }

    /// Writes the whole text. Nothing is left behind when it fails.
    ///
    /// # Errors
    /// What the system answered. A closed pipe is none: whoever read it has read enough.
    pub fn write(self, text: &str) -> Result<(), Problem> {
        self.write_by(|out| out.write_all(text.as_bytes()))
    }

    /// The same, where the text is too long to be in memory: `say` writes it.
    ///
    /// # Errors
    /// As [`Destination::write`].
    pub fn write_by(
        self,
        say: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Problem> {
        match self {
            Destination::Stdout => tolerate_closed_pipe(buffered(io::stdout().lock(), say))
                .map_err(|error| cannot_write(Path::new("stdout"), error)),
            Destination::InPlace(path, file) => tolerate_closed_pipe(write_in_place(file, say))
                .map_err(|error| cannot_write(&path, error)),
            Destination::Replaced(mut replacement) => replacement.commit(say),
        }
    }

    /// The file, for a message; `None` for stdout.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Destination::Stdout => None,
            Destination::InPlace(path, _) => Some(path),
            Destination::Replaced(replacement) => Some(&replacement.target),
        }
    }
}

impl Replacement {
    /// `old`: what it will replace.
    fn beside(given: &Path, target: PathBuf, old: Option<&Metadata>) -> Result<Self, Problem> {
        let name = target
            .file_name()
            .ok_or_else(|| cannot_open(given, "it names no file"))?
            .to_string_lossy()
            .into_owned();
        let temporary = target.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        if old.is_some() {
            // What others may see is decided by the old file's mode, before there is anything to see.
            options.mode(PRIVATE);
        }
        let file = options
            .open(&temporary)
            .map_err(|error| cannot_open(given, error))?;
        temporaries().push(temporary.clone());
        let replacement = Replacement {
            target,
            temporary,
            file,
        };
        if let Some(old) = old {
            // Where it may not be given away, it is not like the old one, and is not taken.
            let _ = fchown(&replacement.file, Some(old.uid()), Some(old.gid()))
                .and_then(|()| replacement.file.set_permissions(old.permissions()));
        }
        Ok(replacement)
    }

    /// Whether it has the owner and the mode of `old`.
    fn is_like(&self, old: &Metadata) -> bool {
        let rights = |file: &Metadata| (file.uid(), file.gid(), file.permissions().mode());
        let own = self.file.metadata();
        own.is_ok_and(|own| rights(&own) == rights(old))
    }

    fn commit(
        &mut self,
        say: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Problem> {
        // The data before the name: after a crash there is the old file or the new one.
        buffered(&self.file, say)
            .and_then(|()| self.file.sync_all())
            .and_then(|()| fs::rename(&self.temporary, &self.target))
            .map_err(|error| cannot_write(&self.target, error))
    }
}

/// What a regular file held is gone first; devices and pipes hold nothing.
fn write_in_place(
    mut file: File,
    say: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    if file.metadata()?.is_file() {
        file.set_len(0)?;
        file.rewind()?;
    }
    buffered(file, say)
}

/// Few and large writes, whatever the pieces are.
fn buffered(out: impl Write, say: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, out);
    say(&mut out)?;
    out.flush()
}

impl Drop for Replacement {
    fn drop(&mut self) {
        // After the rename there is nothing to remove.
        let _ = fs::remove_file(&self.temporary);
        temporaries().retain(|path| *path != self.temporary);
    }
}

/// What takes a text that its own place did not.
#[derive(Debug, Clone, Copy)]
pub struct Spare {
    /// What the text is.
    what: &'static str,
    /// Nothing else is written to stdout, and this may be.
    stdout: bool,
    /// How the name of a file ends that holds such a text.
    extension: &'static str,
}

/// For a page beside the result: nothing to print between other lines.
pub const PAGE: Spare = Spare {
    what: "page",
    stdout: false,
    extension: "html",
};

impl Spare {
    /// For the result.
    pub fn of_result(form: Format, stdout: bool) -> Self {
        Self {
            what: "result",
            stdout,
            extension: form.extension(),
        }
    }

    /// Saves the text, and says where.
    pub fn take(self, text: &str) -> String {
        if self.stdout && print(text).is_ok() {
            return format!("the {} is on stdout instead", self.what);
        }
        match self.file(text) {
            Ok(path) => format!("the {} is in {} instead", self.what, path.display()),
            Err(_) => {
                // What does not even take this has no place for a message either.
                let _ = io::stderr().lock().write_all(text.as_bytes());
                format!("the {} is on stderr instead", self.what)
            }
        }
    }

    /// A new file of the directory for temporary files, which is often another file system.
    fn file(self, text: &str) -> io::Result<PathBuf> {
        let name = format!("linerate-result-{}.{}", std::process::id(), self.extension);
        let path = std::env::temp_dir().join(name);
        // Never through a link that somebody else has put there, and for nobody else to read.
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(PRIVATE)
            .open(&path)?;
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_all());
        match written {
            Ok(()) => Ok(path),
            Err(error) => {
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }
}

/// Says where a file gets another form than its name promises.
pub fn note_form(form: Format, path: Option<&Path>, quiet: bool) {
    if let (Some(line), false) = (form.broken_promise(path), quiet) {
        say(&line);
    }
}

/// Refuses one file for two things: a result would be lost under another, or under what it was made from. `outputs` and
/// `inputs` are named as the user knows them.
///
/// # Errors
/// Which two are one.
pub fn apart(outputs: &[(&str, Option<&Path>)], inputs: &[(&str, &Path)]) -> Result<(), Problem> {
    let mut seen: Vec<(&str, PathBuf)> = inputs
        .iter()
        .filter_map(|(name, path)| Some((*name, place_of(path)?)))
        .collect();
    let read = seen.len();
    for (name, path) in outputs {
        let Some((path, place)) = path.and_then(|path| Some((path, place_of(path)?))) else {
            continue;
        };
        if let Some(at) = seen.iter().position(|(_, other)| *other == place) {
            let other = seen[at].0;
            let text = match at < read {
                true => format!(
                    "{name} would write over {}, which is {other}",
                    path.display()
                ),
                false => format!("{other} and {name} name one file, {}", path.display()),
            };
            return Err(Problem::usage(text).with_cure("give each a file of its own"));
        }
        seen.push((name, place));
    }
    Ok(())
}

/// Which file that is, whether it is there or not; `None` for the standard streams and for what is no regular file, which
/// takes the one after the other.
fn place_of(path: &Path) -> Option<PathBuf> {
    if path.as_os_str() == "-" || path.exists() && !path.is_file() {
        return None;
    }
    if let Ok(place) = fs::canonicalize(path) {
        return Some(place);
    }
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = fs::canonicalize(directory.unwrap_or(Path::new("."))).ok()?;
    Some(directory.join(path.file_name()?))
}

/// Both happened; what went wrong with the first is told, if the second went wrong too.
pub fn both(first: Result<(), Problem>, second: Result<(), Problem>) -> Result<(), Problem> {
    if let (Err(first), Err(_)) = (&first, &second) {
        say(&first.line());
    }
    second.and(first)
}

fn print(text: &str) -> io::Result<()> {
    buffered(io::stdout().lock(), |out| out.write_all(text.as_bytes()))
}

/// A destination for NDJSON that is written while the run goes on.
#[derive(Debug)]
pub enum Lines {
    /// Standard output.
    Stdout,
    /// A file, truncated at the start.
    File(PathBuf, File),
    /// The reader has gone.
    Ended,
    /// It takes no more: what the system answered.
    Lost(Problem),
}

impl Lines {
    /// Opens it: `-` is stdout.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn open(path: &Path) -> Result<Self, Problem> {
        if path.as_os_str() == "-" {
            return Ok(Lines::Stdout);
        }
        File::create(path)
            .map(|file| Lines::File(path.to_owned(), file))
            .map_err(|error| cannot_open(path, error))
    }

    /// Writes one line, newline included, at once. After a failure nothing more is written.
    ///
    /// # Errors
    /// The first failure; a closed pipe is none.
    pub fn write(&mut self, line: &str) -> Result<(), Problem> {
        let (result, path) = match self {
            Lines::Ended | Lines::Lost(_) => return Ok(()),
            Lines::Stdout => (print(line), PathBuf::from("stdout")),
            Lines::File(path, file) => (file.write_all(line.as_bytes()), path.clone()),
        };
        let Err(error) = result else { return Ok(()) };
        if error.kind() == io::ErrorKind::BrokenPipe {
            *self = Lines::Ended;
            return Ok(());
        }
        let problem = cannot_write(&path, error);
        *self = Lines::Lost(problem.clone());
        Err(problem.with_cure("the run goes on, and its later events are lost"))
    }

    /// Whether all of them were taken, or by nobody who wanted more.
    ///
    /// # Errors
    /// Why some are lost.
    pub fn end(self) -> Result<(), Problem> {
        match self {
            Lines::Lost(problem) => Err(problem.with_cure("the events after that are lost")),
            _ => Ok(()),
        }
    }
}

fn tolerate_closed_pipe(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Makes the file of an event record, which agents append to.
///
/// # Errors
/// When it cannot be written.
pub fn event_file(path: &Path) -> Result<EventFile, Problem> {
    if path.as_os_str() == "-" {
        return Err(Problem::usage(
            "--event-record -: it is written by several processes, and read from a file",
        )
        .with_cure("name a file"));
    }
    EventFile::create(path).map_err(|error| cannot_open(path, error))
}

/// Found before anything was measured.
fn cannot_open(path: &Path, why: impl std::fmt::Display) -> Problem {
    cannot_write(path, why)
        .with_cure("name a file in a directory that exists and that you may write to")
}

/// A place that could be opened: why it takes nothing is what the system says, and no matter of its name.
fn cannot_write(path: &Path, why: impl std::fmt::Display) -> Problem {
    Problem::usage(format!("cannot write {}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A directory of its own for each test, removed at the end.
    struct Directory(PathBuf);

    impl Directory {
        fn new() -> Self {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir()
                .join(format!("linerate-output-{}-{number}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Directory(path)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect()
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_result_appears_whole_and_replaces_the_old_one() {
        let directory = Directory::new();
        let path = directory.0.join("result.json");
        fs::write(&path, "old").unwrap();
        let destination = Destination::open(Some(&path)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        destination.write("new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(directory.names(), ["result.json"]);
    }

    #[test]
    fn a_run_that_fails_leaves_nothing() {
        let directory = Directory::new();
        let path = directory.0.join("result.json");
        drop(Destination::open(Some(&path)).unwrap());
        assert!(directory.names().is_empty());
    }

    #[test]
    fn what_cannot_be_written_is_found_at_once() {
        let directory = Directory::new();
        let missing = directory.0.join("missing/result.json");
        let problem = Destination::open(Some(&missing)).unwrap_err();
        assert!(
            problem.text.contains("missing/result.json"),
            "{}",
            problem.text
        );
        let problem = Destination::open(Some(&directory.0)).unwrap_err();
        assert!(
            problem.text.contains("it is a directory"),
            "{}",
            problem.text
        );
        assert!(Lines::open(&missing).is_err());
        assert!(directory.names().is_empty());
    }

    #[test]
    fn a_link_stays_a_link() {
        let directory = Directory::new();
        let (real, link) = (directory.0.join("real"), directory.0.join("link"));
        fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        Destination::open(Some(&link))
            .unwrap()
            .write("new")
            .unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&real).unwrap(), "new");
    }

    #[test]
    fn a_file_keeps_its_mode_and_its_names() {
        let directory = Directory::new();
        let (path, other) = (directory.0.join("result"), directory.0.join("other"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        for wanted in [0o600, 0o640, 0o666] {
            fs::write(&path, "a longer text than the new one").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(wanted)).unwrap();
            Destination::open(Some(&path))
                .unwrap()
                .write("new")
                .unwrap();
            assert_eq!(
                (mode(&path), fs::read_to_string(&path).unwrap()),
                (wanted, "new".to_owned())
            );
        }
        fs::write(&path, "a longer text than the new one").unwrap();
        fs::hard_link(&path, &other).unwrap();
        Destination::open(Some(&path))
            .unwrap()
            .write("new")
            .unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().nlink(), 2);
    }

    #[test]
    fn a_file_stays_its_owners() {
        let directory = Directory::new();
        let path = directory.0.join("result");
        fs::write(&path, "old").unwrap();
        // Only root may give a file away.
        if std::os::unix::fs::chown(&path, Some(65_534), Some(65_534)).is_ok() {
            Destination::open(Some(&path))
                .unwrap()
                .write("new")
                .unwrap();
            let file = fs::metadata(&path).unwrap();
            assert_eq!((file.uid(), file.gid()), (65_534, 65_534));
        }
    }

    #[test]
    fn what_a_place_does_not_take_is_in_a_new_file() {
        let spare = Spare::of_result(Format::Text, false);
        let full = Path::new("/dev/full");
        if cfg!(target_os = "linux") {
            let destination = Destination::open(Some(full)).unwrap();
            let problem = destination.keep("measured", spare).unwrap_err();
            let cure = problem.cure.unwrap();
            let path = cure.strip_prefix("the result is in ");
            let path = path.and_then(|rest| rest.strip_suffix(" instead"));
            let path = PathBuf::from(path.unwrap_or_else(|| panic!("{cure}")));
            assert_eq!(fs::read_to_string(&path).unwrap(), "measured");
            // What is there already is nobody's to write over.
            assert!(spare.file("other").is_err());
            assert_eq!(fs::read_to_string(&path).unwrap(), "measured");
            fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn one_file_is_not_for_two_things() {
        let here = std::env::temp_dir();
        let (one, other) = (
            here.join("linerate-one.json"),
            here.join("linerate-other.json"),
        );
        let dotted = here.join(".").join("linerate-one.json");
        let said = |outputs: &[(&str, Option<&Path>)], inputs: &[(&str, &Path)]| {
            apart(outputs, inputs).err().map(|problem| problem.text)
        };
        let (output, html) = (
            ("--output", Some(one.as_path())),
            ("--html", Some(dotted.as_path())),
        );
        let text = said(&[output, html], &[]).unwrap();
        assert!(
            text.starts_with("--output and --html name one file, "),
            "{text}"
        );
        let text = said(&[("--html", None), output], &[("FILE", dotted.as_path())]).unwrap();
        assert!(text.starts_with("--output would write over "), "{text}");
        assert_eq!(said(&[output, ("--html", Some(&other))], &[]), None);
        let stdout = Some(Path::new("-"));
        assert_eq!(
            said(&[("--output", stdout), ("--events", stdout)], &[]),
            None
        );
        let nowhere = Some(Path::new("/dev/null"));
        assert_eq!(
            said(&[("--output", nowhere), ("--html", nowhere)], &[]),
            None
        );
    }

    #[test]
    fn devices_are_written_in_place() {
        let destination = Destination::open(Some(Path::new("/dev/null"))).unwrap();
        assert!(matches!(destination, Destination::InPlace(..)));
        destination.write("text").unwrap();
    }
}
