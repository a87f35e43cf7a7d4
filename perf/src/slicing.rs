//! How qwormhole is told to slice large frames.

use std::fmt;
use std::process::Command;
use std::str::FromStr;

use anyhow::{Error, Result, bail};
use serde::{Deserialize, Serialize};

/// What `--slicing` takes: `off`, `auto` or a number of bytes. Without it both processes inherit what the
/// environment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Slicing {
    Off,
    Auto,
    /// Slices of that many bytes.
    Bytes(u64),
}

impl Slicing {
    /// Puts it into the environment of a process to be started.
    pub(crate) fn apply(self, command: &mut Command) {
        for name in [ADAPTIVE, FORCED, FRAMES] {
            command.env_remove(name);
        }
        match self {
            Self::Off | Self::Auto => command.env(ADAPTIVE, self.to_string()),
            Self::Bytes(_) => command.env(FORCED, self.to_string()),
        };
    }
}

impl FromStr for Slicing {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "off" => Ok(Self::Off),
            "auto" => Ok(Self::Auto),
            _ => match text.parse() {
                Ok(bytes) if bytes > 0 => Ok(Self::Bytes(bytes)),
                _ => bail!("`{text}` is no slicing; write off, auto or a number of bytes above 0"),
            },
        }
    }
}

impl fmt::Display for Slicing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Auto => f.write_str("auto"),
            Self::Bytes(bytes) => write!(f, "{bytes}"),
        }
    }
}

const ADAPTIVE: &str = "QWORMHOLE_ADAPTIVE_SLICES";
const FRAMES: &str = "QWORMHOLE_FORCE_SLICE";
const FORCED: &str = "QWORMHOLE_FORCE_SLICE_BYTES";

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    fn environment(text: &str) -> Vec<(String, Option<String>)> {
        let mut command = Command::new("true");
        text.parse::<Slicing>().unwrap().apply(&mut command);
        let owned = |text: &OsStr| text.to_string_lossy().into_owned();
        command.get_envs().map(|(name, value)| (owned(name), value.map(owned))).collect()
    }

    #[test]
    fn exactly_one_variable_reaches_the_process() {
        let one = |set: &str, value: &str| {
            let mut all = [ADAPTIVE, FORCED, FRAMES].map(|name| (name.to_owned(), None));
            all.iter_mut().filter(|(name, _)| name == set).for_each(|(_, to)| *to = Some(value.to_owned()));
            all.sort();
            all.to_vec()
        };
        assert_eq!(environment("off"), one(ADAPTIVE, "off"));
        assert_eq!(environment("auto"), one(ADAPTIVE, "auto"));
        assert_eq!(environment("16384"), one(FORCED, "16384"));
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in ["", "on", "0", "-1", "1.5"] {
            assert!(bad.parse::<Slicing>().is_err(), "{bad}");
        }
    }
}
