//! In which manner the neutral load generator sends.

use serde::{Deserialize, Serialize};

use crate::job::Load;

/// The manner from now on, as the parent asks for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pace {
    pub(crate) flow: Flow,
    /// What the metrics of this stretch of the round are suffixed with.
    pub(crate) label: Option<String>,
    /// Attackers attack, instead of sending valid traffic.
    pub(crate) attack: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) enum Flow {
    /// Each answer is followed by the next request.
    #[default]
    Closed,
    /// That many messages per second, whatever the answers do.
    Open(f64),
    /// Nothing is sent.
    Silent,
}

impl Flow {
    /// What `--rate` asks for.
    pub(crate) fn of(load: &Load) -> Self {
        if load.rate == 0 { Self::Closed } else { Self::Open(load.rate as f64) }
    }
}
