//! Which CPUs a process may use.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::{Deserialize, Serialize};

/// A list of CPU numbers as `--server-cpus` takes it, such as `0`, `0,2` or `4-7`; sorted, no duplicates,
/// never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cpus(Vec<usize>);

impl Cpus {
    /// The CPUs this process may use now.
    pub(crate) fn allowed() -> Result<Self> {
        let set = sched_getaffinity(None).context("cannot read the CPU affinity")?;
        Ok(Self((0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect()))
    }

    /// One CPU of these, by position.
    pub(crate) fn nth(&self, position: usize) -> Option<Self> {
        self.0.get(position).map(|&cpu| Self(vec![cpu]))
    }

    /// The numbers, ascending.
    pub(crate) fn as_slice(&self) -> &[usize] {
        &self.0
    }

    /// Whether any CPU is in both lists.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().any(|cpu| other.0.contains(cpu))
    }

    /// Whether every CPU of these is among `others`.
    pub(crate) fn within(&self, others: &Self) -> bool {
        self.0.iter().all(|cpu| others.0.contains(cpu))
    }

    /// Confines the calling thread, and every thread it starts from now on.
    pub(crate) fn pin(&self) -> Result<()> {
        let mut set = CpuSet::new();
        for &cpu in &self.0 {
            set.set(cpu);
        }
        sched_setaffinity(None, &set).with_context(|| format!("cannot pin to CPU {self}"))
    }
}

impl FromStr for Cpus {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = |part: &str| {
            let cpu = part.parse::<usize>().ok().filter(|&cpu| cpu < CpuSet::MAX_CPU);
            cpu.with_context(|| format!("`{text}` is no list of CPUs; write 0 or 0,2 or 4-7"))
        };
        let mut cpus = Vec::new();
        for part in text.split(',') {
            match part.split_once('-') {
                Some((first, last)) => cpus.extend(number(first)?..=number(last)?),
                None => cpus.push(number(part)?),
            }
        }
        cpus.sort_unstable();
        cpus.dedup();
        if cpus.is_empty() {
            bail!("`{text}` names no CPU");
        }
        Ok(Self(cpus))
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, cpu) in self.0.iter().enumerate() {
            write!(f, "{}{cpu}", if position == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges_are_read_sorted_and_without_duplicates() {
        assert_eq!("4-6,0,5".parse::<Cpus>().unwrap().to_string(), "0,4,5,6");
        assert_eq!("1".parse::<Cpus>().unwrap().as_slice(), [1]);
    }

    #[test]
    fn mistakes_are_refused() {
        for bad in ["", "a", "1-", "-1", "3-1", "0,,1", "99999999"] {
            assert!(bad.parse::<Cpus>().is_err(), "{bad}");
        }
    }

    #[test]
    fn pinning_confines_the_thread() {
        let first = Cpus::allowed().unwrap().nth(0).unwrap();
        std::thread::spawn(move || {
            first.pin().unwrap();
            assert_eq!(Cpus::allowed().unwrap(), first);
        })
        .join()
        .unwrap();
    }
}
