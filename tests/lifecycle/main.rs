//! Starting, stopping, dropping and growing, with nothing left behind.

#[path = "../support/mod.rs"]
mod support;

mod admission;
mod dropping;
mod embedding;
mod finishing;
mod half_open;
mod handles;
mod interface;
mod killed;
mod link;
mod many;
mod restarts;
mod server_wide;
mod shutdown;
mod slicing;
mod waiting;
