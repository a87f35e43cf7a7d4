//! The application's word on a handshake.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use super::payload::Handshake;
use super::tags::Tags;
use crate::peer::PeerInfo;

/// Decides about handshakes that passed every built-in check, the signature included.
///
/// A panic inside refuses the handshake. The handshake's deadline covers the verifier too.
#[derive(Clone)]
pub enum Verifier {
    /// Answers at once, on the shard's thread: it must not block.
    Sync(Arc<SyncVerify>),
    /// Answers later; what arrives meanwhile is held, bounded. The future is polled on the shard's thread.
    Async(Arc<AsyncVerify>),
}

/// The function behind [`Verifier::Sync`].
pub type SyncVerify = dyn Fn(&Handshake, &PeerInfo) -> bool + Send + Sync;
/// The function behind [`Verifier::Async`].
pub type AsyncVerify = dyn Fn(Handshake, PeerInfo) -> Answer + Send + Sync;
/// The future of an [`AsyncVerify`].
pub type Answer = Pin<Box<dyn Future<Output = bool> + Send>>;

impl Verifier {
    /// Of a function that answers at once.
    pub fn sync(verify: impl Fn(&Handshake, &PeerInfo) -> bool + Send + Sync + 'static) -> Self {
        Self::Sync(Arc::new(verify))
    }

    /// Of a function that answers later.
    pub fn future<F>(verify: impl Fn(Handshake, PeerInfo) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        Self::Async(Arc::new(move |handshake, peer| Box::pin(verify(handshake, peer)) as Answer))
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sync(_) => "Verifier::Sync",
            Self::Async(_) => "Verifier::Async",
        })
    }
}

/// Equal when it is the same function.
impl PartialEq for Verifier {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sync(a), Self::Sync(b)) => Arc::ptr_eq(a, b),
            (Self::Async(a), Self::Async(b)) => Arc::ptr_eq(a, b),
            (Self::Sync(_), Self::Async(_)) | (Self::Async(_), Self::Sync(_)) => false,
        }
    }
}

impl Eq for Verifier {}

type ValidateTags = dyn Fn(&Tags) -> bool + Send + Sync;

/// Makes a [`Verifier`] out of rules: versions, tags, a function over the tags. Without rules it accepts
/// everything. Also what the environment variables `QWORMHOLE_HANDSHAKE_ALLOWED_VERSIONS` and
/// `QWORMHOLE_HANDSHAKE_REQUIRED_TAGS` build.
#[derive(Clone, Default)]
pub struct HandshakeVerifier {
    allowed_versions: Vec<String>,
    required_tags: Vec<(String, Option<String>)>,
    validate_tags: Option<Arc<ValidateTags>>,
}

impl HandshakeVerifier {
    /// No rules.
    pub fn new() -> Self {
        Self::default()
    }

    /// Accepts these versions only, and none that is missing. Space around them and empty ones are ignored; an
    /// empty list is no rule.
    #[must_use]
    pub fn allowed_versions<S: AsRef<str>>(mut self, versions: impl IntoIterator<Item = S>) -> Self {
        self.allowed_versions.extend(entries(versions));
        self
    }

    /// Accepts only handshakes with these tags, each `key`, or `key=value` for a value too; numbers compare as
    /// JavaScript writes them. Space around them and empty ones are ignored.
    #[must_use]
    pub fn required_tags<S: AsRef<str>>(mut self, tags: impl IntoIterator<Item = S>) -> Self {
        self.required_tags.extend(entries(tags).map(|entry| match entry.split_once('=') {
            Some((key, value)) => (key.trim().into(), Some(value.trim().into())),
            None => (entry, None),
        }));
        self
    }

    /// Accepts only handshakes for whose tags this function answers true. The last one given counts.
    #[must_use]
    pub fn validate_tags(mut self, validate: impl Fn(&Tags) -> bool + Send + Sync + 'static) -> Self {
        self.validate_tags = Some(Arc::new(validate));
        self
    }

    /// Whether the rules accept this handshake.
    pub fn accepts(&self, handshake: &Handshake) -> bool {
        let version = handshake.version().and_then(|version| version.as_str());
        let version_fits = self.allowed_versions.is_empty()
            || version.is_some_and(|version| self.allowed_versions.iter().any(|allowed| allowed == version));
        let tags = handshake.tags();
        let has = |(key, wanted): &(String, Option<String>)| {
            let found = tags.get(key);
            found.is_some_and(|found| wanted.as_ref().is_none_or(|wanted| found.text() == *wanted))
        };
        version_fits
            && self.required_tags.iter().all(has)
            && self.validate_tags.as_ref().is_none_or(|validate| validate(&tags))
    }

    /// The verifier of these rules.
    pub fn build(self) -> Verifier {
        Verifier::sync(move |handshake, _| self.accepts(handshake))
    }
}

impl fmt::Debug for HandshakeVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandshakeVerifier")
            .field("allowed_versions", &self.allowed_versions)
            .field("required_tags", &self.required_tags)
            .field("validates_tags", &self.validate_tags.is_some())
            .finish()
    }
}

fn entries<S: AsRef<str>>(list: impl IntoIterator<Item = S>) -> impl Iterator<Item = String> {
    list.into_iter().map(|entry| entry.as_ref().trim().to_string()).filter(|entry| !entry.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake(keys: &str) -> Handshake {
        Handshake::parse(format!("{{\"type\":\"handshake\"{keys}}}").as_bytes()).unwrap()
    }

    #[test]
    fn versions_are_a_list_that_a_missing_version_is_not_on() {
        let rules = HandshakeVerifier::new().allowed_versions(["1.0", " 2.0 ", ""]);
        assert!(rules.accepts(&handshake(",\"version\":\"2.0\"")));
        assert!(!rules.accepts(&handshake(",\"version\":\"3.0\"")));
        assert!(!rules.accepts(&handshake("")));
        assert!(HandshakeVerifier::new().allowed_versions([""; 2]).accepts(&handshake("")));
    }

    #[test]
    fn required_tags_compare_as_text() {
        let rules = |tags: &[&str]| HandshakeVerifier::new().required_tags(tags.iter().copied());
        let tagged = handshake(",\"tags\":{\"a\":\"b=c\",\"n\":1.50,\"empty\":\"\"}");
        for (tags, accepted) in [
            (&["a", "n", "empty"][..], true),
            (&["a=b=c", " n = 1.5 ", "empty=", ""][..], true),
            (&["n=1.50"][..], false),
            (&["a", "gone"][..], false),
            (&["a=B"][..], false),
        ] {
            assert_eq!(rules(tags).accepts(&tagged), accepted, "{tags:?}");
        }
        assert!(!rules(&["a"]).accepts(&handshake("")));
    }

    #[test]
    fn a_function_over_the_tags_has_the_last_word() {
        let rules = HandshakeVerifier::new().required_tags(["a"]).validate_tags(|tags| tags.len() == 1);
        assert!(rules.accepts(&handshake(",\"tags\":{\"a\":1}")));
        assert!(!rules.accepts(&handshake(",\"tags\":{\"a\":1,\"b\":1}")));
    }
}
