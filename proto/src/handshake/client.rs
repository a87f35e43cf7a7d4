//! What a client says first.

use std::fmt;
use std::sync::Arc;

use super::fault::HandshakeFault;
use super::json::{Json, JsonObject};
use super::payload::{HANDSHAKE_BYTES_MAX, Handshake};
use super::signer::{HandshakeSigner, SigningMoment};
use super::tags::{Tag, Tags};
use crate::error::ConfigError;

/// The handshake of a client. One that has none sends none: QWormhole sends a handshake exactly when a protocol
/// version is configured.
#[derive(Clone)]
#[non_exhaustive]
pub struct ClientHandshake {
    /// Version of the application's protocol; not empty. The server compares it letter by letter.
    pub protocol_version: String,
    /// The application's tags. None by default; without any, the key is left out.
    pub tags: Tags,
    /// Capabilities that the client announces. None by default; without any, the key is left out.
    pub caps: JsonObject,
    /// Signs, or adds keys of its own. None by default.
    pub signer: Option<Arc<dyn HandshakeSigner>>,
}

impl ClientHandshake {
    /// A plain handshake of this version.
    pub fn new(protocol_version: impl Into<String>) -> Self {
        Self {
            protocol_version: protocol_version.into(),
            tags: Tags::new(),
            caps: JsonObject::new(),
            signer: None,
        }
    }

    /// With a tag more.
    #[must_use]
    pub fn tag(mut self, name: &str, value: impl Into<Tag>) -> Self {
        self.tags.set(name, value);
        self
    }

    /// With a signer.
    #[must_use]
    pub fn signer(mut self, signer: impl HandshakeSigner + 'static) -> Self {
        self.signer = Some(Arc::new(signer));
        self
    }

    /// With the request for an acknowledgement, `caps.ack`. Servers that do not know it send none.
    #[must_use]
    pub fn ask_ack(mut self) -> Self {
        self.caps.insert("ack", true);
        self
    }

    /// Whether an acknowledgement is asked for.
    pub fn wants_ack(&self) -> bool {
        self.caps.get("ack") == Some(&Json::Bool(true))
    }

    /// Checks what can be checked before there is a connection: the version, the tags and the capabilities.
    ///
    /// # Errors
    ///
    /// Names the option at fault and what would be accepted.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let (option, fix) = if self.protocol_version.is_empty() {
            ("protocol_version", "must not be empty")
        } else if self.tags.iter().any(|(_, tag)| matches!(tag, Tag::Number(number) if !number.is_finite())) {
            ("handshake_tags", "numbers must be finite")
        } else if self.merged(JsonObject::new(), &[]).and_then(finished).is_err() {
            ("handshake_tags", "tags and capabilities must make a valid handshake of at most 64 KiB")
        } else {
            return Ok(());
        };
        Err(ConfigError { option, fix })
    }

    /// The payload of the handshake frame. `tls_tags` are the transport's own tags, see
    /// [`TlsFacts::handshake_tags`](crate::TlsFacts::handshake_tags); they win over tags of the same name, so no option can fake them. The
    /// signer signs last: nothing is merged after the signature.
    ///
    /// # Errors
    ///
    /// Names the key, of the options or of the signer, that no handshake may have; nothing should be sent then.
    pub fn encode(
        &self,
        tls_tags: &[(&str, String)],
        unix_ms: u64,
        random: [u8; 16],
    ) -> Result<Vec<u8>, HandshakeFault> {
        let signer = self.signer.as_deref();
        let moment = SigningMoment { unix_ms, random };
        let keys = signer.map_or_else(JsonObject::new, |signer| signer.keys(&moment));
        let handshake = self.merged(keys, tls_tags)?;
        let seal = signer.map_or_else(JsonObject::new, |signer| signer.seal(&handshake));
        if seal.is_empty() {
            return finished(handshake);
        }
        let mut sealed = handshake.as_object().clone();
        sealed.overlay(seal);
        finished(Handshake::from_object(sealed)?)
    }

    /// Everything but the seal.
    fn merged(&self, mut keys: JsonObject, tls_tags: &[(&str, String)]) -> Result<Handshake, HandshakeFault> {
        let version = keys.remove("version").filter(|version| *version != Json::Null);
        let mut tags = merge(self.tags.as_object(), keys.remove("tags"), "tags")?;
        let caps = merge(&self.caps, keys.remove("caps"), "caps")?;
        tls_tags.iter().for_each(|(name, value)| tags.insert(*name, value.as_str()));
        let mut object: JsonObject = [("type", "handshake")].into_iter().collect();
        object.overlay(keys);
        object.insert("version", version.unwrap_or_else(|| self.protocol_version.as_str().into()));
        for (key, merged) in [("tags", tags), ("caps", caps)] {
            if !merged.is_empty() {
                object.insert(key, merged);
            }
        }
        Handshake::from_object(object)
    }
}

impl fmt::Debug for ClientHandshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientHandshake")
            .field("protocol_version", &self.protocol_version)
            .field("tags", &self.tags)
            .field("caps", &self.caps)
            .field("has_signer", &self.signer.is_some())
            .finish()
    }
}

/// Equal when the same signer signs the same content.
impl PartialEq for ClientHandshake {
    fn eq(&self, other: &Self) -> bool {
        let same_signer = match (&self.signer, &other.signer) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, Some(_)) | (Some(_), None) => false,
        };
        same_signer
            && self.protocol_version == other.protocol_version
            && self.tags == other.tags
            && self.caps == other.caps
    }
}

/// Lays the signer's object over the configured one.
fn merge(own: &JsonObject, over: Option<Json>, key: &str) -> Result<JsonObject, HandshakeFault> {
    let mut merged = own.clone();
    match over {
        None | Some(Json::Null) => {}
        Some(Json::Object(over)) => merged.overlay(over),
        Some(_) => return Err(HandshakeFault::at(&[key], "an object")),
    }
    Ok(merged)
}

/// The bytes, unless they are more than a server of ours accepts.
fn finished(handshake: Handshake) -> Result<Vec<u8>, HandshakeFault> {
    let payload = handshake.encode();
    if payload.len() > HANDSHAKE_BYTES_MAX {
        return Err(HandshakeFault::TooLarge { len: payload.len(), limit: HANDSHAKE_BYTES_MAX });
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_found_before_there_is_a_connection() {
        let fault = |client: ClientHandshake| client.validate().map_err(|error| error.option);
        assert_eq!(fault(ClientHandshake::new("1.0.0").tag("a", 1).ask_ack()), Ok(()));
        assert_eq!(fault(ClientHandshake::new("")), Err("protocol_version"));
        assert_eq!(fault(ClientHandshake::new("1").tag("a", f64::NAN)), Err("handshake_tags"));
        assert_eq!(fault(ClientHandshake::new("1").tag("a", "x".repeat(1 << 16))), Err("handshake_tags"));
    }

    #[test]
    fn tags_and_capabilities_of_all_sources_are_merged_the_transport_wins() {
        let signer = |_: &SigningMoment| {
            let object = |text: &str| {
                let limits = super::super::json::JsonLimits { bytes_max: 1000, depth_max: 9 };
                super::super::json::parse(text.as_bytes(), limits).unwrap()
            };
            let mut keys = JsonObject::new();
            keys.insert("tags", object(r#"{"b":2,"tlsAlpn":"faked","c":3}"#));
            keys.insert("caps", object(r#"{"x":true}"#));
            keys.insert("version", Json::Null);
            keys
        };
        let client = ClientHandshake::new("1").tag("a", 1).tag("b", 1).ask_ack().signer(signer);
        let payload = client.encode(&[("tlsAlpn", "real".into())], 0, [0; 16]).unwrap();
        let expected = "{\"type\":\"handshake\",\"version\":\"1\",\"caps\":{\"ack\":true,\"x\":true},\
            \"tags\":{\"a\":1,\"b\":2,\"tlsAlpn\":\"real\",\"c\":3}}";
        assert_eq!(String::from_utf8(payload).unwrap(), expected);
    }
}
