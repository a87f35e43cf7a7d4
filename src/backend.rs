//! Which driver moves the bytes, and why.

use std::ffi::OsStr;
use std::fmt;
use std::str::FromStr;

use crate::error::StartError;

/// Which driver to use.
///
/// A value other than `Auto` wins over the environment variable `QWORMHOLE_BACKEND` (`auto`, `io_uring` or
/// `tokio`), which wins over `Auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Backend {
    /// io_uring where the kernel grants it, tokio everywhere else. The default. The reason for a refusal is in
    /// [`BackendReport::refusal`] and, once per process, in the log.
    #[default]
    Auto,
    /// The io_uring engine, or an error that says why not.
    IoUring,
    /// The portable driver.
    Tokio,
}

impl Backend {
    /// The choice in force: the option, else the environment, else `Auto`.
    pub(crate) fn resolve(self) -> Result<Self, StartError> {
        match self {
            Self::Auto => from_variable(std::env::var_os(VARIABLE).as_deref()),
            forced => Ok(forced),
        }
    }
}

impl FromStr for Backend {
    type Err = UnknownBackend;

    fn from_str(text: &str) -> Result<Self, UnknownBackend> {
        match text {
            "auto" => Ok(Self::Auto),
            "io_uring" => Ok(Self::IoUring),
            "tokio" => Ok(Self::Tokio),
            other => Err(UnknownBackend(other.to_owned())),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::IoUring => "io_uring",
            Self::Tokio => "tokio",
        })
    }
}

/// A name that is not one of a backend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("backend {0:?} is unknown: must be one of {CHOICES}")]
pub struct UnknownBackend(String);

/// A driver that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackendKind {
    /// One io_uring per shard.
    IoUring,
    /// One tokio runtime per shard.
    Tokio,
}

impl BackendKind {
    /// What a build must have for this backend.
    pub(crate) const fn needs(self) -> &'static str {
        match self {
            Self::IoUring => "Linux and the feature `io-uring`",
            Self::Tokio => "the feature `tokio`",
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IoUring => "io_uring",
            Self::Tokio => "tokio",
        })
    }
}

/// Which driver runs, and why it is not another one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackendReport {
    /// The driver that runs.
    pub kind: BackendKind,
    /// How it runs here, in words.
    pub detail: String,
    /// Why io_uring was refused, when it was tried and refused.
    pub refusal: Option<String>,
}

impl fmt::Display for BackendReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.kind, self.detail)?;
        match &self.refusal {
            Some(refusal) => write!(f, ", because {refusal}"),
            None => Ok(()),
        }
    }
}

fn from_variable(value: Option<&OsStr>) -> Result<Backend, StartError> {
    let Some(value) = value else { return Ok(Backend::Auto) };
    value.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| StartError::Variable {
        name: VARIABLE,
        value: value.to_string_lossy().into_owned(),
        choices: CHOICES,
    })
}

const VARIABLE: &str = "QWORMHOLE_BACKEND";
const CHOICES: &str = "auto, io_uring, tokio";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_chooses_and_its_absence_means_auto() {
        assert_eq!(from_variable(None).unwrap(), Backend::Auto);
        for backend in [Backend::Auto, Backend::IoUring, Backend::Tokio] {
            assert_eq!(from_variable(Some(OsStr::new(&backend.to_string()))).unwrap(), backend);
        }
    }

    #[test]
    fn an_unknown_value_names_the_variable_and_the_choices() {
        for value in ["", "epoll", "Tokio", "io-uring"] {
            let text = from_variable(Some(OsStr::new(value))).unwrap_err().to_string();
            assert!(text.contains("QWORMHOLE_BACKEND") && text.contains("auto, io_uring, tokio"), "{text}");
        }
    }

    #[test]
    fn a_forced_backend_wins_over_the_environment() {
        assert_eq!(Backend::Tokio.resolve().unwrap(), Backend::Tokio);
        assert_eq!(Backend::IoUring.resolve().unwrap(), Backend::IoUring);
    }

    #[test]
    fn a_report_gives_the_reason() {
        let report = BackendReport {
            kind: BackendKind::Tokio,
            detail: "1 shard".into(),
            refusal: Some("io_uring is disabled".into()),
        };
        assert_eq!(report.to_string(), "tokio (1 shard), because io_uring is disabled");
    }
}
