//! Progress of a comparison: which run, and how long it will still take.

use std::time::{Duration, Instant};

use super::{Kind, Screen, Shown, bar};

/// A run of a comparison that has begun.
#[derive(Debug, Clone)]
pub struct Step {
    /// 0 for the discarded round.
    pub round: u32,
    /// The last round, unless it ends earlier.
    pub rounds: u32,
    /// The cell and the arm.
    pub what: String,
    /// What was left when it began.
    pub left: Duration,
    /// When it began.
    pub began: Instant,
}

/// What is known of a comparison so far.
#[derive(Debug)]
struct Known {
    began: Instant,
    step: Option<Step>,
}

impl Known {
    fn left(&self, now: Instant) -> Duration {
        self.step.as_ref().map_or(Duration::ZERO, |step| {
            step.left.saturating_sub(now.duration_since(step.began))
        })
    }
}

impl Step {
    fn title(&self) -> String {
        match self.round {
            0 => format!("round 0 (discarded) of {}", self.rounds),
            round => format!("round {round}/{}", self.rounds),
        }
    }
}

impl Shown for Known {
    fn bar_line(&self, now: Instant, width: usize) -> String {
        let Some(step) = &self.step else {
            return bar("compare", 0.0, "preparing", width);
        };
        let left = self.left(now);
        let passed = now.duration_since(self.began);
        let whole = (passed + left).as_secs_f64();
        let share = if whole > 0.0 {
            passed.as_secs_f64() / whole
        } else {
            0.0
        };
        let text = format!("{} left  {}", in_words(left), step.what);
        bar(&step.title(), share, &text, width)
    }
}

/// Whole seconds, for nobody can tell more of what is still to come: `40 s`, `3 min 20 s`, `2 h 5 min`.
pub fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// Progress of a comparison being shown; dropped, it clears its line.
pub struct Comparing(Screen<Known>);

impl Comparing {
    /// Begins to show a comparison.
    pub fn start(kind: Kind) -> Self {
        let course = Known {
            began: Instant::now(),
            step: None,
        };
        Comparing(Screen::start(kind, course))
    }

    /// A run begins.
    pub fn step(&self, step: Step) {
        self.0.tell(|course| course.step = Some(step));
    }

    /// The run is over: its line, where there is no bar.
    pub fn ended(&self, outcome: &str) {
        self.0.plain(|course| {
            let Some(step) = &course.step else {
                return outcome.to_owned();
            };
            let left = in_words(course.left(Instant::now()));
            format!("{}  {}  {outcome}  {left} left", step.title(), step.what)
        });
    }

    /// A line that stays, above the bar.
    pub fn note(&self, text: &str) {
        self.0.note(text);
    }

    /// Something to call from another thread before that writes to stderr or ends the process.
    pub fn clearer(&self) -> impl Fn() + Clone + Send + Sync + 'static {
        self.0.clearer()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(round: u32, passed_s: u64, left_s: u64) -> (Known, Instant) {
        let began = Instant::now();
        let now = began + Duration::from_secs(passed_s);
        let step = Step {
            round,
            rounds: 12,
            what: "rr, 16 connections: epoll".to_owned(),
            left: Duration::from_secs(left_s),
            began: now,
        };
        let step = Some(step);
        (Known { began, step }, now)
    }

    #[test]
    fn the_bar_shows_the_run_and_what_is_left() {
        let (course, now) = course(3, 30, 90);
        assert_eq!(
            course.bar_line(now, 90),
            "round 3/12  [########------------------------]  1 min 30 s left  rr, 16 connections: epoll"
        );
        let later = now + Duration::from_secs(60);
        assert!(course.bar_line(later, 120).contains("  30 s left"));
        let much_later = now + Duration::from_secs(600);
        assert!(course.bar_line(much_later, 120).contains("###]  0 s left"));
    }

    #[test]
    fn the_first_round_is_called_what_it_is() {
        let (course, now) = course(0, 0, 0);
        let line = course.bar_line(now, 120);
        assert!(
            line.starts_with("round 0 (discarded) of 12  [----"),
            "{line}"
        );
    }
}
