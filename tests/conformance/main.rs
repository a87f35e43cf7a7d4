//! Every backend speaks the same protocol, over IPv4, IPv6 and unix sockets, to plain peers.

#[path = "../support/mod.rs"]
mod support;

mod closing;
mod delivery;
mod flood;
mod handshake_defects;
mod handshake_frames;
mod sandbox;
mod server_behaviour;
mod vectors;
