//! Flags of `report`.

use std::path::PathBuf;

use clap::Args;

#[derive(Clone, Debug, Args)]
pub(crate) struct ReportFlags {
    /// Results that `run` or `compare` saved with --json
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Write one page with pictures and tables that needs nothing else
    #[arg(long, value_name = "OUT.html")]
    pub(crate) html: Option<PathBuf>,
    /// Write all pictures, one below the other
    #[arg(long, value_name = "OUT.svg")]
    pub(crate) svg: Option<PathBuf>,
    /// Put the table of main figures into a document, between its two lines that begin with `<!-- figures:`
    #[arg(long, value_name = "FILE.md")]
    pub(crate) markdown: Option<PathBuf>,
}

pub(super) const HELP: &str = "\
Without --html, --svg and --markdown the table of main figures is printed, in Markdown.

Examples:
  qwormhole-perf report out.json --html out.html
  qwormhole-perf report rate-1.json rate-2.json rate-3.json --svg latency-against-load.svg";
