use super::*;
use crate::{
    ConnId, Context as ConnContext, Handler, Limits, Message, PeerAddr, PeerInfo, Session, ShardLocal,
};
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll, Wake, Waker};

#[derive(Default)]
struct Counter(AtomicUsize);

impl Counter {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Port for Counter {
    fn post(&self, _id: ConnId) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct GiveSender(Option<std::sync::mpsc::Sender<Sender>>);

impl Handler for GiveSender {
    fn on_open(&mut self, conn: &mut ConnContext<'_>) {
        self.0.take().unwrap().send(conn.sender()).unwrap();
    }

    fn on_message(&mut self, _conn: &mut ConnContext<'_>, _message: Message<'_>) {}
}

fn session(config: Config) -> (Session<GiveSender>, ShardLocal, Sender, Arc<Counter>) {
    let port = Arc::new(Counter::default());
    let mut local = ShardLocal::new(Box::new(()), port.clone());
    let (give, take) = std::sync::mpsc::channel();
    let peer = PeerInfo::new(PeerAddr::Unknown);
    let mut session = Session::new(
        ConnId::new(0, 0, 0),
        peer,
        Arc::new(config),
        crate::Owner::handler(GiveSender(Some(give))),
    );
    session.open(&mut local);
    (session, local, take.recv().unwrap(), port)
}

fn transmit(session: &mut Session<GiveSender>, local: &mut ShardLocal, max: usize) -> usize {
    let mut sent = 0;
    while sent < max
        && let Some(transmit) = session.poll_transmit(local)
    {
        let len = transmit.len();
        session.handle_transmitted(local, transmit, Ok(len));
        sent += len;
    }
    sent
}

#[test]
fn a_batch_is_posted_once() {
    let (mut session, mut local, sender, port) = session(Config::default());
    for _ in 0..1000 {
        sender.try_send(&[7; 64]).unwrap();
    }
    assert_eq!(port.count(), 1);
    session.handle_remote(&mut local);
    assert_eq!(transmit(&mut session, &mut local, usize::MAX), 68_000);
    assert_eq!(local.stats.messages_out, 1000);
    sender.try_send("next").unwrap();
    assert_eq!(port.count(), 2);
}

#[test]
fn many_messages_are_sent_like_one() {
    let mut config = Config::default();
    config.limits.remote_bytes_max = 1000;
    config.limits.max_send_frame_len = 500;
    let (mut session, mut local, sender, port) = session(config);
    let all = |messages: &[&[u8]]| sender.try_send_all(Priority::DEFAULT, messages.iter().copied());
    assert_eq!(all(&[]), Ok(0));
    assert_eq!(port.count(), 0);
    assert_eq!(all(&[b"a", b"", b"bc"]), Ok(3));
    assert_eq!(port.count(), 1);
    let too_large = SendErrorKind::TooLarge { len: 501, limit: 500 };
    assert_eq!(all(&[b"d", &[0; 501], b"e"]), Err((1, too_large)));
    assert_eq!(all(&[&[0; 450], &[0; 450], &[0; 450]]).unwrap_err().1, SendErrorKind::Full);
    session.handle_remote(&mut local);
    let messages = local.stats.messages_out;
    assert!((5..=6).contains(&messages), "{messages}");
    sender.close();
    assert_eq!(all(&[b"late"]), Err((0, SendErrorKind::Closed(CloseReason::Local))));
}

#[test]
fn staged_bytes_are_bounded_and_a_waiting_task_is_woken_by_the_take_over() {
    let mut config = Config::default();
    config.limits.remote_bytes_max = 10_000;
    let (mut session, mut local, sender, _port) = session(config);
    let accepted = (0..1000).take_while(|_| sender.try_send(&[0; 96]).is_ok()).count();
    assert!((90..=100).contains(&accepted), "{accepted}");
    let refused = sender.try_send(&[9; 96]).unwrap_err();
    assert!(refused.is_retryable());
    assert_eq!(refused.payload, &[9; 96]);
    let task = Arc::new(Counter::default());
    let waker = Waker::from(task.clone());
    let mut waiter = sender.waiter();
    assert!(waiter.poll_ready(96, &mut Context::from_waker(&waker)).is_pending());
    session.handle_remote(&mut local);
    assert_eq!(task.count(), 1);
    assert!(waiter.poll_ready(96, &mut Context::from_waker(&waker)).is_ready());
}

#[test]
fn a_backed_up_outbox_leaves_messages_staged_until_it_drains() {
    let mut config = Config::default();
    config.limits.high_watermark_bytes = 5_000;
    config.limits.low_watermark_bytes = 2_000;
    let (mut session, mut local, sender, _port) = session(config);
    sender.try_send(vec![1; 6_000]).unwrap();
    session.handle_remote(&mut local);
    sender.try_send(vec![2; 1_000]).unwrap();
    session.handle_remote(&mut local);
    assert_eq!(session.connection().outbox.bytes(), 6_004, "the second message stays with its sender");
    assert_eq!(transmit(&mut session, &mut local, usize::MAX), 6_004 + 1_004);
}

#[test]
fn flush_is_reached_when_the_kernel_took_the_bytes() {
    let (mut session, mut local, sender, _port) = session(Config::default());
    let waker = Waker::noop();
    let mut cx = Context::from_waker(waker);
    sender.try_send("data").unwrap();
    let mark = sender.request_flush();
    let mut waiter = sender.waiter();
    assert!(waiter.poll_flushed(mark, &mut cx).is_pending());
    session.handle_remote(&mut local);
    assert!(waiter.poll_flushed(mark, &mut cx).is_pending());
    transmit(&mut session, &mut local, usize::MAX);
    assert_eq!(waiter.poll_flushed(mark, &mut cx), Poll::Ready(Ok(())));
    let idle = sender.request_flush();
    session.handle_remote(&mut local);
    assert_eq!(waiter.poll_flushed(idle, &mut cx), Poll::Ready(Ok(())), "nothing to wait for");
}

#[test]
fn a_flush_does_not_lift_the_bound_of_a_backed_up_outbox() {
    let (mut session, mut local, sender, _port) = session(Config::default());
    let mut cx = Context::from_waker(Waker::noop());
    let mut accepted = 0;
    for _ in 0..100 {
        accepted += usize::from(sender.try_send(vec![0; 100_000]).is_ok()) * 100_004;
        sender.request_flush();
        session.handle_remote(&mut local);
    }
    let limits = Config::default().limits;
    assert!(
        accepted < limits.high_watermark_bytes + 2 * limits.remote_bytes_max,
        "{accepted} bytes accepted"
    );
    let mark = sender.request_flush();
    session.handle_remote(&mut local);
    let mut waiter = sender.waiter();
    assert!(waiter.poll_flushed(mark, &mut cx).is_pending());
    assert_eq!(transmit(&mut session, &mut local, usize::MAX), accepted, "everything accepted leaves");
    assert_eq!(waiter.poll_flushed(mark, &mut cx), Poll::Ready(Ok(())));
}

#[test]
fn a_close_flushes_what_was_staged_before_it_and_tells_everybody() {
    let (mut session, mut local, sender, _port) = session(Config::default());
    let waker = Waker::noop();
    let mut cx = Context::from_waker(waker);
    sender.try_send("last").unwrap();
    sender.close();
    session.handle_remote(&mut local);
    assert_eq!(transmit(&mut session, &mut local, usize::MAX), 8);
    let mut waiter = sender.waiter();
    assert!(waiter.poll_closed(&mut cx).is_pending());
    session.finish(&mut local);
    assert_eq!(waiter.poll_closed(&mut cx), Poll::Ready(CloseReason::Local));
    let refused = sender.try_send("late").unwrap_err();
    assert_eq!(refused.kind, SendErrorKind::Closed(CloseReason::Local));
    assert_eq!(sender.close_reason(), Some(CloseReason::Local));
}

#[test]
fn a_dropped_waiter_leaves_nothing_behind() {
    let (_session, _local, sender, _port) = session(Config::default());
    let task = Arc::new(Counter::default());
    let waker = Waker::from(task.clone());
    for _ in 0..100 {
        assert!(sender.waiter().poll_closed(&mut Context::from_waker(&waker)).is_pending());
    }
    drop(waker);
    assert_eq!(Arc::strong_count(&task), 1);
}

#[test]
fn a_sender_that_waits_goes_on_when_there_is_room() {
    let limits = Limits { remote_bytes_max: 64, ..Limits::default() };
    let (mut session, mut local, sender, _port) = session(Config { limits, ..Config::default() });
    sender.try_send(&[1; 60]).unwrap();
    let wakes = Arc::new(Counter::default());
    let waker = Waker::from(wakes.clone());
    let mut waiting = std::pin::pin!(sender.send(&[2; 40]));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    {
        let mut given_up = Box::pin(sender.send(&[3; 40]));
        assert!(given_up.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    session.handle_remote(&mut local);
    assert_eq!(wakes.count(), 1, "a dropped future is not woken");
    assert_eq!(waiting.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Ready(Ok(())));
    session.handle_remote(&mut local);
    assert_eq!(
        transmit(&mut session, &mut local, usize::MAX),
        2 * 4 + 60 + 40,
        "the dropped one was not sent"
    );
}

#[test]
fn a_blocked_thread_learns_of_the_end() {
    let limits = Limits { remote_bytes_max: 64, ..Limits::default() };
    let (session, mut local, sender, _port) = session(Config { limits, ..Config::default() });
    sender.try_send(&[1; 60]).unwrap();
    let blocked = std::thread::spawn({
        let sender = sender.clone();
        move || sender.send_blocking(vec![2; 40])
    });
    session.finish(&mut local);
    let refused = blocked.join().unwrap().unwrap_err();
    assert_eq!((refused.kind, refused.payload), (SendErrorKind::Closed(CloseReason::Local), vec![2; 40]));
}

/// Runs `work` on a thread of its own and fails when it does not end.
fn ends(work: impl FnOnce() + Send + 'static) {
    let (done, end) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        work();
        done.send(()).unwrap();
    });
    end.recv_timeout(std::time::Duration::from_secs(30)).expect("it ends");
}

/// An executor that runs a task inside of its wake-up: the task is done and drops its waiter.
struct RunsAtOnce(Mutex<Option<Waiter>>);

impl Wake for RunsAtOnce {
    fn wake(self: Arc<Self>) {
        drop(self.0.lock().unwrap().take());
    }
}

#[test]
fn a_waker_may_drop_a_waiter_of_the_same_connection() {
    ends(|| {
        let (session, mut local, sender, _port) = session(Config::default());
        let task = Arc::new(RunsAtOnce(Mutex::new(Some(sender.waiter()))));
        let mut waiter = sender.waiter();
        let waker = Waker::from(task.clone());
        assert!(waiter.poll_closed(&mut Context::from_waker(&waker)).is_pending());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(task.0.lock().unwrap().as_mut().unwrap().poll_closed(&mut cx).is_pending());
        session.finish(&mut local);
        assert!(task.0.lock().unwrap().is_none());
    });
}

#[test]
fn a_waker_that_is_replaced_may_own_a_waiter_of_the_same_connection() {
    ends(|| {
        let (_session, _local, sender, _port) = session(Config::default());
        let mut inner = sender.waiter();
        assert!(inner.poll_closed(&mut Context::from_waker(Waker::noop())).is_pending());
        let mut waiter = sender.waiter();
        let waker = Waker::from(Arc::new(RunsAtOnce(Mutex::new(Some(inner)))));
        assert!(waiter.poll_closed(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        assert!(waiter.poll_closed(&mut Context::from_waker(Waker::noop())).is_pending());
    });
}

#[test]
fn what_was_accepted_before_the_end_leaves_and_what_comes_later_is_refused() {
    let (mut session, mut local, sender, _port) = session(Config::default());
    sender.try_send("accepted").unwrap();
    session.handle_eof(&mut local);
    assert_eq!(transmit(&mut session, &mut local, usize::MAX), 12);
    let refused = sender.try_send("late").unwrap_err();
    assert_eq!(refused.kind, SendErrorKind::Closed(CloseReason::PeerClosed));
    assert_eq!(sender.close_reason(), None, "refused already, and not over yet");
    session.finish(&mut local);
    assert_eq!(sender.close_reason(), Some(CloseReason::PeerClosed));
}

#[test]
fn a_sender_that_asked_for_the_end_accepts_nothing_more() {
    let (mut session, mut local, sender, _port) = session(Config::default());
    sender.try_send("accepted").unwrap();
    sender.close();
    assert!(sender.try_send("late").is_err());
    session.handle_remote(&mut local);
    assert_eq!(transmit(&mut session, &mut local, usize::MAX), 12);
}

#[test]
fn a_sender_that_outlives_its_connection_keeps_no_callback() {
    let state = Arc::new(());
    let owned = state.clone();
    let on_reject = crate::RejectHook::new(move |_, _| assert_eq!(*owned, ()));
    let (session, mut local, sender, _port) = session(Config { on_reject, ..Config::default() });
    session.finish(&mut local);
    assert_eq!(Arc::strong_count(&state), 1, "the callback's state may own the sender");
    assert_eq!(sender.close_reason(), Some(CloseReason::Local));
}
