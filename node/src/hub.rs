//! The way from shards to one JavaScript environment.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use napi::Status;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};

use crate::serving::Serving;

/// Wakes one environment, at most once for everything that became ready since it last looked.
///
/// Shared by all clients and servers of the environment. It holds no reference to the event loop: whether the process
/// stays alive is decided in JavaScript.
pub(crate) struct Hub {
    state: Mutex<State>,
    wake: Wake,
}

/// Weak, so that it never keeps the event loop alive; two places, because one call may be under way when the next is
/// made. A call that finds no place is not needed.
pub(crate) type Wake = ThreadsafeFunction<(), (), (), Status, false, true, 2>;

#[derive(Default)]
struct State {
    /// Inlets that are no longer empty, each once.
    ready: Vec<u32>,
    next_id: u32,
    /// What has threads of its own or connections, and must end with the environment.
    owned: Vec<Weak<dyn Owned>>,
    closed: bool,
}

/// Something that must not outlive its environment.
pub(crate) trait Owned: Send + Sync {
    /// Ends at once; nothing is told.
    fn cut(&self);
}

impl Hub {
    pub(crate) fn new(wake: Wake) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), wake })
    }

    /// A number for a new inlet, unique within the environment as long as it has fewer than 2³² at a time.
    pub(crate) fn next_id(&self) -> u32 {
        let mut state = self.lock();
        state.next_id = state.next_id.wrapping_add(1);
        state.next_id
    }

    /// Ends `owned` when the environment ends; at once if it has.
    pub(crate) fn own(&self, owned: Weak<dyn Owned>) {
        let mut state = self.lock();
        if state.closed {
            drop(state);
            owned.upgrade().iter().for_each(|owned| owned.cut());
            return;
        }
        if state.owned.len() == state.owned.capacity() {
            state.owned.retain(|owned| owned.strong_count() > 0);
        }
        state.owned.push(owned);
    }

    /// The inlet `id` is no longer empty. Called on any thread, once until JavaScript has looked at that inlet.
    pub(crate) fn post(&self, id: u32) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        let first = state.ready.is_empty();
        state.ready.push(id);
        drop(state);
        if first {
            // Full means that a call is under way, closing that nobody is left to be called.
            let _ = self.wake.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }

    /// Moves what is ready to `ids`; returns how many. JavaScript asks again when all places were used.
    pub(crate) fn take(&self, ids: &mut [u32]) -> u32 {
        let mut state = self.lock();
        let n = state.ready.len().min(ids.len());
        for (place, id) in ids.iter_mut().zip(state.ready.drain(..n)) {
            *place = id;
        }
        u32::try_from(n).unwrap_or(u32::MAX)
    }

    /// The environment ends: nothing is told any more, and everything it owns is cut.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.ready = Vec::new();
        let owned = mem::take(&mut state.owned);
        drop(state);
        owned.iter().filter_map(Weak::upgrade).for_each(|owned| owned.cut());
    }

    /// Held for the length of a move only.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Owned for Serving {
    fn cut(&self) {
        self.abandon();
    }
}
