//! Runs a future wherever it is woken: on the shard, the resolver's thread or JavaScript's.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

/// Polls `future` now and whenever it is woken, on the thread that wakes it, until it is ready. For futures whose
/// steps take no time; one that nobody wakes any more is dropped with its last waker.
pub(crate) fn fulfil(future: impl Future<Output = ()> + Send + 'static) {
    let task = Task { future: Mutex::new(Some(Box::pin(future))), woken: AtomicBool::new(true) };
    Arc::new(task).run();
}

struct Task {
    future: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
    /// Somebody woke it, and nobody has polled it since.
    woken: AtomicBool,
}

impl Task {
    fn run(self: Arc<Self>) {
        let waker = Waker::from(self.clone());
        while self.woken.load(Ordering::SeqCst) {
            // Whoever polls now sees the flag again afterwards.
            let Ok(mut slot) = self.future.try_lock() else { return };
            self.woken.store(false, Ordering::SeqCst);
            let Some(future) = slot.as_mut() else { return };
            if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                let done = slot.take();
                drop(slot);
                drop(done);
                return;
            }
        }
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        self.run();
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let future = self.future.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        drop(future);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::task::Poll;

    #[test]
    fn a_future_that_wakes_itself_is_polled_again() {
        let (told, heard) = mpsc::channel();
        let mut polls = 0;
        fulfil(std::future::poll_fn(move |cx| {
            polls += 1;
            if polls < 3 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            told.send(polls).unwrap();
            Poll::Ready(())
        }));
        assert_eq!(heard.recv(), Ok(3));
    }

    #[test]
    fn it_goes_on_where_it_is_woken() {
        let (send_waker, wakers) = mpsc::channel::<Waker>();
        let (told, heard) = mpsc::channel();
        let mut first = true;
        fulfil(std::future::poll_fn(move |cx| {
            if std::mem::take(&mut first) {
                send_waker.send(cx.waker().clone()).unwrap();
                return Poll::Pending;
            }
            told.send(std::thread::current().id()).unwrap();
            Poll::Ready(())
        }));
        let other = std::thread::spawn(move || wakers.recv().unwrap().wake());
        let id = other.thread().id();
        other.join().unwrap();
        assert_eq!(heard.recv(), Ok(id));
    }
}
