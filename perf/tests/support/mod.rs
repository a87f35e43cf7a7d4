//! What tests of running processes share.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Polls until something holds; nothing is measured meanwhile.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The fields of `/proc/PID/stat` behind the name, from the state on; empty when the process is gone.
fn stat(process: u32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    fields.split_whitespace().map(str::to_owned).collect()
}

/// The direct children of a process, oldest first as long as process numbers do not wrap.
pub(crate) fn children_of(parent: u32) -> BTreeSet<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|&process| stat(process).get(1).is_some_and(|it| *it == parent.to_string())).collect()
}

/// User and system time of a process, in hundredths of a second.
pub(crate) fn cpu_ticks(process: u32) -> u64 {
    stat(process).iter().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// Whether a process exists and is no zombie.
pub(crate) fn is_alive(process: u32) -> bool {
    stat(process).first().is_some_and(|state| state != "Z")
}

pub(crate) fn signal(process: u32, signal: Signal) {
    kill_process(Pid::from_raw(process.cast_signed()).unwrap(), signal).unwrap();
}
