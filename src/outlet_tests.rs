use super::*;

use std::pin::pin;
use std::sync::{Arc, mpsc};

use qwormhole_proto::{Config, ConnId, Handler, Message, Owner, PeerAddr, PeerInfo, Session, ShardLocal};

struct GiveSender(mpsc::Sender<Sender>);

impl Handler for GiveSender {
    fn on_open(&mut self, conn: &mut qwormhole_proto::Context<'_>) {
        self.0.send(conn.sender()).unwrap();
    }

    fn on_message(&mut self, _conn: &mut qwormhole_proto::Context<'_>, _message: Message<'_>) {}
}

/// A connection with room for 10,000 staged bytes, whose transport is the test.
struct Bench {
    session: Session<GiveSender>,
    local: ShardLocal,
    outlet: Outlet,
}

impl Bench {
    fn new() -> Self {
        let mut config = Config::default();
        config.limits.remote_bytes_max = 10_000;
        let (give, take) = mpsc::channel();
        let peer = PeerInfo::new(PeerAddr::Unknown);
        let mut session =
            Session::new(ConnId::new(0, 0, 0), peer, Arc::new(config), Owner::handler(GiveSender(give)));
        let mut local = ShardLocal::default();
        session.open(&mut local);
        Self { session, local, outlet: Outlet::new(take.recv().unwrap()) }
    }

    /// Lets the shard take over what was staged, and what the kernel takes of it.
    fn turn(&mut self) -> Vec<u8> {
        self.session.handle_remote(&mut self.local);
        let mut sent = Vec::new();
        while let Some(transmit) = self.session.poll_transmit(&mut self.local) {
            transmit.segments().iter().for_each(|segment| sent.extend_from_slice(segment.as_slice()));
            let len = transmit.len();
            self.session.handle_transmitted(&mut self.local, transmit, Ok(len));
        }
        sent
    }
}

fn once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(std::task::Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

fn payloads(wire: &[u8]) -> Vec<u8> {
    let mut rest = wire;
    let mut firsts = Vec::new();
    while let Some((len, after)) = rest.split_first_chunk() {
        let (payload, after) = after.split_at(u32::from_be_bytes(*len) as usize);
        firsts.push(payload[0]);
        rest = after;
    }
    firsts
}

#[test]
fn a_sink_takes_one_message_without_room_and_keeps_the_order() {
    let mut bench = Bench::new();
    let outlet = &mut bench.outlet;
    outlet.start_send(Bytes::from(vec![1; 6_000])).unwrap();
    outlet.start_send(Bytes::from(vec![2; 6_000])).unwrap();
    assert!(once(poll_fn(|cx| outlet.poll_ready(cx))).is_none(), "the second waits");
    assert_eq!(outlet.try_send(&[3; 1]).unwrap_err().kind, SendErrorKind::Full, "it would fit, and overtake");
    let mut wire = bench.turn();
    assert_eq!(once(poll_fn(|cx| bench.outlet.poll_ready(cx))), Some(Ok(())), "there is room again");
    wire.extend(bench.turn());
    assert_eq!(once(bench.outlet.send(&[3; 1])), Some(Ok(())));
    wire.extend(bench.turn());
    assert_eq!(payloads(&wire), [1, 2, 3]);
}

#[test]
fn a_cancelled_flush_does_not_answer_for_later_messages() {
    let mut bench = Bench::new();
    bench.outlet.try_send("early").unwrap();
    assert_eq!(once(bench.outlet.flush()), None);
    bench.turn();
    bench.outlet.try_send("late").unwrap();
    assert_eq!(once(bench.outlet.flush()), None, "the late message has not left");
    bench.turn();
    assert_eq!(once(bench.outlet.flush()), Some(Ok(())));
}

#[test]
fn after_close_nothing_is_accepted_and_the_end_is_awaited() {
    let mut bench = Bench::new();
    bench.outlet.try_send("last").unwrap();
    assert_eq!(once(bench.outlet.close()), None);
    let refused = bench.outlet.try_send("late").unwrap_err();
    assert_eq!(refused.kind, SendErrorKind::Closed(CloseReason::Local));
    assert_eq!(once(bench.outlet.send("late")).unwrap().unwrap_err().payload, "late");
    assert_eq!(bench.turn().len(), 8, "what was accepted still leaves");
    let Bench { session, mut local, mut outlet } = bench;
    session.finish(&mut local);
    assert_eq!(once(outlet.close()), Some(CloseReason::Local));
    assert_eq!(once(outlet.flush()), Some(Err(CloseReason::Local)));
}
