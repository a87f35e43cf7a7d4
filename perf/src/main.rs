//! `qwormhole-perf` measures qwormhole over real sockets between real processes, on this machine, for the load
//! that the command line describes.
//!
//! The way of a run: [`run`] or [`compare`] makes plans → [`measure`] starts two [`process`]es and tells them when → each is
//! a [`child`] that plays its side of a [`scenario`] on one of the [`systems`] → [`window`] turns their
//! counters into metrics → [`summary`] or [`table`] and [`result`] write them down; [`report`] draws them.
//!
//! To add a scenario or a system: one file under `scenario/` or `systems/`, and its line in `ALL` there.

#![forbid(unsafe_code)]

mod child;
mod cli;
mod compare;
mod cpus;
mod dial;
mod doctor;
mod duration;
mod ending;
mod environment;
mod figure;
mod hello;
mod interrupt;
mod job;
mod lineup;
mod list;
mod load;
mod measure;
mod memory;
mod metric;
mod output;
mod pace;
mod pattern;
mod peer;
mod process;
mod progress;
mod ratio;
mod record;
mod report;
mod result;
mod rounds;
mod run;
mod saturation;
mod scenario;
mod server;
mod slicing;
mod spread;
mod summary;
mod syscalls;
mod systems;
mod table;
mod tally;
mod think;
mod threshold;
mod told;
mod wakeups;
mod window;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        None => match Cli::parse_from(["qwormhole-perf", "run"]).command {
            Some(Command::Run(flags)) => run::run(&flags),
            _ => unreachable!("`run` without flags is a run"),
        },
        Some(Command::Run(flags)) => run::run(&flags),
        Some(Command::Compare(flags)) => compare::compare(&flags),
        Some(Command::Report(flags)) => report::report(&flags),
        Some(Command::Client(flags)) => run::client(&flags),
        Some(Command::Server(flags)) => server::serve(&flags),
        Some(Command::List) => shown(&list::list()),
        Some(Command::Doctor) => shown(&doctor::doctor()),
        Some(Command::Child) => return child::run(),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("qwormhole-perf: {}", told::once(&error));
        ExitCode::FAILURE
    })
}

/// Prints a text that is the whole result of a command.
fn shown(text: &str) -> anyhow::Result<ExitCode> {
    std::io::Write::write_all(&mut std::io::stdout().lock(), text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
