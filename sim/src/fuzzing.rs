//! What the fuzzers run, as plain functions: a test on the stable toolchain replays the corpora and random
//! inputs through the same code. Every function panics when a rule is broken and returns otherwise.

mod bench;
mod connection_ops;
mod decoder_split;
mod differential;
mod endpoint_ops;
mod foyer;
mod guest;
mod handshake_json;
mod input;
mod kernel;
mod player;
mod reference;
mod tls_bytes;

pub use connection_ops::connection_ops;
pub use decoder_split::decoder_split;
pub use differential::differential;
pub use endpoint_ops::endpoint_ops;
pub use handshake_json::handshake_json;
pub use tls_bytes::tls_bytes;
