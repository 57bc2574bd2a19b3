//! Progress on stderr: a bar on a terminal, plain lines elsewhere.
//!
//! Texts are pure functions of what is known, and are tested as such. The bar is redrawn four times a second
//! by a thread of its own, which only reads what it was told: no measuring process is asked.

mod compare;
mod findings;
mod run;

pub use compare::{Comparing, Step, in_words};
pub use findings::Findings;
pub use run::{Goal, Progress, State};

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use report::foreign::{shown, shown_lines};

use crate::args::run_groups::ProgressChoice;

/// Redraws per second are enough at 4: people read no faster.
const REDRAW: Duration = Duration::from_millis(250);

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One line, redrawn in place.
    Bar,
    /// One line per interval.
    Plain,
    /// Nothing.
    None,
}

/// What decides about `auto`, so that tests can say it.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings {
    /// stderr is a terminal.
    pub terminal: bool,
    /// It can move its cursor (`TERM` is set, and is not `dumb`).
    pub cursor: bool,
    /// A log of continuous integration is no place for a bar (`CI` is set).
    pub ci: bool,
}

impl Surroundings {
    /// Those of this process.
    pub fn detect() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        Surroundings {
            terminal: io::stderr().is_terminal(),
            cursor: !dumb,
            ci: set("CI"),
        }
    }
}

impl Kind {
    /// The kind for a choice, in these surroundings.
    pub fn choose(choice: ProgressChoice, quiet: bool, around: Surroundings) -> Self {
        match choice {
            _ if quiet => Kind::None,
            ProgressChoice::Auto if around.terminal && around.cursor && !around.ci => Kind::Bar,
            ProgressChoice::Auto | ProgressChoice::Plain => Kind::Plain,
            ProgressChoice::Bar => Kind::Bar,
            ProgressChoice::None => Kind::None,
        }
    }
}

/// What a bar shows.
pub trait Shown: Send + 'static {
    /// The line of the bar, at most `width` columns.
    fn bar_line(&self, now: Instant, width: usize) -> String;
}

/// Narrower than this, a bar says nothing; wider, nothing more.
const BAR_MIN: usize = 8;
const BAR_MAX: usize = 40;

/// `TITLE  [####----]  TEXT`, or without the bar where there is no room for one.
fn bar(title: &str, share: f64, text: &str, width: usize) -> String {
    // Brackets, and two spaces on either side of the bar.
    let rest = width.saturating_sub(title.chars().count() + text.chars().count() + 6);
    let line = if rest >= BAR_MIN {
        let cells = rest.min(BAR_MAX);
        let full = ((share * cells as f64).round() as usize).min(cells);
        format!(
            "{title}  [{}{}]  {text}",
            "#".repeat(full),
            "-".repeat(cells - full)
        )
    } else {
        format!("{title}  {text}")
    };
    line.chars().take(width).collect()
}

/// Something being shown; dropped, it clears its line.
struct Screen<S> {
    kind: Kind,
    shared: Arc<Shared<S>>,
    painter: Option<JoinHandle<()>>,
}

struct Shared<S> {
    inner: Mutex<Inner<S>>,
    changed: Condvar,
}

struct Inner<S> {
    state: S,
    drawn: bool,
    done: bool,
}

impl<S: Shown> Screen<S> {
    fn start(kind: Kind, state: S) -> Self {
        let shared = Arc::new(Shared {
            inner: Mutex::new(Inner {
                state,
                drawn: false,
                done: false,
            }),
            changed: Condvar::new(),
        });
        let painter = (kind == Kind::Bar).then(|| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.paint())
        });
        Self {
            kind,
            shared,
            painter,
        }
    }

    /// Changes what is known.
    fn tell(&self, change: impl FnOnce(&mut S)) {
        change(&mut self.shared.lock().state);
    }

    /// A line where there is no bar, from what is known.
    fn plain(&self, line: impl FnOnce(&S) -> String) {
        if self.kind == Kind::Plain {
            let line = line(&self.shared.lock().state);
            say(&line);
        }
    }

    /// A line that stays, above the bar.
    fn note(&self, text: &str) {
        let mut inner = self.shared.lock();
        inner.clear();
        say(text);
    }

    /// Something to call from another thread before that writes to stderr or ends the process.
    fn clearer(&self) -> impl Fn() + Clone + Send + Sync + 'static {
        let shared = Arc::clone(&self.shared);
        move || shared.lock().clear()
    }
}

impl<S> Drop for Screen<S> {
    fn drop(&mut self) {
        self.shared.lock().done = true;
        self.shared.changed.notify_all();
        if let Some(painter) = self.painter.take() {
            let _ = painter.join();
        }
        self.shared.lock().clear();
    }
}

impl<S> Shared<S> {
    fn lock(&self) -> MutexGuard<'_, Inner<S>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Shown> Shared<S> {
    fn paint(&self) {
        let mut inner = self.lock();
        while !inner.done {
            inner.draw();
            inner = self
                .changed
                .wait_timeout(inner, REDRAW)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl<S: Shown> Inner<S> {
    fn draw(&mut self) {
        // One column is left free: some terminals wrap when the last one is written.
        let line = self
            .state
            .bar_line(Instant::now(), columns().saturating_sub(1));
        let _ = write!(io::stderr(), "\r{}\x1b[K", shown(&line));
        self.drawn = true;
    }
}

impl<S> Inner<S> {
    fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// Lines on stderr, whoever wrote what is in them. When nobody reads it any more, the run goes on.
pub fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{}", shown_lines(text));
}

/// Columns of the terminal; 80 when it does not say.
pub fn columns() -> usize {
    terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_follows_the_surroundings() {
        use ProgressChoice::{Auto, Bar, None as Nothing, Plain};
        let terminal = Surroundings {
            terminal: true,
            cursor: true,
            ci: false,
        };
        let check =
            |choice, quiet, around, kind| assert_eq!(Kind::choose(choice, quiet, around), kind);
        check(Auto, false, terminal, Kind::Bar);
        check(
            Auto,
            false,
            Surroundings {
                terminal: false,
                ..terminal
            },
            Kind::Plain,
        );
        check(
            Auto,
            false,
            Surroundings {
                cursor: false,
                ..terminal
            },
            Kind::Plain,
        );
        check(
            Auto,
            false,
            Surroundings {
                ci: true,
                ..terminal
            },
            Kind::Plain,
        );
        check(
            Bar,
            false,
            Surroundings {
                terminal: false,
                ..terminal
            },
            Kind::Bar,
        );
        check(Plain, false, terminal, Kind::Plain);
        check(Nothing, false, terminal, Kind::None);
        check(Bar, true, terminal, Kind::None);
    }
}
