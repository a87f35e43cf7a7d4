//! What can go wrong between bytes and values.

use std::error::Error;
use std::io;

use bytes::Bytes;
use qwormhole_proto::SendErrorKind;

use crate::error::RecvError;

/// Why a value could not be encoded, or a message not decoded.
///
/// The text of a library's error may show a piece of the message; who logs it logs payload.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// A text message is not UTF-8.
    #[error("not UTF-8 from byte {offset} on")]
    NotUtf8 {
        /// How many bytes are valid before the first that is not.
        offset: usize,
    },
    /// Not JSON, or not of the expected type.
    #[error("JSON: {0}")]
    Json(#[source] Box<dyn Error + Send + Sync>),
    /// Not CBOR, or not of the expected type.
    #[error("CBOR: {0}")]
    Cbor(#[source] Box<dyn Error + Send + Sync>),
    /// Something follows the value: a message holds one.
    #[error("the value ends at byte {offset}, but the message goes on")]
    Trailing {
        /// Length of the value in bytes.
        offset: usize,
    },
    /// A codec of somebody else's refused.
    #[error(transparent)]
    Custom(Box<dyn Error + Send + Sync>),
}

impl CodecError {
    /// For codecs of one's own.
    pub fn custom(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Custom(source.into())
    }
}

/// Why [`TypedConnection::recv`](super::TypedConnection::recv) has no value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TypedRecvError {
    /// This message is not an encoded value; the connection goes on with the next one.
    #[error("message of {} bytes: {source}", message.len())]
    Decode {
        /// The codec's reason.
        source: CodecError,
        /// The message as it came.
        message: Bytes,
    },
    /// The connection ended with an error; every message before it was delivered.
    #[error(transparent)]
    Ended(#[from] RecvError),
}

/// Why a value was not sent. It was borrowed, so the caller still has it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TypedSendError {
    /// The value has no encoded form; nothing was sent, the connection goes on.
    #[error(transparent)]
    Encode(#[from] CodecError),
    /// The connection did not accept the encoded message.
    #[error(transparent)]
    Refused(#[from] SendErrorKind),
}

impl TypedSendError {
    /// Whether the same value may be accepted later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Refused(SendErrorKind::Full))
    }
}

impl From<CodecError> for io::Error {
    fn from(error: CodecError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

impl From<TypedRecvError> for io::Error {
    fn from(error: TypedRecvError) -> Self {
        match error {
            TypedRecvError::Ended(ended) => ended.into(),
            undecoded @ TypedRecvError::Decode { .. } => Self::new(io::ErrorKind::InvalidData, undecoded),
        }
    }
}

impl From<TypedSendError> for io::Error {
    fn from(error: TypedSendError) -> Self {
        match error {
            TypedSendError::Refused(refused) => refused.into(),
            TypedSendError::Encode(refused) => Self::new(io::ErrorKind::InvalidInput, refused),
        }
    }
}
