//! The command `report`: pictures and tables of saved results.

mod bars;
mod canvas;
mod curves;
mod headline;
mod markdown;
mod page;
mod picture;
#[cfg(test)]
mod sample;
mod scale;
mod series;
mod style;
mod tables;

use std::fs;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};

use crate::cli::ReportFlags;
use crate::output::OutputFile;
use crate::result::ResultFile;
use crate::run::print;

/// Reads results and writes what was asked for.
pub(crate) fn report(flags: &ReportFlags) -> Result<ExitCode> {
    ensure!(flags.files.len() <= FILES_MAX, "report takes up to {FILES_MAX} results");
    let results: Vec<_> = flags.files.iter().map(|path| ResultFile::read(path)).collect::<Result<_>>()?;
    if let Some(path) = &flags.html {
        OutputFile::reserve(path)?.write(page::page(&results).as_bytes())?;
    }
    if let Some(path) = &flags.svg {
        let all = picture::stacked(&results);
        let all = all.context("--svg: these results have nothing that could be drawn")?;
        OutputFile::reserve(path)?.write(all.as_bytes())?;
    }
    if let Some(path) = &flags.markdown {
        let document = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let document = markdown::replaced(&document, &results).with_context(|| {
            format!("{} has no two lines that begin with `{}`", path.display(), markdown::MARK)
        })?;
        OutputFile::reserve(path)?.write(document.as_bytes())?;
    }
    if flags.html.is_none() && flags.svg.is_none() && flags.markdown.is_none() {
        print(&markdown::table(&results), false)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// More make no readable page.
const FILES_MAX: usize = 256;
