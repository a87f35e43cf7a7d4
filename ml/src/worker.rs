//! A thread that asks.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread;

use futures_channel::oneshot;
use serde_json::Value;

use crate::adapter::Adapter;
use crate::error::{AdapterError, SelectionError};

/// A thread that asks an adapter, one query after the other, for those who must not block.
///
/// Clones share the thread; it ends after the last of them, once the query at hand is answered.
#[derive(Clone, Debug)]
pub struct Worker {
    queries: SyncSender<Query>,
}

#[derive(Debug)]
struct Query {
    metrics: Value,
    answer: oneshot::Sender<Result<Value, AdapterError>>,
}

impl Worker {
    /// Starts the thread. Up to `waiting_max` queries wait for it, 1 to 4,096, each with its metrics in memory.
    ///
    /// # Errors
    ///
    /// `waiting_max` is out of its range, or the system gives no thread.
    pub fn start(adapter: Arc<dyn Adapter>, waiting_max: usize) -> io::Result<Self> {
        if !(1..=WAITING_MAX).contains(&waiting_max) {
            let error = SelectionError::Option { option: "waiting_max", fix: "must be between 1 and 4096" };
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        }
        let (queries, asked) = mpsc::sync_channel::<Query>(waiting_max);
        thread::Builder::new().name("ml-worker".into()).spawn(move || {
            for query in asked {
                // Nobody waits for the answer any more: it is not worth the time.
                if !query.answer.is_canceled() {
                    let _ = query.answer.send(adapter.query(&query.metrics));
                }
            }
        })?;
        Ok(Self { queries })
    }

    /// Asks without blocking. On any async runtime or none.
    ///
    /// # Errors
    ///
    /// What the adapter says, or [`AdapterError::Busy`] at once when `waiting_max` queries wait already.
    ///
    /// # Cancel safety
    ///
    /// A query whose future was dropped is not asked unless it is being asked already.
    pub async fn query(&self, metrics: Value) -> Result<Value, AdapterError> {
        let (answer, answered) = oneshot::channel();
        match self.queries.try_send(Query { metrics, answer }) {
            Ok(()) => answered.await.unwrap_or(Err(AdapterError::Gone)),
            Err(TrySendError::Full(_)) => Err(AdapterError::Busy { adapter: "worker" }),
            Err(TrySendError::Disconnected(_)) => Err(AdapterError::Gone),
        }
    }
}

const WAITING_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::task::{Context, Poll, Waker};

    use serde_json::json;

    use super::*;

    /// Tells when it is asked and answers when it may.
    struct Gate {
        asked: Mutex<Sender<Value>>,
        may: Mutex<Receiver<()>>,
    }

    impl Adapter for Gate {
        fn name(&self) -> &str {
            "gate"
        }

        fn query(&self, metrics: &Value) -> Result<Value, AdapterError> {
            assert_ne!(metrics, "panic", "asked for");
            self.asked.lock().unwrap().send(metrics.clone()).unwrap();
            self.may.lock().unwrap().recv().unwrap();
            Ok(metrics.clone())
        }
    }

    fn gate() -> (Arc<Gate>, Receiver<Value>, Sender<()>) {
        let ((asked, was_asked), (open, may)) = (channel(), channel());
        (Arc::new(Gate { asked: asked.into(), may: may.into() }), was_asked, open)
    }

    #[test]
    fn queries_wait_in_a_bounded_queue_and_dropped_ones_are_not_asked() {
        let (gate, asked, open) = gate();
        let worker = Worker::start(gate, 2).unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        let mut first = pin!(worker.query(json!(1)));
        assert!(first.as_mut().poll(&mut cx).is_pending());
        assert_eq!(asked.recv().unwrap(), 1);
        let mut dropped = Box::pin(worker.query(json!(2)));
        let mut third = pin!(worker.query(json!(3)));
        assert!(dropped.as_mut().poll(&mut cx).is_pending());
        assert!(third.as_mut().poll(&mut cx).is_pending());
        let Poll::Ready(refused) = pin!(worker.query(json!(4))).poll(&mut cx) else { panic!("it waits") };
        assert!(matches!(refused, Err(AdapterError::Busy { adapter: "worker" })));
        drop(dropped);
        open.send(()).unwrap();
        open.send(()).unwrap();
        assert_eq!(pollster::block_on(first).unwrap(), 1);
        assert_eq!(pollster::block_on(third).unwrap(), 3);
        assert_eq!(asked.recv().unwrap(), 3);
    }

    #[test]
    fn a_panic_of_the_adapter_is_told_not_waited_for() {
        let (gate, _asked, _open) = gate();
        let worker = Worker::start(gate, 1).unwrap();
        assert!(matches!(pollster::block_on(worker.query(json!("panic"))), Err(AdapterError::Gone)));
    }

    #[test]
    fn a_queue_that_cannot_work_is_refused_by_name() {
        for waiting_max in [0, WAITING_MAX + 1] {
            let error = Worker::start(gate().0, waiting_max).unwrap_err();
            assert!(error.to_string().contains("waiting_max"), "{error}");
        }
    }
}
