//! Options that cannot work.

/// A TLS option whose value cannot work: which one, and what would be right. Never contains key material.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("option `{option}`: {problem}")]
pub struct TlsOptionError {
    /// Name of the option: `tls.key`, `tls.ca`, ...
    pub option: &'static str,
    /// What is wrong with it and what would be accepted.
    pub problem: String,
}

impl TlsOptionError {
    pub(super) fn new(option: &'static str, problem: impl Into<String>) -> Self {
        Self { option, problem: problem.into() }
    }
}
