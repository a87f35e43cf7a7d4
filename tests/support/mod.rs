//! What the integration tests share: backends, transports, plain peers.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod attacker;
pub(crate) mod certs;
pub(crate) mod gate;
pub(crate) mod peer;
pub(crate) mod record;
pub(crate) mod resources;
pub(crate) mod sandbox;
pub(crate) mod tls_peer;
pub(crate) mod vectors;

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use qwormhole::{Backend, Server, ServerBuilder};

/// The backends and transports a test runs on. Every behaviour test takes one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bed {
    /// The backend under test.
    pub(crate) backend: Backend,
}

impl Bed {
    /// The bed for a backend. `QWORMHOLE_TEST_BACKEND=auto` lets every test choose by trying, for runs inside
    /// sandboxes that refuse one of them.
    pub(crate) fn new(backend: Backend) -> Self {
        sandbox::deny_io_uring_if_asked();
        let auto = std::env::var("QWORMHOLE_TEST_BACKEND").is_ok_and(|value| value == "auto");
        Self { backend: if auto { Backend::Auto } else { backend } }
    }

    /// A server that is not bound yet.
    pub(crate) fn server(self) -> ServerBuilder {
        Server::builder().backend(self.backend).shards(1)
    }
}

/// Instantiates each test once per backend. `alone:` in front is for tests that count what the process holds: no
/// other test of the binary runs meanwhile.
#[allow(unused_macros, reason = "each test binary uses a part of this module")]
macro_rules! on_every_backend {
    (@ $module:ident, $backend:ident, $company:ident, $($name:ident),*) => {
        mod $module {
            $(#[test] fn $name() {
                let _company = crate::support::$company();
                super::$name(crate::support::Bed::new(qwormhole::Backend::$backend));
            })*
        }
    };
    (alone: $($name:ident),* $(,)?) => {
        crate::support::on_every_backend!(@ engine_alone, IoUring, alone, $($name),*);
        crate::support::on_every_backend!(@ fallback_alone, Tokio, alone, $($name),*);
    };
    ($($name:ident),* $(,)?) => {
        crate::support::on_every_backend!(@ engine, IoUring, among_others, $($name),*);
        crate::support::on_every_backend!(@ fallback, Tokio, among_others, $($name),*);
    };
}
#[allow(unused_imports, reason = "each test binary uses a part of this module")]
pub(crate) use on_every_backend;

/// Held by tests that others may run beside.
pub(crate) fn among_others() -> RwLockReadGuard<'static, ()> {
    COMPANY.read().unwrap_or_else(PoisonError::into_inner)
}

/// Held by a test that runs alone.
pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
    COMPANY.write().unwrap_or_else(PoisonError::into_inner)
}

static COMPANY: RwLock<()> = RwLock::new(());

/// Nothing in these tests takes longer unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A fresh folder for unix sockets, removed with the value.
pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder for unix sockets")
}

/// Addresses to bind, one per transport: IPv4, IPv6 and a unix socket in `folder`.
pub(crate) fn transports(folder: &tempfile::TempDir) -> Vec<String> {
    let unix = folder.path().join("socket");
    vec!["tcp://127.0.0.1:0".to_owned(), "tcp://[::1]:0".to_owned(), format!("unix:{}", unix.display())]
}

/// One frame on the wire.
pub(crate) fn frame(payload: &[u8]) -> Vec<u8> {
    let mut wire = u32::try_from(payload.len()).expect("a frame's length").to_be_bytes().to_vec();
    wire.extend_from_slice(payload);
    wire
}

/// Runs a future on this thread, without any runtime.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::task::Waker::from(std::sync::Arc::new(Unpark(std::thread::current())));
    let mut cx = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    let start = std::time::Instant::now();
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        std::thread::park_timeout(PATIENCE);
        assert!(start.elapsed() < PATIENCE * 2, "a future hangs");
    }
}
