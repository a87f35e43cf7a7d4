//! How a server comes about and ends.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use qwormhole::{Address, CloseReason, PeerInfo, Server, StartError, Telemetry};

use crate::facts::{NotStarted, Rejected, to_json};
use crate::feed::Feed;
use crate::inlet::{Inlet, Kind};
use crate::lane::Lane;
use crate::options::Wishes;

/// A server from `listen` to its end. Starting and stopping block, so that threads do both; what comes of it is told
/// through the inlet, `Stopped` or `Failed` exactly once.
#[derive(Default)]
pub(crate) struct Serving(Mutex<State>);

#[derive(Default)]
enum State {
    #[default]
    Starting,
    /// Asked to stop before it had started.
    Unwanted,
    Running(Box<Server>),
    Over,
}

impl Serving {
    /// Starts listening.
    pub(crate) fn start(self: &Arc<Self>, inlet: &Arc<Inlet>, wishes: Wishes) {
        let (serving, own_inlet) = (self.clone(), inlet.clone());
        let run = move || match catch_unwind(AssertUnwindSafe(|| start(&own_inlet, &wishes))) {
            Ok(Ok((server, address))) => serving.started(&own_inlet, server, &address),
            Ok(Err(failure)) => own_inlet.begin(Kind::Failed, failure),
            Err(_) => own_inlet.begin(Kind::Failed, failure("E_PANIC", "listening panicked")),
        };
        if let Err(error) = thread::Builder::new().name("qwormhole-listen".into()).spawn(run) {
            inlet.begin(Kind::Failed, failure("E_THREAD", &error.to_string()));
        }
    }

    /// Stops accepting, lets what is queued leave within `grace`, and ends.
    pub(crate) fn stop(self: &Arc<Self>, inlet: &Arc<Inlet>, grace: Duration) {
        let mut state = self.lock();
        let server = match mem::replace(&mut *state, State::Over) {
            State::Running(server) => server,
            State::Starting | State::Unwanted => {
                *state = State::Unwanted;
                return;
            }
            State::Over => return,
        };
        drop(state);
        let own_inlet = inlet.clone();
        let run = move || {
            server.shutdown(grace);
            own_inlet.push_event(None, Kind::Stopped, String::new());
        };
        // A system without a thread to spare drops the server, which ends at once.
        if thread::Builder::new().name("qwormhole-stop".into()).spawn(run).is_err() {
            inlet.push_event(None, Kind::Stopped, String::new());
        }
    }

    /// Ends at once, and waits until the threads have ended.
    pub(crate) fn abandon(&self) {
        let ended = mem::replace(&mut *self.lock(), State::Over);
        drop(ended);
    }

    /// Counters since the start; `None` unless it runs.
    pub(crate) fn telemetry(&self) -> Option<Telemetry> {
        match &*self.lock() {
            State::Running(server) => Some(server.snapshot()),
            _ => None,
        }
    }

    fn started(self: &Arc<Self>, inlet: &Arc<Inlet>, server: Server, address: &str) {
        let mut state = self.lock();
        match *state {
            State::Starting => {
                inlet.begin(Kind::Listening, address.to_owned());
                *state = State::Running(Box::new(server));
            }
            State::Unwanted => {
                *state = State::Over;
                drop(state);
                server.shutdown(Duration::ZERO);
                inlet.begin(Kind::Stopped, String::new());
            }
            // The environment is gone.
            State::Running(_) | State::Over => {
                drop(state);
                drop(server);
            }
        }
    }

    /// Held for the length of a move, or of reading counters.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The server and where it listens, as JSON.
fn start(inlet: &Arc<Inlet>, wishes: &Wishes) -> Result<(Server, String), String> {
    let option = |message: String| failure("E_OPTION", &message);
    let failed = |error: StartError| to_json(&NotStarted::of(&error));
    let framing = wishes.framing();
    let mut builder = wishes.runtime().map_err(failed)?.server();
    builder = builder.limits(wishes.limits()).framing(framing).rate_limit(wishes.rate_limit());
    builder = builder.sockets(wishes.sockets().map_err(option)?).allow_half_open(wishes.allow_half_open);
    builder = builder.shards(wishes.shards.unwrap_or(1));
    if let Some(max) = wishes.max_clients.filter(|max| *max >= 1.0) {
        builder = builder.max_connections(max.min(CLIENTS_MAX) as usize);
    }
    if let Some(tls) = &wishes.tls {
        builder = builder.tls(tls.of_server());
    }
    if let Some(policy) = wishes.policy() {
        builder = builder.handshake(policy);
    }
    let told = inlet.clone();
    builder = builder.on_reject(move |peer: &PeerInfo, reason: &CloseReason| {
        told.push_event(None, Kind::Rejected, to_json(&Rejected::of(peer, reason)));
    });
    let address = wishes.address().map_err(|error| option(error.to_string()))?;
    let builder = builder.bind(address).map_err(|error| option(error.to_string()))?;
    let (inlet, queue_bytes_max) = (inlet.clone(), wishes.queue_bytes_max());
    let server =
        builder.start(move |_peer: &PeerInfo| Feed::new(&inlet, &Lane::new(queue_bytes_max), framing));
    let server = server.map_err(failed)?;
    let address = server.local_addrs().first().map(listening).unwrap_or_default();
    Ok((server, address))
}

fn failure(code: &str, message: &str) -> String {
    serde_json::json!({ "code": code, "message": message }).to_string()
}

fn listening(address: &Address) -> String {
    let place = match address {
        Address::Tcp { host, port } | Address::Tls { host, port } => {
            let family = if host.contains(':') { "IPv6" } else { "IPv4" };
            serde_json::json!({ "address": host, "port": port, "family": family })
        }
        other => {
            serde_json::json!({ "address": other.to_string().trim_start_matches("unix:"), "family": "unix" })
        }
    };
    place.to_string()
}

/// As many as a shard can have.
const CLIENTS_MAX: f64 = 16_777_216.0;
