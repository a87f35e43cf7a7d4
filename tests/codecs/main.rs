//! Codecs: QWormhole's recorded bytes, and connections that carry values.

#![forbid(unsafe_code)]

#[path = "../support/mod.rs"]
mod support;

mod typed;
mod vectors;
