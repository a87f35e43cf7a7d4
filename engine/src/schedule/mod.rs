//! Random schedules: a shard over the scripted ring (`fake_ring`), with handlers, peers and other
//! threads that do anything they may, checked against a model. A message may only be lost with its
//! connection, never be delivered twice, changed or elsewhere; whatever was taken comes back.
//!
//! A schedule is a phase of chaos, usually a rest in which everything that can arrive must have arrived, and
//! a shutdown. All its decisions come from one seed, or from a fuzzer's data.

#[cfg(test)]
mod cases;
mod checks;
mod outside;
mod scene;
mod service;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use qwormhole_proto::{Config, Endpoint, ShutdownReport, Slicing, WaitMode};

pub use crate::fake_ring::coverage::Coverage;
pub use crate::fake_ring::defect::Defect;

use crate::control::{Control, ShardHandle};
use crate::fake_ring::FakeRing;
use crate::fake_ring::choices::Choices;
use crate::fake_ring::net::{FakeSocket, Net, SocketKind};
use crate::fake_ring::pool::Pool;
use crate::mailbox::Mailbox;
use crate::schedule::outside::World;
use crate::schedule::scene::Scene;
use crate::schedule::service::Scripts;
use crate::shard::{Shard, ShardParts};

/// Runs the schedule that `data` describes: every byte is a decision, and once they are used up everything
/// goes well.
///
/// # Panics
///
/// When a rule was broken.
pub fn fake_ring_schedule(data: &[u8]) {
    let run = run(Choices::from_data(data), None, false);
    if let Err(broken) = run.result {
        panic!("{broken}");
    }
}

/// Runs the schedule of a seed, with a fault seeded into the kernel if `defect` names one. `trace` prints what
/// happens in it.
pub fn seeded_schedule(seed: u64, defect: Option<Defect>, trace: bool) -> Run {
    run(Choices::from_seed(seed), defect, trace)
}

/// What became of a schedule.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Run {
    /// Which outcomes of which operations it met.
    pub coverage: Coverage,
    /// Turns of the shard, or the rule that was broken.
    pub result: Result<u64, String>,
}

fn run(choices: Choices, defect: Option<Defect>, trace: bool) -> Run {
    let net = Net::new(choices, trace);
    let plan = Plan::new(&mut net.lock().choices);
    let mut schedule = Schedule::new(net.clone(), &plan, defect);
    let mut result = schedule.play();
    if result.is_ok() {
        result = schedule.check_end();
    }
    let turns = schedule.turns;
    // What a broken schedule leaves behind must not panic on purpose.
    net.lock().choices.set_calm(true);
    drop(schedule);
    let coverage = net.lock().coverage.clone();
    Run { coverage, result: result.map(|()| turns) }
}

struct Schedule {
    net: Arc<Net>,
    scene: Arc<Scene>,
    world: Rc<RefCell<World>>,
    shard: Option<Shard<FakeRing, Scripts>>,
    pool: Pool,
    endpoint: Endpoint,
    connections_max: usize,
    turns: u64,
    report: ShutdownReport,
    /// Connections that waited for a buffer when the last turn began.
    starved: usize,
}

impl Schedule {
    fn new(net: Arc<Net>, plan: &Plan, defect: Option<Defect>) -> Self {
        let scene = Scene::new(net.clone());
        net.lock().script.receives_once = plan.receives_once;
        let mailbox = Arc::new(Mailbox::new(plan.mailbox));
        let (handle, controls) = ShardHandle::with_room(mailbox.clone(), 256);
        let (neighbour_handle, neighbour) = ShardHandle::with_room(Arc::new(Mailbox::new(1)), 2);
        let endpoint = Endpoint::new(plan.admitted_max);
        let world = Rc::new(RefCell::new(World {
            scene: scene.clone(),
            shard: handle.clone(),
            mailbox: mailbox.clone(),
            controls: controls.clone(),
            neighbour,
            endpoint: endpoint.clone(),
            config: config(),
            streams_max: plan.streams_max,
            keeps_leases: false,
        }));
        let socket = {
            let mut state = net.lock();
            let listener = state.add_listener();
            FakeSocket::new(&net, &mut state, SocketKind::Listener(listener))
        };
        let listen =
            Control::Listen { socket, endpoint: endpoint.clone(), config: config(), spread: plan.spread };
        handle.send(listen);
        let pool = Pool::new(net.clone(), plan.buffers, plan.buffer_len, defect);
        let ring = FakeRing::new(net.clone(), pool.clone(), world.clone(), defect);
        let parts = ShardParts {
            index: 0,
            connections_max: plan.connections_max,
            mailbox,
            controls,
            peers: vec![handle, neighbour_handle],
            published: Arc::default(),
            wait: WaitMode::Auto,
            slicing: Slicing::Auto,
        };
        let shard = Some(Shard::new(ring, Scripts::new(scene.clone()), parts));
        let report = ShutdownReport::default();
        let connections_max = plan.connections_max as usize;
        Self { net, scene, world, shard, pool, endpoint, connections_max, turns: 0, report, starved: 0 }
    }

    fn play(&mut self) -> Result<(), String> {
        let (turns, rests, shutdown_turns) = {
            let choices = &mut self.net.lock().choices;
            (20 + choices.below(120), !choices.one_in(4), choices.below(20))
        };
        for _ in 0..turns {
            self.world.borrow().act();
            self.turn()?;
        }
        if rests {
            self.rest()?;
        }
        self.begin_shutdown();
        for _ in 0..shutdown_turns {
            if self.is_over() || self.is_past_deadline() {
                break;
            }
            self.world.borrow().act();
            self.turn()?;
        }
        self.turn_until_over()?;
        self.finish()
    }

    /// Lets everything arrive that can, first without the buffers that handlers keep, and checks that nothing
    /// is missing.
    fn rest(&mut self) -> Result<(), String> {
        self.net.lock().choices.set_calm(true);
        self.world.borrow_mut().keeps_leases = true;
        self.turn_until_rest()?;
        self.world.borrow_mut().keeps_leases = false;
        self.turn_until_rest()?;
        self.check_rest()?;
        self.net.lock().choices.set_calm(false);
        Ok(())
    }

    /// Turns until the shard sleeps without limit and nobody has anything left to do.
    fn turn_until_rest(&mut self) -> Result<(), String> {
        for _ in 0..TURNS_MAX {
            self.turn()?;
            if self.shard.as_ref().is_some_and(|shard| shard.ring.rests()) {
                return Ok(());
            }
        }
        Err(String::from("the shard never comes to rest"))
    }

    /// Turns until the shutdown is complete. Once everything goes well it may take the time of a lingering
    /// close, and never goes on after its deadline.
    fn turn_until_over(&mut self) -> Result<(), String> {
        let began = {
            let mut net = self.net.lock();
            net.choices.set_calm(true);
            net.now
        };
        let deadline = self.scene.books().shutdown.map_or(began, |(_, deadline)| deadline);
        let latest = deadline.min(began + FLUSH_TIMEOUT + LINGER_TIMEOUT).max(began) + SLACK;
        for _ in 0..TURNS_MAX {
            if self.is_over() {
                return Ok(());
            }
            self.turn()?;
            let now = self.net.lock().now;
            if now > latest {
                return Err(format!("the shutdown goes on at {now:?}, it should have ended at {latest:?}"));
            }
        }
        Err(String::from("the shutdown never ends"))
    }

    fn turn(&mut self) -> Result<(), String> {
        self.turns += 1;
        self.scene.books().turn = self.turns;
        let Some(shard) = &mut self.shard else { return Err(String::from("no shard")) };
        self.starved = shard.starved.len();
        match catch_unwind(AssertUnwindSafe(|| shard.turn())) {
            Ok(Ok(())) => self.check_turn(),
            Ok(Err(error)) => Err(format!("the ring was lost: {error}")),
            Err(panic) => Err(format!("the shard panicked: {}", message_of(&*panic))),
        }
    }

    fn begin_shutdown(&mut self) {
        let (within, now) = {
            let mut net = self.net.lock();
            let within = Duration::from_millis(net.choices.pick(&[10_000, 0, 3, 60, 400, 3_000]));
            (within, net.now)
        };
        self.net.trace(|| format!("shutdown within {within:?}"));
        self.scene.books().shutdown = Some((now, now + within));
        self.world.borrow().shard.send(Control::Shutdown(within));
    }

    fn is_over(&self) -> bool {
        self.shard.as_ref().is_none_or(Shard::is_over)
    }

    fn is_past_deadline(&self) -> bool {
        let shutdown = self.scene.books().shutdown;
        shutdown.is_some_and(|(_, deadline)| deadline <= self.net.lock().now)
    }

    /// Ends the shard as its thread would.
    fn finish(&mut self) -> Result<(), String> {
        let Some(shard) = &mut self.shard else { return Err(String::from("no shard")) };
        match catch_unwind(AssertUnwindSafe(|| shard.finish())) {
            Ok(report) => self.report = report,
            Err(panic) => return Err(format!("the shard panicked at its end: {}", message_of(&*panic))),
        }
        self.net.failure().map_or(Ok(()), Err)
    }
}

/// The sizes of a schedule.
struct Plan {
    buffers: usize,
    buffer_len: usize,
    connections_max: u32,
    admitted_max: usize,
    mailbox: usize,
    streams_max: usize,
    spread: bool,
    receives_once: bool,
}

impl Plan {
    fn new(choices: &mut Choices) -> Self {
        let connections_max = choices.pick(&[4, 1, 2, 3, 8]);
        Self {
            buffers: 1 + choices.below(7),
            buffer_len: choices.pick(&[256, 16, 64, 1024, 8192]),
            connections_max,
            admitted_max: choices.pick(&[100, 1, 3]),
            mailbox: if choices.one_in(4) { 1 } else { connections_max as usize },
            streams_max: 4 + choices.below(16),
            spread: choices.one_in(4),
            receives_once: choices.one_in(8),
        }
    }
}

/// Small bounds and short clocks, so that all of them are met.
fn config() -> Arc<Config> {
    let mut config = Config::default();
    let limits = &mut config.limits;
    limits.max_frame_len = 10_000;
    limits.max_send_frame_len = 10_000;
    limits.max_backpressure_bytes = 12_000;
    limits.high_watermark_bytes = 3_000;
    limits.low_watermark_bytes = 1_000;
    limits.remote_bytes_max = 2_000;
    limits.transmit_bytes_max = 4_096;
    limits.stall_timeout = Duration::from_secs(2);
    limits.frame_timeout = Duration::from_secs(2);
    limits.close_flush_timeout = FLUSH_TIMEOUT;
    limits.linger_timeout = LINGER_TIMEOUT;
    Arc::new(config)
}

/// What a panic says.
fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);
const LINGER_TIMEOUT: Duration = Duration::from_millis(200);
/// How late timers may be, and how long the kernel takes to confirm an end.
const SLACK: Duration = Duration::from_millis(50);
/// More than any phase needs; a shard that spins reaches it.
const TURNS_MAX: u64 = 20_000;
