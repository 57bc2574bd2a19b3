//! What a user and a program see of a result: every test works on the same fixture documents.

mod answers; // the first sentences of results in which something went wrong
mod bless; // expected files, rewritten on request
mod comparison_fixtures; // comparisons with seeded noise
mod comparisons; // the comparison document, its schema and its reading
mod event_record; // every event of a run: bytes, damage, aggregates
mod fixtures; // documents, built the way the runner builds them
mod forms; // Markdown, hgrm, Prometheus and HTML
mod golden; // statistics against packages that share no code with us
mod loading; // reading documents back, older and newer ones
mod merging; // results of runs made apart, as one
mod parity; // no renderer says what the document does not
mod power;
mod rendering; // literal text and CSV

mod schema; // the committed JSON Schema
mod several_hosts; // rounds of several hosts, and lost agents
mod simulation; // how often the analysis is wrong where the truth is known
mod verdicts;
mod versions; // documents of earlier builds
