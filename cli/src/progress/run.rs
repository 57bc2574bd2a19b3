//! Progress of one run.

use std::time::Instant;

use report::document::{Interval, RampPoint, Workload};
use report::units::{grouped, human_bit_rate, human_count, human_ns};

use super::{Kind, Screen, Shown, bar};

/// How long a round is meant to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// So many ns of window.
    Time(u64),
    /// So many operations.
    Operations(u64),
}

/// What is known of the run so far.
#[derive(Debug, Clone)]
pub struct State {
    workload: Workload,
    rounds: u32,
    goal: Goal,
    round: u32,
    /// What goes on while nothing is measured.
    phase: &'static str,
    /// When the window of the round began; none before it.
    window: Option<Instant>,
    operations: u64,
    errors: u64,
    /// Connections whose opening has begun, and that were established and lost, where they are opened once.
    started: u64,
    lost: u64,
    last: Option<Interval>,
    /// How many clients are asked for, and how they have come up.
    clients: u64,
    joining: Option<RampPoint>,
}

impl State {
    /// A run that has not begun.
    pub fn new(workload: Workload, rounds: u32, goal: Goal, clients: u64) -> Self {
        State {
            workload,
            rounds,
            goal,
            round: 0,
            phase: "preparing",
            window: None,
            operations: 0,
            errors: 0,
            started: 0,
            lost: 0,
            last: None,
            clients,
            joining: None,
        }
    }

    fn title(&self) -> String {
        let name = self.workload.name();
        match (self.rounds, self.round) {
            (0 | 1, _) | (_, 0) => name.to_owned(),
            (rounds, round) => format!("{name} {round}/{rounds}"),
        }
    }

    /// Share of the goal that is reached, and the same in words.
    fn reached(&self, now: Instant) -> (f64, String) {
        let Some(start) = self.window else {
            let clients = self.joining.map(|point| self.clients(&point));
            return (0.0, clients.unwrap_or_else(|| self.phase.to_owned()));
        };
        let window_ns = u64::try_from(now.duration_since(start).as_nanos()).unwrap_or(u64::MAX);
        match self.goal {
            Goal::Time(total_ns) => {
                let share = (window_ns as f64 / total_ns as f64).min(1.0);
                let shown_s = window_ns.min(total_ns) as f64 / 1e9;
                (share, format!("{shown_s:.1}/{} s", seconds(total_ns)))
            }
            Goal::Operations(total) => {
                let share = (self.operations as f64 / total as f64).min(1.0);
                (
                    share,
                    format!("{}/{}", grouped(self.operations), grouped(total)),
                )
            }
        }
    }

    /// `182 k/s` or `9.41 Gbit/s`, from the latest interval.
    fn speed(&self) -> Option<String> {
        let last = self.last.as_ref().filter(|last| last.length_ns > 0)?;
        Some(speed(self.workload, last))
    }
}

impl Shown for State {
    fn bar_line(&self, now: Instant, width: usize) -> String {
        let (share, reached) = self.reached(now);
        let errors = (self.errors > 0).then(|| format!("{} failed", grouped(self.errors)));
        let parts: Vec<String> = [Some(reached), self.speed(), errors]
            .into_iter()
            .flatten()
            .collect();
        let text = parts.join("  ");
        bar(&self.title(), share, &text, width)
    }
}

impl State {
    /// Where the connections are that are opened once.
    fn connections(&self) -> String {
        let all = match self.goal {
            Goal::Operations(all) => all,
            Goal::Time(_) => self.started,
        };
        let dialing = self.started.saturating_sub(self.operations + self.errors);
        let parts = [
            ("dialing", dialing),
            ("established", self.operations.saturating_sub(self.lost)),
            ("closed", self.lost),
            ("error", self.errors),
            ("not initiated", all.saturating_sub(self.started)),
        ];
        parts
            .map(|(name, count)| format!("{name} {}", grouped(count)))
            .join("  ")
    }

    /// Where the clients are that come up.
    fn clients(&self, point: &RampPoint) -> String {
        let ended = point.opened + point.failed;
        let parts = [
            ("opening", point.started.saturating_sub(ended)),
            ("open", point.opened.saturating_sub(point.lost)),
            ("lost", point.lost),
            ("failed", point.failed),
            ("not initiated", self.clients.saturating_sub(point.started)),
        ];
        parts
            .map(|(name, count)| format!("{name} {}", grouped(count)))
            .join("  ")
    }

    /// The line of an interval that has just passed.
    fn interval_line(&self, interval: &Interval) -> String {
        if self.workload.holds() {
            let end_s = (interval.start_offset_ns + interval.length_ns) as f64 / 1e9;
            return format!("{}  {end_s:.1} s  {}", self.title(), self.connections());
        }
        let end_s = (interval.start_offset_ns + interval.length_ns) as f64 / 1e9;
        let total = match self.goal {
            Goal::Time(total_ns) => format!("/{}", seconds(total_ns)),
            Goal::Operations(_) => String::new(),
        };
        let counted = match self.goal {
            Goal::Time(_) => String::new(),
            Goal::Operations(all) => format!("  {} of {}", grouped(self.operations), grouped(all)),
        };
        let mut line = format!(
            "{}  {end_s:.1}{total} s  {}",
            self.title(),
            speed(self.workload, interval)
        );
        if let Some(mean) = interval
            .latency_mean_ns
            .filter(|_| !self.workload.is_bulk())
        {
            line += &format!("  mean {}", human_ns(mean.get()));
        }
        if let Some(max) = interval.latency_max_ns.filter(|_| !self.workload.is_bulk()) {
            line += &format!("  max {}", human_ns(max as f64));
        }
        line + &format!("  {} failed{counted}", grouped(interval.errors))
    }
}

fn seconds(ns: u64) -> String {
    let text = format!("{:.3}", ns as f64 / 1e9);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn speed(workload: Workload, interval: &Interval) -> String {
    let length_s = interval.length_ns.max(1) as f64 / 1e9;
    if workload.is_bulk() {
        let bytes = interval.bytes_sent + interval.bytes_received;
        return human_bit_rate(bytes as f64 * 8.0 / length_s);
    }
    format!("{}/s", human_count(interval.operations as f64 / length_s))
}

/// Progress being shown; dropped, it clears its line.
pub struct Progress(Screen<State>);

impl Progress {
    /// Begins to show a run.
    pub fn start(kind: Kind, state: State) -> Self {
        Progress(Screen::start(kind, state))
    }

    /// A round begins; its agents are started.
    pub fn round(&self, number: u32) {
        self.0.tell(|state| {
            (state.round, state.window, state.last) = (number, None, None);
            (state.operations, state.errors) = (0, 0);
            (state.started, state.lost, state.joining) = (0, 0, None);
        });
    }

    /// What is being done while nothing is measured.
    pub fn phase(&self, text: &'static str) {
        self.0
            .tell(|state| (state.phase, state.window) = (text, None));
    }

    /// The window begins now.
    pub fn measuring(&self) {
        self.0.tell(|state| state.window = Some(Instant::now()));
    }

    /// An interval of the window has passed.
    pub fn interval(&self, interval: &Interval) {
        self.0.tell(|state| {
            state.operations += interval.operations;
            state.errors += interval.errors;
            state.started += interval.connections_started;
            state.lost += interval.connections_lost;
            state.last = Some(*interval);
        });
        self.0.plain(|state| state.interval_line(interval));
    }

    /// Connections are held.
    pub fn held(&self, standing: u64, lost: u64) {
        self.0.tell(|state| {
            state.lost = lost;
            state.operations = standing + lost;
            state.started = state.started.max(state.operations + state.errors);
        });
        self.0.plain(|state| {
            format!(
                "{}  {}  {}",
                state.title(),
                state.phase,
                state.connections()
            )
        });
    }

    /// Clients come up.
    pub fn joining(&self, point: &RampPoint) {
        self.0.tell(|state| state.joining = Some(*point));
        self.0
            .plain(|state| format!("{}  {}", state.title(), state.clients(point)));
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
    use std::time::Duration;

    fn interval(start_s: u64, operations: u64, errors: u64) -> Interval {
        Interval {
            start_offset_ns: start_s * 1_000_000_000,
            length_ns: 1_000_000_000,
            operations,
            bytes_sent: 125_000_000,
            errors,
            latency_mean_ns: Some(12_u32.into()),
            latency_max_ns: Some(31_000),
            ..Interval::default()
        }
    }

    fn running(workload: Workload, goal: Goal) -> (State, Instant) {
        let start = Instant::now();
        let mut state = State::new(workload, 5, goal, 10_000);
        (state.round, state.window) = (2, Some(start));
        state.last = Some(interval(2, 182_000, 0));
        (state, start)
    }

    #[test]
    fn the_bar_shows_time_and_speed() {
        let (mut state, start) = running(Workload::Rr, Goal::Time(10_000_000_000));
        let at = start + Duration::from_millis(4_000);
        assert_eq!(
            state.bar_line(at, 70),
            "rr 2/5  [################------------------------]  4.0/10 s  182 k/s"
        );
        state.errors = 1_234;
        assert_eq!(
            state.bar_line(at, 60),
            "rr 2/5  [#######----------]  4.0/10 s  182 k/s  1,234 failed"
        );
        assert_eq!(state.bar_line(at, 20), "rr 2/5  4.0/10 s  18");
    }

    #[test]
    fn the_bar_waits_warms_up_and_ends() {
        let (mut state, start) = running(Workload::Stream, Goal::Time(1_500_000_000));
        let line = |state: &State, ms| state.bar_line(start + Duration::from_millis(ms), 70);
        assert!(
            line(&state, 9_000).contains("###]  1.5/1.5 s"),
            "{}",
            line(&state, 9_000)
        );
        (state.window, state.phase) = (None, "warming up");
        assert!(
            line(&state, 0).contains("----]  warming up"),
            "{}",
            line(&state, 0)
        );
    }

    #[test]
    fn clients_that_come_up_are_counted_out() {
        let (mut state, start) = running(Workload::Ws, Goal::Time(1));
        state.window = None;
        let point = RampPoint {
            started: 4_000,
            opened: 3_900,
            failed: 7,
            lost: 2,
            ..RampPoint::default()
        };
        state.joining = Some(point);
        let expected = "opening 93  open 3,898  lost 2  failed 7  not initiated 6,000";
        assert_eq!(state.clients(&point), expected);
        assert!(state.bar_line(start, 120).contains(expected));
    }

    #[test]
    fn a_count_is_a_goal_too() {
        let (mut state, start) = running(Workload::Cc, Goal::Operations(10_000));
        state.operations = 2_500;
        let line = state.bar_line(start + Duration::from_secs(3), 80);
        assert!(
            line.contains("[##########------------------------------]  2,500/10,000"),
            "{line}"
        );
    }

    #[test]
    fn plain_lines_say_the_interval() {
        let (state, _) = running(Workload::Rr, Goal::Time(10_000_000_000));
        assert_eq!(
            state.interval_line(&interval(2, 182_000, 3)),
            "rr 2/5  3.0/10 s  182 k/s  mean 12 ns  max 31.0 us  3 failed"
        );
        let (state, _) = running(Workload::Stream, Goal::Operations(5));
        assert_eq!(
            state.interval_line(&interval(0, 1, 0)),
            "stream 2/5  1.0 s  1.00 Gbit/s  0 failed  0 of 5"
        );
    }
}
