//! Starting, stopping, dropping and growing, with nothing left behind.

#[path = "../support/mod.rs"]
mod support;

mod dropping;
mod embedding;
mod handles;
mod link;
mod many;
mod restarts;
mod shutdown;
