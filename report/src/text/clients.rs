//! Clients, which are opened once and operate: what became of them, and how alike they were served.

use super::layout::{Paper, Table};
use super::ramp;
use crate::document::{Clients, Document, LatencySummary, Plan, Round, WebSocketPlan};
use crate::units::{grouped, human_duration_ns, human_ns};

/// What became of the clients, how alike they were served, and how they came up.
pub(crate) fn section(plan: &Plan, round: &Round, paper: &mut Paper) {
    table(plan, round, paper);
    ramp::picture(plan, round, paper);
}

/// What became of the clients, and how alike they were served.
pub(crate) fn table(plan: &Plan, round: &Round, paper: &mut Paper) {
    let Some(clients) = &round.measured.clients else {
        return;
    };
    paper.heading("Clients");
    let mut table = Table::new();
    let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
    row("asked for", grouped(plan.connections));
    row("opened", grouped(clients.opened));
    row("  there at the end", grouped(clients.standing));
    row("  lost before that", grouped(clients.lost_total));
    row("failed", grouped(clients.failed_total));
    row("not opened to the end", grouped(clients.not_opened));
    let known = clients.opened + clients.failed_total + clients.not_opened;
    let unknown = plan.connections.saturating_sub(known);
    if unknown > 0 {
        table.row(["of a process that was lost".to_owned(), grouped(unknown)]);
    }
    paper.table(&table);
    // One client is what the latency says.
    if clients.opened > 1 {
        spread(clients, paper);
    }
    for (name, errors) in [("failed", &clients.failed), ("lost", &clients.lost)] {
        for one in errors {
            let text = one.text.as_deref().unwrap_or(one.kind.words());
            paper.note(&format!("{name}: {} times, {text}.", grouped(one.count)));
        }
    }
    paper.blank();
}

/// How alike the clients were served.
fn spread(clients: &Clients, paper: &mut Paper) {
    if let Some(answers) = &clients.answers {
        let (least, most) = (grouped(answers.least), grouped(answers.most));
        let mean = grouped(answers.mean.get().round() as u64);
        let text = format!("to each client from {least} to {most}, {mean} on average");
        paper.hanging("answers", &text);
    }
    let latencies = [
        ("mean latency", &clients.mean_latency),
        ("longest latency", &clients.longest_latency),
    ];
    for (name, all) in latencies {
        if let Some(all) = all {
            paper.hanging(name, &from_to(all));
        }
    }
}

fn from_to(all: &LatencySummary) -> String {
    let (least, most) = (human_ns(all.min_ns as f64), human_ns(all.max_ns as f64));
    let half = human_ns(all.p50_ns as f64);
    format!("of each client from {least} to {most}, of half of them at most {half}")
}

/// `3 of 10,000 clients could not be opened, 2 were lost`, over the rounds; nothing where all is well.
pub(crate) fn defects(document: &Document) -> Vec<String> {
    let all: Vec<&Clients> = document
        .rounds
        .iter()
        .filter_map(|round| round.measured.clients.as_ref())
        .collect();
    let asked = document.plan.connections * all.len() as u64;
    let sum = |pick: &dyn Fn(&Clients) -> u64| all.iter().map(|one| pick(one)).sum::<u64>();
    let parts = [
        (sum(&|one| one.failed_total), "could not be opened"),
        (sum(&|one| one.not_opened), "were not opened to the end"),
        (sum(&|one| one.lost_total), "were lost"),
    ];
    let parts = parts.into_iter().filter(|(count, _)| *count > 0);
    parts
        .map(|(count, what)| format!("{} of {} clients {what}", grouped(count), grouped(asked)))
        .collect()
}

/// What is said over the WebSockets, and how they come up.
pub(crate) fn conditions(plan: &WebSocketPlan) -> Vec<String> {
    let mut parts = vec![match plan.client_every_ns {
        Some(ns) => format!("a client opened every {}", human_duration_ns(ns)),
        None => "clients opened as fast as they go".to_owned(),
    }];
    let fragments = plan.fragment_bytes.map_or_else(String::new, |bytes| {
        format!(" in fragments of at most {} B", grouped(bytes))
    });
    parts.push(format!("{} messages{fragments}", plan.sends.name()));
    if plan.path != "/" {
        parts.push(format!("path {}", plan.path));
    }
    parts
}
