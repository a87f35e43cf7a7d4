//! The command `report`: pictures and tables of saved results.

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::ReportFlags;
use crate::result::ResultFile;

/// Reads results and writes what was asked for.
pub(crate) fn report(flags: &ReportFlags) -> Result<ExitCode> {
    let results: Vec<_> = flags.files.iter().map(|path| ResultFile::read(path)).collect::<Result<_>>()?;
    println!("{}", results.len());
    Ok(ExitCode::SUCCESS)
}
