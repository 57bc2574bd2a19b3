//! `linerate report`.

use std::path::PathBuf;

use clap::Args;

use super::run_groups::Format;

/// Arguments of `report`.
#[derive(Debug, Args)]
#[command(
    about = "Show saved results again, in any form",
    long_about = "Show results that `run --format json` or `compare` saved: as text, as a page with plots for a browser, as tables for \
        an issue, or for other programs. Everything is made from the saved document; nothing is measured. Documents of \
        older versions are read; those of a newer schema are refused.",
    after_help = "\
Examples:
  linerate report result.json                                          as text
  linerate report result.json --html result.html                       with plots; needs no script, no network
  linerate report a.json b.json --html both.html                       several runs side by side
  linerate report result.json --format markdown                        for an issue or a chat
  linerate report result.json --output result.hgrm                     latency for HdrHistogram plotters, in us
  linerate report result.json --output linerate.prom                   metrics for Prometheus
  linerate report --merge a.json b.json --output both.json             runs of several hosts as one result
  linerate report compare.json --output compare.html                   a comparison
  ssh b cat result.json | linerate report -"
)]
pub struct ReportArgs {
    /// Saved results, or trial logs of what was ended before its end; - is stdin
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Add results of runs that were made apart (on several hosts, against one target) into one: histograms are added,
    /// percentiles never averaged. Refused with what stands in the way where they did not measure the same, or not at
    /// the same time
    #[arg(long)]
    pub merge: bool,

    /// Form: text and markdown for people, html with plots, json with everything, csv in long form, hgrm
    /// for HdrHistogram plotters, prom for Prometheus
    /// [default: what the name of --output ends in, else text]
    #[arg(short, long, value_name = "FORMAT", value_enum)]
    pub format: Option<Format>,

    /// Write it to this file instead of stdout; it appears whole at the end
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Write a page with plots to this file as well, whatever the form
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}
