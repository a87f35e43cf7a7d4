//! A server that tells everything that happens to its peers.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use qwormhole::handshake::{HandshakeInfo, HandshakePolicy};
use qwormhole::{CloseReason, PeerInfo, Server, TlsFacts, TlsOptions};

use crate::support::record::{Answer, Record, recorders};
use crate::support::{Bed, PATIENCE};

/// An echo server with TLS; every test asks it what became of its one peer.
pub(crate) struct Watched {
    server: Server,
    pub(crate) record: Record,
    accepted: Receiver<PeerInfo>,
    rejected: Receiver<CloseReason>,
    /// Every end of a connection, of accepted and of rejected ones.
    ends: Receiver<CloseReason>,
}

impl Watched {
    pub(crate) fn start(bed: Bed, tls: TlsOptions, handshake: Option<HandshakePolicy>) -> Self {
        let (accepts, accepted) = channel();
        let (rejects, rejected) = channel();
        let (tells, ends) = channel();
        let (mut service, record) = recorders(Answer::Echo);
        let mut server = bed
            .server()
            .bind("tcp://127.0.0.1:0")
            .expect("bind")
            .tls(tls)
            .on_reject(move |_, reason| drop(rejects.send(reason.clone())))
            .on_trust_snapshot(move |snapshot| drop(tells.send(snapshot.reason.clone())));
        if let Some(policy) = handshake {
            server = server.handshake(policy);
        }
        let service = move |peer: &PeerInfo| {
            let _ = accepts.send(peer.clone());
            service(peer)
        };
        let server = server.start(service).expect("start");
        Self { server, record, accepted, rejected, ends }
    }

    pub(crate) fn address(&self) -> &qwormhole::Address {
        &self.server.local_addrs()[0]
    }

    /// `127.0.0.1:port`.
    pub(crate) fn socket_addr(&self) -> String {
        self.address().socket_addr().expect("numeric").to_string()
    }

    /// Waits for the peer to be let in: what TLS agreed on with it.
    pub(crate) fn accepted(&self) -> Arc<TlsFacts> {
        self.peer().tls.expect("TLS")
    }

    /// Waits for the peer to be let in: its handshake.
    pub(crate) fn shaken(&self) -> Arc<HandshakeInfo> {
        self.peer().handshake.expect("a handshake")
    }

    pub(crate) fn peer(&self) -> PeerInfo {
        self.accepted.recv_timeout(PATIENCE).expect("a peer is let in")
    }

    /// The one peer was rejected: for this reason, told once, and nothing of it was delivered.
    #[track_caller]
    pub(crate) fn assert_rejected(self, reason: &CloseReason) {
        let told = self.rejected.recv_timeout(PATIENCE).expect("a peer is rejected");
        assert_eq!(&told, reason);
        let Self { server, record, accepted, rejected, ends } = self;
        let report = server.shutdown(PATIENCE);
        assert_eq!((report.cut, report.leaked_bytes, report.buffers_out), (0, 0, 0), "{report:?}");
        assert!(record.is_silent() && accepted.try_recv().is_err() && rejected.try_recv().is_err());
        assert_eq!(ends.try_iter().collect::<Vec<_>>(), std::slice::from_ref(reason));
    }

    /// The one peer was let in, and its connection ended like this, once.
    #[track_caller]
    pub(crate) fn assert_ended(self, messages: &[&[u8]], reason: &CloseReason) {
        let (seen, told) = self.record.until_close();
        assert_eq!((seen, &told), (messages.iter().map(|message| message.to_vec()).collect(), reason));
        let Self { server, record, rejected, ends, .. } = self;
        let report = server.shutdown(PATIENCE);
        assert_eq!((report.cut, report.leaked_bytes, report.buffers_out), (0, 0, 0), "{report:?}");
        assert!(record.is_silent() && rejected.try_recv().is_err());
        assert_eq!(ends.try_iter().collect::<Vec<_>>(), std::slice::from_ref(reason));
    }
}
