//! The protocol core on a simulated network: every scenario runs on many seeds, and a seed that fails replays
//! with the command that is printed.
//!
//! `QWORMHOLE_SIM_SEED=n` runs one seed, `QWORMHOLE_SIM_SEEDS=n` runs the seeds below `n` (default 200).

#![forbid(unsafe_code)]

mod admission;
mod closing;
mod deadlines;
mod determinism;
mod flow;
mod fuzzing;
mod harness;
mod opening;
mod pacing;
mod sealed;
mod sender;
mod streamer;
mod traffic;
