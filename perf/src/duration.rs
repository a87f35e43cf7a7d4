//! Spans of time as the command line writes them.

use std::time::Duration;

use anyhow::{Result, bail};

/// Reads `2`, `2s`, `1.5s` or `500ms`; at most one day.
///
/// # Errors
///
/// Says what would be accepted.
pub(crate) fn parse_duration(text: &str) -> Result<Duration> {
    let (number, scale) = match text.strip_suffix("ms") {
        Some(number) => (number, 1e-3),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let seconds = number.parse::<f64>().ok().filter(|_| plain).map(|value| value * scale);
    match seconds {
        Some(seconds) if seconds <= 86_400.0 => Ok(Duration::from_secs_f64(seconds)),
        Some(_) => bail!("`{text}` is longer than a day"),
        None => bail!("`{text}` is no duration; write 2, 2s, 1.5s or 500ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_milliseconds_are_read() {
        assert_eq!(parse_duration("2").unwrap(), Duration::from_secs(2));
        assert_eq!(parse_duration("2s").unwrap(), Duration::from_secs(2));
        assert_eq!(parse_duration("1.5s").unwrap(), Duration::from_millis(1500));
        assert_eq!(parse_duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(parse_duration("0").unwrap(), Duration::ZERO);
    }

    #[test]
    fn anything_else_is_refused_with_examples() {
        for bad in ["", "s", "ms", "-1", "+1", "2m", "1e3", "inf", "NaN", "2 s", "1.2.3", "99999999999"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert!(parse_duration("soon").unwrap_err().to_string().contains("500ms"));
    }
}
