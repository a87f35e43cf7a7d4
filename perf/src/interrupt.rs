//! What the parent waits for: its children and Ctrl-C.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::job::{Report, Side};

/// Something that the parent must look at.
#[derive(Debug)]
pub(crate) enum Event {
    Report(Side, Report),
    /// A child's output ended.
    Ended(Side),
    /// Ctrl-C, or a request to terminate.
    Interrupted,
}

/// Turns Ctrl-C and termination requests into [`Event::Interrupted`]; the second one ends the process at once.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    interrupted: bool,
    listener: Option<Sender<Event>>,
}

impl Interrupt {
    /// Installs the handler; once per process.
    pub(crate) fn install() -> Result<Self> {
        let interrupt = Self(Arc::default());
        let copy = interrupt.clone();
        ctrlc::set_handler(move || copy.note()).context("cannot handle Ctrl-C")?;
        Ok(interrupt)
    }

    /// A queue of events; an interrupt that came before it was asked for is the first.
    pub(crate) fn events(&self) -> Events {
        let (sender, receiver) = mpsc::channel();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.interrupted {
            let _ = sender.send(Event::Interrupted);
        }
        state.listener = Some(sender.clone());
        Events { sender, receiver }
    }

    pub(crate) fn was_interrupted(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).interrupted
    }

    fn note(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.interrupted {
            // The children are tied to this process and end with it.
            std::process::exit(i32::from(EXIT_INTERRUPTED));
        }
        state.interrupted = true;
        if let Some(listener) = &state.listener {
            let _ = listener.send(Event::Interrupted);
        }
    }
}

/// The queue of one round.
#[derive(Debug)]
pub(crate) struct Events {
    sender: Sender<Event>,
    receiver: Receiver<Event>,
}

impl Events {
    /// Where a child's reports go.
    pub(crate) const fn sender(&self) -> &Sender<Event> {
        &self.sender
    }

    /// The next event; `None` when `deadline` passed first.
    pub(crate) fn next_until(&self, deadline: Instant) -> Option<Event> {
        // The queue holds a sender itself, so that the only error is the timeout.
        self.receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()
    }
}

/// The exit code of a run that was cut short by Ctrl-C, as shells number it.
pub(crate) const EXIT_INTERRUPTED: u8 = 130;
