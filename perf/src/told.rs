//! An error in one line.

use anyhow::Error;

/// The error and its causes, without those that a text before them tells already: some errors name their cause in
/// their own text, others leave it to whoever prints them.
pub(crate) fn once(error: &Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if told.is_empty() {
            told = cause;
        } else if !told.contains(&cause) {
            told.push_str(": ");
            told.push_str(&cause);
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let taken = || io::Error::from_raw_os_error(98);
        let silent = Error::new(taken()).context("cannot listen");
        assert_eq!(once(&silent), format!("cannot listen: {}", taken()));
        let telling = Error::new(taken()).context(format!("cannot listen: {}", taken())).context("no server");
        assert_eq!(once(&telling), format!("no server: cannot listen: {}", taken()));
    }
}
