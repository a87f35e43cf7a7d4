//! Accepting: one multishot accept per listener and shard, paced while the system refuses.

use std::sync::Arc;

use qwormhole_proto::{
    AcceptBackoff, Admission, CloseReason, Config, ConnId, Endpoint, Owner, Service, Session,
};

use crate::control::Control;
use crate::errno;
use crate::ring::{Completion, Op, OpId, Ring, RingSocket};
use crate::shard::Shard;
use crate::slots::{Open, State};
use crate::token::Kind;

/// The listeners of a shard. Their timers use the keys above the connections' slots.
pub(crate) struct Listeners<R: Ring> {
    list: Vec<Listener<R>>,
    first_timer_key: u32,
}

struct Listener<R: Ring> {
    /// `None` once closed.
    socket: Option<Arc<R::Socket>>,
    accept: Option<OpId>,
    endpoint: Endpoint,
    config: Arc<Config>,
    spread: bool,
    next_shard: usize,
    backoff: AcceptBackoff,
}

impl<R: Ring> Listeners<R> {
    pub(crate) fn new(first_timer_key: u32) -> Self {
        Self { list: Vec::new(), first_timer_key }
    }

    pub(crate) fn first_timer_key(&self) -> u32 {
        self.first_timer_key
    }

    /// Whether no listener is open or still ending.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.iter().all(|listener| listener.socket.is_none() && listener.accept.is_none())
    }
}

impl<R: Ring, S: Service> Shard<R, S> {
    pub(crate) fn listen(
        &mut self,
        socket: R::Socket,
        endpoint: Endpoint,
        config: Arc<Config>,
        spread: bool,
    ) {
        if self.shutdown.is_some() {
            return;
        }
        self.listeners.list.push(Listener {
            socket: Some(Arc::new(socket)),
            accept: None,
            endpoint,
            config,
            spread,
            next_shard: self.index,
            backoff: AcceptBackoff::default(),
        });
        self.keep_accepting(self.listeners.list.len() - 1);
    }

    pub(crate) fn accept_done(&mut self, index: u32, completion: Completion<R>) {
        let index = index as usize;
        let Some(listener) = self.listeners.list.get_mut(index) else { return };
        if !completion.more {
            listener.accept = None;
        }
        if let Some(socket) = completion.socket {
            listener.backoff.handle_success();
            self.accepted(index, socket);
        } else if errno::stops_accepting(-completion.result) {
            tracing::warn!(errno = -completion.result, "cannot accept, trying again later");
            let retry_at = listener.backoff.handle_failure(self.local.now);
            self.timers.set(self.listeners.first_timer_key + index as u32, retry_at);
        }
        self.keep_accepting(index);
    }

    pub(crate) fn listener_timeout(&mut self, index: u32) {
        if let Some(listener) = self.listeners.list.get_mut(index as usize) {
            listener.backoff.handle_timeout(self.local.now);
            self.keep_accepting(index as usize);
        }
    }

    pub(crate) fn close_listeners(&mut self) {
        for listener in &mut self.listeners.list {
            listener.socket = None;
            listener.accept.into_iter().for_each(|op| self.ring.cancel(op));
        }
    }

    fn keep_accepting(&mut self, index: usize) {
        let Some(listener) = self.listeners.list.get_mut(index) else { return };
        if let (Some(socket), None, None) =
            (&listener.socket, listener.accept, listener.backoff.poll_timeout())
        {
            let token = Kind::Accept.token(ConnId::new(0, index as u32, 0));
            listener.accept = Some(self.ring.push(token, Op::Accept { listener: socket.clone() }));
        }
    }

    fn accepted(&mut self, index: usize, socket: R::Socket) {
        let Some(listener) = self.listeners.list.get_mut(index) else { return };
        if listener.socket.is_none() {
            return;
        }
        let peer = || socket.peer_info();
        let Some(admission) = listener.endpoint.admit_peer(&mut self.local.stats, peer) else { return };
        let config = listener.config.clone();
        if listener.spread {
            let target = listener.next_shard;
            listener.next_shard = (target + 1) % self.peers.len().max(1);
            if target != self.index
                && let Some(peer) = self.peers.get(target)
            {
                // A shard that does not take it (its queue is full) leaves it to this one.
                let adopt = Control::Adopt { socket, admission, config };
                if let Err(Control::Adopt { socket, admission, config }) = peer.try_send(adopt) {
                    self.install(socket, admission, config);
                }
                return;
            }
        }
        self.install(socket, admission, config);
    }

    /// Gives an accepted connection its handler and its slot.
    pub(crate) fn install(&mut self, socket: R::Socket, admission: Admission, config: Arc<Config>) {
        if self.shutdown.is_some() {
            return;
        }
        let peer = socket.peer_info();
        let Some(id) = self.slots.reserve() else {
            self.local.stats.refused += 1;
            config.on_reject.call(&mut self.local.stats, &peer, &CloseReason::Refused);
            return;
        };
        let session = Session::new(id, peer, config, Owner::of_service::<S>());
        self.open(id, session, Arc::new(socket), Some(admission), 0);
    }

    /// Fills a reserved slot with an established connection and lets its handler know.
    pub(crate) fn open(
        &mut self,
        id: ConnId,
        mut session: Session<S::Handler>,
        socket: Arc<R::Socket>,
        admission: Option<Admission>,
        losers: u32,
    ) {
        session.open(&mut self.local);
        self.make_room();
        let open = Open {
            session,
            socket,
            recv: None,
            recv_cancelled: false,
            starved: false,
            send: None,
            losers,
            dirty: false,
            timer: None,
            _admission: admission,
        };
        self.slots.put(id, State::Open(Box::new(open)));
        self.touch(id);
    }
}
