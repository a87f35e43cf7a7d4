//! A future that another thread resolves.

use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Poll, Waker};

/// Closed until [`Gate::open`].
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<(bool, Option<Waker>)>,
    asked: Condvar,
}

impl Gate {
    /// True, as soon as the gate is open.
    pub(crate) async fn opened(self: Arc<Self>) -> bool {
        poll_fn(|cx| {
            let mut state = self.state.lock().expect("not poisoned");
            if state.0 {
                return Poll::Ready(true);
            }
            state.1 = Some(cx.waker().clone());
            self.asked.notify_all();
            Poll::Pending
        })
        .await
    }

    pub(crate) fn wait_until_asked(&self) {
        let mut state = self.state.lock().expect("not poisoned");
        while state.1.is_none() {
            state = self.asked.wait(state).expect("not poisoned");
        }
    }

    pub(crate) fn open(&self) {
        let mut state = self.state.lock().expect("not poisoned");
        state.0 = true;
        let waker = state.1.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }
}
