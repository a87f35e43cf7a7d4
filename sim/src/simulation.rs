//! The virtual clock and everything that turns with it.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use qwormhole_proto::{
    Config, ConnId, Endpoint, Handler, Owner, PeerAddr, PeerInfo, Service, Session, ShardStats, Time,
};

use crate::conditions::Conditions;
use crate::event::{Event, EventQueue, PeerId};
use crate::host::{Host, HostId, Listener, ListenerId, Mailbox};
use crate::log::{Entry, Log, What};
use crate::peer::{AnySession, Connecting, Peer, User};
use crate::raw::Raw;

/// Shards, connections between them and a clock that jumps from event to event.
///
/// Everything random comes from the one generator that the seed started, scenarios' own choices included
/// ([`Simulation::rng`]), so a run is a function of the seed and the scenario's code.
pub struct Simulation {
    seed: u64,
    pub(crate) now: Time,
    pub(crate) rng: Rng,
    pub(crate) events: EventQueue,
    pub(crate) hosts: Vec<Host>,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) peers: Vec<Peer>,
    mailbox: Arc<Mailbox>,
    scripts: Vec<Option<Script>>,
    log: Log,
}

type Script = Box<dyn FnOnce(&mut Simulation)>;

/// Why a run came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is left that could happen.
    Idle,
    /// The time was up first.
    Deadline,
}

impl Simulation {
    /// An empty world at time zero.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            now: Time::ZERO,
            rng: Rng::with_seed(seed),
            events: EventQueue::default(),
            hosts: Vec::new(),
            listeners: Vec::new(),
            peers: Vec::new(),
            mailbox: Arc::default(),
            scripts: Vec::new(),
            log: Log::new(),
        }
    }

    /// The seed, to be printed when something fails.
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// The virtual time.
    pub const fn now(&self) -> Time {
        self.now
    }

    /// The generator behind everything random; scenarios draw their own choices from it too.
    pub const fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// What happened so far.
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// Adds a shard.
    ///
    /// # Panics
    ///
    /// When there are 256 already.
    pub fn add_host(&mut self) -> HostId {
        let id = HostId(u8::try_from(self.hosts.len()).expect("a simulation has at most 256 hosts"));
        self.hosts.push(Host::new(self.mailbox.clone()));
        id
    }

    /// The counters of a shard.
    pub fn stats(&self, host: HostId) -> ShardStats {
        self.hosts[host.index()].local.stats
    }

    /// The counters of all shards together.
    pub fn stats_total(&self) -> ShardStats {
        let mut total = ShardStats::default();
        self.hosts.iter().for_each(|host| total.add(&host.local.stats));
        total
    }

    /// Accepts connections on `host`.
    pub fn listen<S: Service>(
        &mut self,
        host: HostId,
        endpoint: Endpoint,
        config: Arc<Config>,
        mut service: S,
    ) -> ListenerId {
        let accept = move |peer: &PeerInfo| Box::new(service.accept(peer)) as Box<dyn Handler>;
        let accept = Rc::new(RefCell::new(accept));
        self.listeners.push(Listener { host, endpoint, config, accept });
        ListenerId(self.listeners.len() - 1)
    }

    /// Connects a session on `host` to a listener and returns the client's end. Both ends open after one
    /// delay of the link; a refused client opens and is then reset.
    pub fn connect<H: Handler>(
        &mut self,
        listener: ListenerId,
        host: HostId,
        config: Arc<Config>,
        handler: H,
        conditions: Conditions,
    ) -> PeerId {
        let id = conn_id(host, self.next_peer());
        let handler: Box<dyn Handler> = Box::new(handler);
        let session = Box::new(Session::new(id, peer_info(), config, Owner::handler(handler)));
        self.add_link(Connecting::Client(host, session), listener, conditions)
    }

    /// Connects a raw peer to a listener and returns its end.
    pub fn connect_raw(&mut self, listener: ListenerId, conditions: Conditions) -> PeerId {
        self.add_link(Connecting::Raw(Raw::new()), listener, conditions)
    }

    /// Runs `action` when `after` has passed: what another thread or the outside world does.
    pub fn at(&mut self, after: Duration, action: impl FnOnce(&mut Self) + 'static) {
        self.scripts.push(Some(Box::new(action)));
        self.events.push(self.now + after, Event::Script(self.scripts.len() - 1));
    }

    /// Runs until nothing is left to happen or `limit` of virtual time has passed.
    pub fn run(&mut self, limit: Duration) -> Outcome {
        let deadline = self.now + limit;
        self.deliver_posts();
        while let Some(at) = self.events.next_at() {
            if at > deadline {
                self.now = deadline;
                return Outcome::Deadline;
            }
            let Some((at, event)) = self.events.pop() else { break };
            self.now = at;
            self.handle(event);
            self.deliver_posts();
        }
        Outcome::Idle
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Establish(peer) => self.establish(peer),
            Event::Depart(peer) => self.depart(peer),
            Event::Arrive(peer) => self.arrive(peer),
            Event::ResetArrives(peer) => self.reset_arrives(peer),
            Event::Read(peer) => self.read(peer),
            Event::Sent(peer) => self.sent(peer),
            Event::Remote(peer) => self.remote(peer),
            Event::Tick(host) => self.tick(host),
            Event::Script(index) => {
                if let Some(script) = self.scripts[index].take() {
                    script(self);
                }
            }
        }
    }

    /// Shards look at their mailbox a little later than somebody posted.
    fn deliver_posts(&mut self) {
        for id in self.mailbox.take() {
            let at = self.now + Duration::from_micros(self.rng.u64(0..500));
            self.events.push(at, Event::Remote(PeerId(id.slot())));
        }
    }

    fn add_link(&mut self, client: Connecting, listener: ListenerId, conditions: Conditions) -> PeerId {
        let id = self.next_peer();
        self.peers.push(Peer::new(client, conditions.clone()));
        self.peers.push(Peer::new(Connecting::Server(listener.0), conditions));
        let at = self.now + self.delay(id);
        self.events.push(at, Event::Establish(id));
        id
    }

    fn establish(&mut self, client: PeerId) {
        let server = client.other();
        self.establish_end(server);
        self.establish_end(client);
    }

    fn establish_end(&mut self, peer: PeerId) {
        let user = std::mem::replace(&mut self.peers[peer.index()].user, User::Gone);
        let User::Connecting(connecting) = user else { return };
        let (host, session) = match connecting {
            Connecting::Client(host, session) => (host, session),
            Connecting::Raw(raw) => {
                self.peers[peer.index()].user = User::Raw(raw);
                self.feed_raw(peer);
                return;
            }
            Connecting::Server(listener) => match self.accept(peer, listener) {
                Some(accepted) => accepted,
                None => return,
            },
        };
        self.peers[peer.index()].user = User::Session(host, session);
        self.note(peer, What::Opened);
        self.with_session(peer, |session, local| session.open(local));
        self.settle(peer);
    }

    fn accept(&mut self, peer: PeerId, listener: usize) -> Option<(HostId, AnySession)> {
        let host = self.listeners[listener].host;
        let id = conn_id(host, peer);
        let listener = &mut self.listeners[listener];
        let stats = &mut self.hosts[host.index()].local.stats;
        let Some(admission) = listener.endpoint.admit_peer(stats, peer_info) else {
            self.note(peer, What::Refused);
            self.close_socket(peer);
            return None;
        };
        let info = peer_info();
        let accept = listener.accept.clone();
        let owner = Owner::made_by(move |peer: &PeerInfo| accept.borrow_mut()(peer));
        let session = Box::new(Session::new(id, info, listener.config.clone(), owner));
        self.peers[peer.index()].admission = Some(admission);
        Some((host, session))
    }

    fn next_peer(&self) -> PeerId {
        PeerId(u32::try_from(self.peers.len()).unwrap_or(u32::MAX))
    }

    pub(crate) fn note(&mut self, peer: PeerId, what: What) {
        self.log.push(Entry { at: self.now, peer, what });
    }

    pub(crate) fn note_bytes(&mut self, bytes: &[u8]) {
        self.log.mix(bytes);
    }
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation")
            .field("seed", &self.seed)
            .field("now", &self.now)
            .field("peers", &self.peers.len())
            .finish_non_exhaustive()
    }
}

/// An end's slot is its place in the list of peers.
fn conn_id(host: HostId, peer: PeerId) -> ConnId {
    ConnId::new(host.0, peer.0, 0)
}

fn peer_info() -> PeerInfo {
    PeerInfo::new(PeerAddr::Unknown)
}
