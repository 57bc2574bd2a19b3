//! The supervisor process: the single writer of settings while it lives.

use super::host::{self, InForce};
use super::protocol::{Answer, Drift, Hold, Order};
use crate::cancel::Cancel;
use crate::error::Failure;
use crate::lines::{Line, read_line, write_line};
use std::io::{BufReader, Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

/// How often a signal is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// Runs a supervisor on any pair of streams, until it was told to end, `stop` is raised, or its input
/// ends. Whatever the reason, what it has written and was not told to leave is put back by then.
///
/// Returns what nobody was told because the owner was gone: settings that were left alone.
///
/// # Errors
/// What could not be put back; it stays in the journal.
pub fn supervise(
    input: impl Read + Send + 'static,
    mut output: impl Write,
    stop: &Cancel,
) -> Result<Vec<Drift>, Failure> {
    let orders = match read_orders(input) {
        Ok(orders) => orders,
        Err(failure) => {
            // The exit code says it once more, should the owner be gone.
            let _ = write_line(&mut output, &Answer::Failed(failure.clone()));
            return Err(failure);
        }
    };
    let mut supervisor = Supervisor { in_force: None };
    while let Some(order) = next(&orders, stop) {
        let last = matches!(order, Order::Restore | Order::Leave);
        let answer = supervisor.obey(order).unwrap_or_else(Answer::Failed);
        // An owner that is gone shows as the end of the input.
        let _ = write_line(&mut output, &answer);
        if last {
            break;
        }
    }
    supervisor.end()
}

struct Supervisor {
    in_force: Option<InForce>,
}

impl Supervisor {
    fn obey(&mut self, order: Order) -> Result<Answer, Failure> {
        match order {
            Order::Apply(_) if self.in_force.is_some() => Err(Failure::machine(
                "a supervisor applies one profile; this is a bug in linerate",
            )),
            Order::Apply(application) => {
                let (in_force, profile, warnings) = host::apply(&application)?;
                self.in_force = Some(in_force);
                Ok(Answer::Applied {
                    profile: Box::new(profile),
                    warnings,
                })
            }
            Order::Check => Ok(Answer::Drift {
                drifts: self.in_force.as_ref().map_or_else(Vec::new, InForce::drift),
            }),
            Order::Restore => {
                let left_alone = match self.in_force.take() {
                    Some(in_force) => in_force.restore()?,
                    None => Vec::new(),
                };
                Ok(Answer::Restored { left_alone })
            }
            Order::Leave => {
                match self.in_force.take() {
                    Some(in_force) if in_force.hold() == Hold::Held => in_force.leave(),
                    other => {
                        self.in_force = other;
                        return Err(Failure::machine(
                            "only a held profile can be left; this is a bug in linerate",
                        ));
                    }
                }
                Ok(Answer::Left)
            }
        }
    }

    /// Puts back what is still in force.
    fn end(mut self) -> Result<Vec<Drift>, Failure> {
        match self.in_force.take() {
            None => Ok(Vec::new()),
            Some(in_force) => in_force.restore(),
        }
    }
}

/// The next order; `None` when the owner is gone, has said what is no order, or a signal came.
fn next(orders: &Receiver<Order>, stop: &Cancel) -> Option<Order> {
    loop {
        if stop.is_raised() {
            return None;
        }
        match orders.recv_timeout(LOOK) {
            Ok(order) => return Some(order),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

fn read_orders(input: impl Read + Send + 'static) -> Result<Receiver<Order>, Failure> {
    let (sender, orders) = sync_channel(4);
    let read = move || {
        let mut reader = BufReader::new(input);
        let mut buffer = Vec::new();
        while let Ok(Line::Message(order)) = read_line(&mut reader, &mut buffer) {
            if sender.send(order).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("orders".to_owned())
        .spawn(read)
        .map_err(|error| Failure::machine(format!("start a thread that reads orders: {error}")))?;
    Ok(orders)
}
