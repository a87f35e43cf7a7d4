//! What a shard does between two messages, by its mode of waiting.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use qwormhole::{Backend, WaitMode};

use crate::support::peer::Peer;
use crate::support::record::{Answer, recorders};
use crate::support::{Bed, on_every_backend};

on_every_backend!(alone: requests_are_answered_in_every_mode_of_waiting, an_idle_shard_leaves_the_cpu_to_others);

fn requests_are_answered_in_every_mode_of_waiting(bed: Bed) {
    for mode in [WaitMode::Auto, WaitMode::Park, WaitMode::Spin] {
        let (service, _record) = recorders(Answer::Echo);
        let server =
            bed.server().wait(mode).bind("127.0.0.1:0").expect("bind").start(service).expect("start");
        let mut peer = Peer::connect(&server.local_addrs()[0]);
        for n in 0..500u32 {
            peer.send_frame(&n.to_be_bytes());
            assert_eq!(peer.recv_frame(), n.to_be_bytes(), "{mode:?}");
        }
        drop(peer);
        let spins = server.stats()[0].spin_enters;
        if mode == WaitMode::Park || bed.backend == Backend::Tokio {
            assert_eq!(spins, 0, "{mode:?} sleeps");
        }
        if mode == WaitMode::Spin && bed.backend == Backend::IoUring {
            assert!(spins > 0, "{mode:?} looks for work without sleeping");
        }
    }
}

/// Whatever the traffic before was like.
fn an_idle_shard_leaves_the_cpu_to_others(bed: Bed) {
    const IDLE: Duration = Duration::from_millis(500);
    let (service, _record) = recorders(Answer::Echo);
    let server = bed.server().bind("127.0.0.1:0").expect("bind").start(service).expect("start");
    let mut peer = Peer::connect(&server.local_addrs()[0]);
    for n in 0..500u32 {
        peer.send_frame(&n.to_be_bytes());
        peer.recv_frame();
    }
    let (begun, before) = (Instant::now(), cpu_time());
    thread::sleep(IDLE);
    let (passed, used) = (begun.elapsed(), cpu_time().saturating_sub(before));
    assert!(used < passed / 5, "{used:?} of {passed:?}");
}

/// The CPU time of this process so far, to the clock tick.
fn cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("proc is mounted");
    // The name of the command, the second field, may hold anything and ends with the last parenthesis.
    let fields = stat.rsplit_once(')').expect("the command's name").1.split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 10)
}
