//! qwormhole for Node.js: the native half of the npm package. It translates and decides nothing: rules live in
//! `qwormhole-proto`, and what JavaScript sees is written in JavaScript (`node/js`), which this module carries.
//!
//! The crossing is built on what it costs: creating V8 objects from native code is dear, a view that JavaScript
//! makes is not. So everything that arrives waits in an `inlet`, one wake-up tells JavaScript when that is no
//! longer empty, and JavaScript then pulls batches into memory of its own. What it sends comes back in batches, too.
//!
//! | file | what it is |
//! |---|---|
//! | `hub` | wakes one JavaScript environment; knows everything that is to end with it |
//! | `inlet` | what arrived for one client or server and was not pulled yet, within bounds |
//! | `lane` | one connection as both sides see it |
//! | `feed` | the handler that moves a connection's messages into its inlet |
//! | `source` | a client or server, as JavaScript calls it |
//! | `serving`, `dialing` | how a server and a client come about and end |
//! | `options`, `tls`, `facts` | what JavaScript asks for, and what it is told |

#![deny(unsafe_code)]

mod dialing;
mod facts;
mod feed;
mod fulfil;
mod hub;
mod inlet;
mod lane;
pub mod module;
mod options;
mod serving;
pub mod source;
mod sys;
mod tls;

/// Batches are allocated on one thread and freed on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
