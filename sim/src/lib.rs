//! Deterministic simulator of qwormhole's protocol core: the third driver of `qwormhole-proto`, beside
//! io_uring and tokio.
//!
//! Time is a counter, the network is a seeded model of TCP: random segment sizes, delays and stalls, partial
//! sends, tiny windows, half-closes and resets that destroy what was under way. Everything that happens is a
//! function of the seed, so a failing seed replays to the letter; [`Log::digest`] tells two runs apart.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use qwormhole_proto::{Config, Context, Endpoint, Handler, Message, PeerInfo};
//! use qwormhole_sim::{Conditions, Simulation};
//!
//! struct Echo;
//! impl Handler for Echo {
//!     fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
//!         conn.reply(message).ok();
//!     }
//! }
//!
//! let mut sim = Simulation::new(7);
//! let server = sim.add_host();
//! let listener = sim.listen(server, Endpoint::new(10), Arc::new(Config::default()), |_: &PeerInfo| Echo);
//! let conditions = Conditions::random(sim.rng());
//! let client = sim.connect_raw(listener, conditions);
//! sim.raw_send(client, b"\0\0\0\x02hi");
//! sim.raw_shutdown(client);
//! sim.run(Duration::from_secs(60));
//! assert_eq!(sim.raw(client).received(), b"\0\0\0\x02hi");
//! ```

#![forbid(unsafe_code)]

mod conditions;
mod driver;
mod event;
pub mod fuzzing;
mod host;
mod log;
mod network;
mod peer;
mod pipe;
mod raw;
mod simulation;

pub use conditions::Conditions;
pub use event::PeerId;
pub use host::{HostId, ListenerId};
pub use log::{Entry, Log, What};
pub use raw::{Raw, RawEnd};
pub use simulation::{Outcome, Simulation};
