//! Connections whose peers, or whose own options, hold them back: rates, stalled readers, what waits meanwhile.

#[path = "../support/mod.rs"]
mod support;

mod rate;
mod stalled;
