//! The command `list`.

use std::fmt::Write as _;

use crate::{scenario, systems};

/// Scenarios and systems, and why a system is not available here.
pub(crate) fn list() -> String {
    let mut text = String::from("Scenarios\n");
    for scenario in scenario::ALL {
        let _ = writeln!(text, "  {:<20}{}", scenario.name(), scenario.about());
    }
    text.push_str("\nSystems\n");
    for system in systems::ALL {
        let _ = writeln!(text, "  {:<20}{}", system.name(), system.about());
        let state = match system.diagnose() {
            Ok(_) => String::from("available"),
            Err(reason) => format!("not available here: {reason}"),
        };
        let _ = writeln!(text, "  {:<20}{state}", "");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_and_system_is_listed() {
        let text = list();
        for name in ["pingpong", "echo", "stream", "send-one", "engine", "engine-unix", "fallback"] {
            assert!(text.contains(&format!("  {name} ")), "{name}");
        }
    }
}
