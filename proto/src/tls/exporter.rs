//! Keying material exported from a connection.

use super::option_error::TlsOptionError;

/// Which keying material both ends derive from a connection (RFC 5705, RFC 8446 section 7.5). Both must use the
/// same three values to get the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsExporter {
    /// The purpose, 1 to 249 bytes. Default `qwormhole-negentropic`.
    pub label: String,
    /// Length of the material in bytes, 1 to 8,160 (the most that TLS 1.3 can derive). Default 32.
    pub length: usize,
    /// Further input, up to 65,535 bytes. Default empty. It is always passed: to TLS 1.2 an empty context is not
    /// the same as none.
    pub context: Vec<u8>,
}

impl TlsExporter {
    pub(super) fn check(&self) -> Result<(), TlsOptionError> {
        let problem = if self.label.is_empty() || self.label.len() > LABEL_BYTES_MAX {
            format!("the label must have 1 to {LABEL_BYTES_MAX} bytes, not {}", self.label.len())
        } else if self.length == 0 || self.length > LENGTH_MAX {
            format!("the length must be 1 to {LENGTH_MAX} bytes, not {}", self.length)
        } else if self.context.len() > CONTEXT_BYTES_MAX {
            format!("the context must have at most {CONTEXT_BYTES_MAX} bytes, not {}", self.context.len())
        } else {
            return Ok(());
        };
        Err(TlsOptionError::new("tls.export_keying_material", problem))
    }
}

impl Default for TlsExporter {
    fn default() -> Self {
        Self { label: "qwormhole-negentropic".into(), length: 32, context: Vec::new() }
    }
}

/// A label of TLS 1.3 has at most 255 bytes, six of which are its prefix.
const LABEL_BYTES_MAX: usize = 249;
/// HKDF yields at most 255 blocks; the shortest hash has 32 bytes.
const LENGTH_MAX: usize = 255 * 32;
/// TLS 1.2 counts the context with two bytes.
const CONTEXT_BYTES_MAX: usize = 65_535;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_outside_their_range_name_the_option() {
        let good = TlsExporter::default();
        assert_eq!(good.check(), Ok(()));
        let bad = [
            TlsExporter { label: String::new(), ..good.clone() },
            TlsExporter { label: "l".repeat(250), ..good.clone() },
            TlsExporter { length: 0, ..good.clone() },
            TlsExporter { length: 8161, ..good.clone() },
            TlsExporter { context: vec![0; 65_536], ..good },
        ];
        for exporter in bad {
            assert_eq!(exporter.check().unwrap_err().option, "tls.export_keying_material");
        }
    }
}
