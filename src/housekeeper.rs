//! One thread per process for what clients do between their connections: waiting, dialing again, closing.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};

/// Hands a chore to the process' housekeeping thread, which starts with the first chore and ends with the last.
/// A chore must not block; one that panics ends alone.
///
/// # Errors
///
/// [`Refused`] when [`CHORES_MAX`] chores run already or the system gives no thread; the chore is dropped.
pub(crate) fn spawn(chore: impl Future<Output = ()> + Send + 'static) -> Result<(), Refused> {
    let contained = AssertUnwindSafe(chore).catch_unwind().map(|outcome| {
        if outcome.is_err() {
            tracing::error!("a chore of the housekeeping thread panicked");
        }
    });
    let mut house = lock();
    // The thread of a process that forked stayed behind in the parent.
    if house.as_ref().is_none_or(|house| house.pid != process::id()) {
        let started = thread::Builder::new().name("qwormhole-link".into()).spawn(run).map_err(|_| Refused)?;
        let thread = started.thread().clone();
        *house = Some(House { pid: process::id(), thread, arrived: Vec::new(), chores: 0 });
    }
    let Some(house) = house.as_mut().filter(|house| house.chores < CHORES_MAX) else { return Err(Refused) };
    house.chores += 1;
    house.arrived.push(Box::pin(contained));
    house.thread.unpark();
    Ok(())
}

/// The chore was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;

/// Ready at a point in time; to be awaited by chores only, because their thread keeps the time.
pub(crate) struct Alarm {
    key: (Instant, u64),
}

impl Alarm {
    pub(crate) fn at(deadline: Instant) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { key: (deadline, NEXT.fetch_add(1, Ordering::Relaxed)) }
    }
}

impl Future for Alarm {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.key.0 <= Instant::now() {
            return Poll::Ready(());
        }
        let replaced = alarms().insert(self.key, cx.waker().clone());
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let forgotten = alarms().remove(&self.key);
        drop(forgotten);
    }
}

type Chore = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The thread as others see it.
struct House {
    pid: u32,
    thread: Thread,
    /// Not yet taken over; at most [`CHORES_MAX`] together with those that were.
    arrived: Vec<Chore>,
    chores: usize,
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn run() {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut chores = FuturesUnordered::new();
    loop {
        let Some(arrived) = take_arrived(chores.is_empty()) else { return };
        chores.extend(arrived);
        while let Poll::Ready(Some(())) = chores.poll_next_unpin(&mut cx) {
            if let Some(house) = lock().as_mut() {
                house.chores -= 1;
            }
        }
        match ring_alarms() {
            _ if chores.is_empty() => {}
            Some(next) => thread::park_timeout(next.saturating_duration_since(Instant::now())),
            None => thread::park(),
        }
    }
}

/// What arrived; `None` when there is nothing to do any more, and then the next chore starts another thread.
fn take_arrived(idle: bool) -> Option<Vec<Chore>> {
    let mut house = lock();
    let arrived = house.as_mut().map(|house| std::mem::take(&mut house.arrived)).unwrap_or_default();
    if idle && arrived.is_empty() {
        *house = None;
        return None;
    }
    Some(arrived)
}

/// Wakes every chore whose time has come; returns when the next one is due.
fn ring_alarms() -> Option<Instant> {
    let now = Instant::now();
    let mut waiting = alarms();
    // A key with the greatest number: everything due is below it.
    let later = waiting.split_off(&(now, u64::MAX));
    let due = std::mem::replace(&mut *waiting, later);
    let next = waiting.keys().next().map(|(deadline, _)| *deadline);
    drop(waiting);
    due.into_values().for_each(Waker::wake);
    next
}

/// Held for the length of a push or a move only.
fn lock() -> MutexGuard<'static, Option<House>> {
    HOUSE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As [`lock`]; no waker is woken or dropped meanwhile.
fn alarms() -> MutexGuard<'static, BTreeMap<(Instant, u64), Waker>> {
    ALARMS.lock().unwrap_or_else(PoisonError::into_inner)
}

static HOUSE: Mutex<Option<House>> = Mutex::new(None);
static ALARMS: Mutex<BTreeMap<(Instant, u64), Waker>> = Mutex::new(BTreeMap::new());

/// One chore per link; more links than one engine has connections would only wait for each other.
const CHORES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    /// The other tests of this binary spawn nothing, and these must not see each other's thread.
    static ALONE: Mutex<()> = Mutex::new(());

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn chores_share_one_thread_that_ends_with_the_last() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let (tell, told) = channel();
        for n in 0..100u64 {
            let tell = tell.clone();
            let chore = async move {
                Alarm::at(Instant::now() + Duration::from_millis(100 - n)).await;
                tell.send((n, thread::current().id())).expect("the test listens");
            };
            spawn(chore).expect("taken");
        }
        let ended: Vec<_> = (0..100).map(|_| told.recv_timeout(PATIENCE).expect("in time")).collect();
        assert!(ended.iter().all(|(_, thread)| *thread == ended[0].1), "one thread");
        let begun = Instant::now();
        while lock().is_some() {
            assert!(begun.elapsed() < PATIENCE, "the thread ends");
            thread::yield_now();
        }
        assert!(alarms().is_empty());
    }

    #[test]
    fn a_chore_that_panics_ends_alone() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let (tell, told) = channel();
        spawn(async { std::panic::resume_unwind(Box::new("a chore")) }).expect("taken");
        spawn(async move { tell.send(()).expect("the test listens") }).expect("taken");
        told.recv_timeout(PATIENCE).expect("the other one runs");
    }

    #[test]
    fn an_alarm_that_is_dropped_is_forgotten() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut alarm = Box::pin(Alarm::at(Instant::now() + Duration::from_secs(3600)));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(alarm.as_mut().poll(&mut cx).is_pending());
        assert!(alarms().contains_key(&alarm.key));
        let key = alarm.key;
        drop(alarm);
        assert!(!alarms().contains_key(&key));
    }
}
