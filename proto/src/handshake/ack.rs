//! The server's answer to a client that asked for one: an extension of ours.

use super::json::{Json, JsonLimits, JsonObject, parse, stringify};

/// The acknowledgement: the first frame from a server to a client whose handshake had `caps.ack`, sent when the
/// handshake is accepted and before any message. Servers that do not know the extension send none, and a client
/// that asked then ends the connection; clients that do not ask never get one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandshakeAck {
    /// The server's version of the application's protocol, if it has one.
    pub version: Option<String>,
}

impl HandshakeAck {
    /// Longest acknowledgement that is read, in bytes.
    pub const BYTES_MAX: usize = 4096;

    /// The payload of the frame: `{"type":"handshake-ack","version":"1.0.0"}`.
    pub fn encode(&self) -> Vec<u8> {
        let mut object: JsonObject = [("type", KIND)].into_iter().collect();
        if let Some(version) = &self.version {
            object.insert("version", version.as_str());
        }
        stringify(&object.into()).into_bytes()
    }

    /// Reads a server's first frame; `None` if it is no acknowledgement but an ordinary message of a server
    /// that does not know the extension, which the session takes for a refusal. Frames longer than
    /// [`HandshakeAck::BYTES_MAX`] are not looked at.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let value = parse(payload, LIMITS).ok()?;
        let object = value.as_object()?;
        if object.get("type").and_then(Json::as_string).is_none_or(|kind| *kind != KIND) {
            return None;
        }
        let version = object.get("version").and_then(Json::as_string);
        Some(Self { version: version.map(|version| version.to_string_lossy().into_owned()) })
    }
}

const KIND: &str = "handshake-ack";
const LIMITS: JsonLimits = JsonLimits { bytes_max: HandshakeAck::BYTES_MAX, depth_max: 4 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_comes_back_and_nothing_else_is_taken_for_one() {
        for ack in [HandshakeAck::default(), HandshakeAck { version: Some("1.0.0".into()) }] {
            assert_eq!(HandshakeAck::parse(&ack.encode()), Some(ack));
        }
        for other in ["", "hello", "[]", "{}", "{\"type\":\"handshake\"}", "{\"type\":[[[[]]]]}"] {
            assert_eq!(HandshakeAck::parse(other.as_bytes()), None, "{other}");
        }
        assert_eq!(HandshakeAck::parse(&vec![b' '; 5000]), None);
    }
}
