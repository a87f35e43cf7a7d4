//! A client and a server, and the bytes between them.

use qwormhole_proto::{ClientTls, ServerTls, TlsFacts, TlsFault, TlsFilter, TlsOptions};

use crate::certificates::{HOST, client, server};

/// One end with what it received.
pub(crate) struct End {
    pub(crate) tls: TlsFilter,
    pub(crate) received: Vec<u8>,
    pub(crate) fault: Option<TlsFault>,
}

/// Two ends; bytes move only when told to.
pub(crate) struct Pair {
    pub(crate) client: End,
    pub(crate) server: End,
}

impl End {
    pub(crate) fn new(tls: TlsFilter) -> Self {
        Self { tls, received: Vec::new(), fault: None }
    }

    /// Takes bytes as a caller would: plaintext is drained whenever the filter stops.
    pub(crate) fn take(&mut self, mut input: &[u8]) {
        while !input.is_empty() && self.fault.is_none() {
            let before = input.len();
            let result = self.tls.read_tls(&mut input);
            let drained = self.drain();
            match result {
                Err(fault) => self.fault = Some(fault),
                Ok(()) => assert!(input.len() < before || drained > 0, "no progress"),
            }
        }
    }

    fn drain(&mut self) -> usize {
        let mut drained = 0;
        loop {
            let plaintext = self.tls.plaintext();
            let len = plaintext.len();
            if len == 0 {
                return drained;
            }
            self.received.extend_from_slice(plaintext);
            self.tls.consume(len);
            drained += len;
        }
    }

    pub(crate) fn output(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        self.tls.write_tls(&mut out);
        assert!(!self.tls.wants_write());
        out
    }

    pub(crate) fn facts(&self) -> &TlsFacts {
        self.tls.facts().expect("the handshake is complete")
    }
}

impl Pair {
    pub(crate) fn new(client: &ClientTls, server: &ServerTls) -> Self {
        let client = TlsFilter::client(client, HOST).unwrap();
        Self { client: End::new(client), server: End::new(TlsFilter::server(server).unwrap()) }
    }

    /// A pair whose handshake went as far as it goes.
    pub(crate) fn shaken(client: &ClientTls, server: &ServerTls) -> Self {
        let mut pair = Self::new(client, server);
        pair.run(usize::MAX);
        pair
    }

    pub(crate) fn of(client_options: &TlsOptions, server_options: &TlsOptions) -> Self {
        Self::shaken(&client(client_options), &server(server_options))
    }

    /// Moves bytes in pieces of at most `piece` until both ends are silent.
    pub(crate) fn run(&mut self, piece: usize) {
        loop {
            let (to_server, to_client) = (self.client.output(), self.server.output());
            if to_server.is_empty() && to_client.is_empty() {
                return;
            }
            let piece = |len: usize| piece.min(len.max(1));
            to_server.chunks(piece(to_server.len())).for_each(|bytes| self.server.take(bytes));
            to_client.chunks(piece(to_client.len())).for_each(|bytes| self.client.take(bytes));
        }
    }

    /// Whether bytes pass both ways.
    pub(crate) fn works(&mut self) -> bool {
        self.client.received.clear();
        self.server.received.clear();
        self.client.tls.write(b"question");
        self.server.tls.write(b"answer");
        self.run(usize::MAX);
        self.server.received == b"question" && self.client.received == b"answer"
    }

    #[track_caller]
    pub(crate) fn assert_works(&mut self) {
        assert!(self.works(), "client: {:?}, server: {:?}", self.client.fault, self.server.fault);
    }

    /// Both faults: the client's, then the server's.
    pub(crate) fn faults(&self) -> (Option<TlsFault>, Option<TlsFault>) {
        (self.client.fault.clone(), self.server.fault.clone())
    }
}
