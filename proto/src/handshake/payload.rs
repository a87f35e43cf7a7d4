//! The content of a handshake frame.

use super::fault::HandshakeFault;
use super::json::{JsString, Json, JsonLimits, JsonObject, canonical, parse, stringify};
use super::schema::{normalize, timestamp};
use super::tags::Tags;

/// A handshake that keeps the schema: every known key holds what it may, unknown ones are kept as they are.
/// Keys are in the order of the wire.
#[derive(Clone, Debug, PartialEq)]
pub struct Handshake(JsonObject);

impl Handshake {
    /// Reads a handshake of at most [`HANDSHAKE_BYTES_MAX`] and [`HANDSHAKE_DEPTH_MAX`]. Never panics.
    ///
    /// # Errors
    ///
    /// Says whether the payload is no JSON, exceeds a bound, or which key is at fault.
    pub fn parse(payload: &[u8]) -> Result<Self, HandshakeFault> {
        Self::parse_within(payload, HANDSHAKE_BYTES_MAX)
    }

    /// As [`Handshake::parse`], with another bound on the length in bytes. Memory and time are linear in the
    /// length: about 64 bytes of memory per byte at worst, while it is read.
    ///
    /// # Errors
    ///
    /// As [`Handshake::parse`].
    pub fn parse_within(payload: &[u8], bytes_max: usize) -> Result<Self, HandshakeFault> {
        match parse(payload, JsonLimits { bytes_max, depth_max: HANDSHAKE_DEPTH_MAX })? {
            Json::Object(object) => normalize(object).map(Self),
            _ => Err(HandshakeFault::at(&[], "an object")),
        }
    }

    /// The handshake of these keys.
    ///
    /// # Errors
    ///
    /// Names the key at fault, or the depth.
    pub fn from_object(object: JsonObject) -> Result<Self, HandshakeFault> {
        if object.is_deeper_than(HANDSHAKE_DEPTH_MAX) {
            return Err(HandshakeFault::TooDeep { limit: HANDSHAKE_DEPTH_MAX });
        }
        normalize(object).map(Self)
    }

    /// The payload of the frame: compact JSON in UTF-8.
    pub fn encode(&self) -> Vec<u8> {
        stringify(&Json::Object(self.0.clone())).into_bytes()
    }

    /// What a signature covers: the canonical text of everything but `signature`.
    pub fn canonical_unsigned(&self) -> String {
        let mut unsigned = self.0.clone();
        unsigned.remove("signature");
        canonical(&Json::Object(unsigned))
    }

    /// The value of any key.
    pub fn get(&self, key: &str) -> Option<&Json> {
        self.0.get(key)
    }

    /// The version of the application's protocol.
    pub fn version(&self) -> Option<&JsString> {
        self.get("version").and_then(Json::as_string)
    }

    /// When it was made, in ms of Unix time.
    pub fn ts(&self) -> Option<u64> {
        self.get("ts").and_then(timestamp)
    }

    /// The tags; none is the same as empty.
    pub fn tags(&self) -> Tags {
        Tags::checked(self.get("tags").and_then(Json::as_object).cloned().unwrap_or_default())
    }

    /// The key's negentropic index, as the peer states it.
    pub fn n_index(&self) -> Option<f64> {
        self.get("nIndex").and_then(Json::as_number)
    }

    /// Whether the client asked for an acknowledgement: `caps.ack` is `true`.
    pub fn wants_ack(&self) -> bool {
        let caps = self.get("caps").and_then(Json::as_object);
        caps.and_then(|caps| caps.get("ack")) == Some(&Json::Bool(true))
    }

    /// All keys.
    pub const fn as_object(&self) -> &JsonObject {
        &self.0
    }
}

/// Longest handshake that is accepted or made, in bytes: 64 KiB.
pub const HANDSHAKE_BYTES_MAX: usize = 64 << 10;

/// Deepest nesting of a handshake, itself included: 32 levels.
pub const HANDSHAKE_DEPTH_MAX: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        match Handshake::parse(text.as_bytes()) {
            Ok(handshake) => format!("accepted: {handshake:?}"),
            Err(HandshakeFault::Payload { path, .. }) => path,
            Err(other) => other.name().into(),
        }
    }

    fn with(keys: &str) -> String {
        format!("{{\"type\":\"handshake\",{keys}}}")
    }

    #[test]
    fn each_violation_names_its_key() {
        for (text, path) in [
            ("[]", ""),
            ("null", ""),
            ("{}", "type"),
            ("{\"type\":\"nope\"}", "type"),
            ("{\"type\":1}", "type"),
            ("hello", "not-json"),
        ] {
            assert_eq!(fault(text), path, "{text}");
        }
        for (keys, path) in [
            (r#""version":"""#, "version"),
            (r#""version":1"#, "version"),
            (r#""version":null"#, "version"),
            (r#""sid":"""#, "sid"),
            (r#""sig":false"#, "sig"),
            (r#""negHash":"""#, "negHash"),
            (r#""ts":-1"#, "ts"),
            (r#""ts":1.5"#, "ts"),
            (r#""ts":1e300"#, "ts"),
            (r#""ts":9007199254740992"#, "ts"),
            (r#""ts":"1""#, "ts"),
            (r#""nIndex":"1""#, "nIndex"),
            (r#""nIndex":1e999"#, "nIndex"),
            (r#""tags":[]"#, "tags"),
            (r#""tags":null"#, "tags"),
            (r#""tags":{"a":1,"x":true}"#, "tags.x"),
            (r#""tags":{"x":null}"#, "tags.x"),
            (r#""tags":{"x":1e999}"#, "tags.x"),
            (r#""caps":1"#, "caps"),
            (r#""caps":{"x":{"y":[null]}}"#, "caps.x"),
            (r#""nv":"""#, "nv"),
            (r#""nv":[]"#, "nv"),
            (r#""nv":{"hash":""}"#, "nv.hash"),
            (r#""nv":{"entropy":-1}"#, "nv.entropy"),
            (r#""nv":{"vector":[1,"2"]}"#, "nv.vector"),
            (r#""entropyMetrics":1"#, "entropyMetrics"),
            (r#""entropyMetrics":{"entropy":-0.1}"#, "entropyMetrics.entropy"),
            (r#""entropyMetrics":{"entropyVelocity":"fast"}"#, "entropyMetrics.entropyVelocity"),
            (r#""entropyMetrics":{"coherence":"High"}"#, "entropyMetrics.coherence"),
            (r#""entropyMetrics":{"negIndex":1.1}"#, "entropyMetrics.negIndex"),
        ] {
            assert_eq!(fault(&with(keys)), path, "{keys}");
        }
    }

    #[test]
    fn what_the_schema_allows_is_kept_and_put_in_the_order_of_the_wire() {
        let text = r#"{"zeta":[null],"entropyMetrics":{"x":1,"negIndex":0,"entropy":0},"nIndex":-3,"tags":{},
            "ts":9007199254740991,"nv":{"more":{},"vector":[],"hash":"h"},"caps":{"a":[true,{"b":"c"}],"ack":true},
            "version":"1","alpha":null,"7":0,"type":"handshake"}"#;
        let handshake = Handshake::parse(text.as_bytes()).unwrap();
        let expected = "{\"7\":0,\"type\":\"handshake\",\"version\":\"1\",\"caps\":{\"a\":[true,{\"b\":\"c\"}],\
            \"ack\":true},\"nv\":{\"hash\":\"h\",\"vector\":[],\"more\":{}},\"ts\":9007199254740991,\"tags\":{},\
            \"nIndex\":-3,\"entropyMetrics\":{\"entropy\":0,\"negIndex\":0,\"x\":1},\"zeta\":[null],\
            \"alpha\":null}";
        assert_eq!(String::from_utf8(handshake.encode()).unwrap(), expected);
        assert!(handshake.wants_ack());
        assert_eq!(handshake.ts(), Some(9_007_199_254_740_991));
        assert_eq!(Handshake::parse(&handshake.encode()), Ok(handshake));
    }

    #[test]
    fn the_length_and_depth_are_bounded() {
        let long = with(&format!("\"x\":\"{}\"", "y".repeat(HANDSHAKE_BYTES_MAX)));
        assert_eq!(fault(&long), "too-large");
        assert_eq!(fault(&with(&format!("\"x\":{}", "[".repeat(1000)))), "too-deep");
        let nested = |levels: usize| (0..levels).fold(Json::Null, |inner, _| Json::Array(vec![inner]));
        let object = |levels| {
            let mut object: JsonObject = [("type", "handshake")].into_iter().collect();
            object.insert("x", nested(levels));
            Handshake::from_object(object)
        };
        assert!(object(31).is_ok());
        assert_eq!(object(32), Err(HandshakeFault::TooDeep { limit: 32 }));
    }
}
