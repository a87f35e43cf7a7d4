//! How a measurement ends: exit codes.

use std::process::ExitCode;

use anyhow::{Result, ensure};

use crate::interrupt::EXIT_INTERRUPTED;
use crate::rounds::Rounds;

/// What a measurement came to, apart from its figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ending {
    /// Ctrl-C ended it.
    pub(crate) interrupted: bool,
    /// A `--fail-if` holds.
    pub(crate) failed: bool,
    /// Whether a `--fail-if` holds cannot be told.
    pub(crate) refused: bool,
}

impl Ending {
    /// The exit code: an interrupt, then what `--fail-if` says, then what was lost or corrupt, then what could not be
    /// told.
    ///
    /// # Errors
    ///
    /// Messages that were lost or corrupt.
    pub(crate) fn code(self, rounds: &Rounds) -> Result<ExitCode> {
        if self.interrupted {
            return Ok(ExitCode::from(EXIT_INTERRUPTED));
        }
        if self.failed {
            return Ok(ExitCode::from(EXIT_THRESHOLD));
        }
        let (lost, corrupt) = (rounds.total("lost_messages"), rounds.total("corrupt_messages"));
        ensure!(lost + corrupt == 0.0, "{lost:.0} messages were lost and {corrupt:.0} corrupt");
        Ok(if self.refused { ExitCode::from(EXIT_UNCLEAR) } else { ExitCode::SUCCESS })
    }
}

/// A `--fail-if` holds.
const EXIT_THRESHOLD: u8 = 99;
/// The rounds differ too much to tell.
const EXIT_UNCLEAR: u8 = 98;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounds::tests::rounds;

    #[test]
    fn the_gravest_decides() {
        let code = |ending: Ending| ending.code(&Rounds::default()).unwrap();
        let all = Ending { interrupted: true, failed: true, refused: true };
        assert_eq!(code(all), ExitCode::from(130));
        assert_eq!(code(Ending { interrupted: false, ..all }), ExitCode::from(99));
        assert_eq!(code(Ending { refused: true, ..Ending::default() }), ExitCode::from(98));
        assert_eq!(code(Ending::default()), ExitCode::SUCCESS);
        let lossy = rounds(&[(0, "engine", false, &[("lost_messages", 2.0)])]);
        assert!(
            Ending { refused: true, ..Ending::default() }
                .code(&lossy)
                .unwrap_err()
                .to_string()
                .contains("2 messages")
        );
    }
}
