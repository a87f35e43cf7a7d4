//! What happens to a link, told in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use qwormhole_proto::{CloseReason, ConnId};

use crate::error::ConnectError;

/// Something that happened to a [`Link`](crate::Link).
///
/// They come in this order, `attempt` counting the retries since the last useful connection:
/// `Connecting`, then either `ConnectFailed`, or `Connected` and later `Disconnected`; then `Reconnecting` and
/// from the start, or `GaveUp`, after which nothing comes. A link that was closed tells no more than the
/// `Disconnected` of the connection it had.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LinkEvent {
    /// An attempt begins.
    Connecting {
        /// Number of the retry; 0 for the first attempt of all.
        attempt: u32,
    },
    /// The attempt failed.
    ConnectFailed {
        /// Which address could not be reached, and why.
        error: Arc<ConnectError>,
    },
    /// A connection is open, and what was queued is on its way.
    Connected {
        /// Its id, unique within the client's engine.
        id: ConnId,
    },
    /// The connection is over.
    Disconnected {
        /// Why.
        reason: CloseReason,
    },
    /// The next attempt was put off.
    Reconnecting {
        /// Number of the retry, from 1.
        attempt: u32,
        /// When it begins, from now.
        delay: Duration,
    },
    /// There will be no further attempt.
    GaveUp {
        /// Why not.
        error: LinkError,
    },
}

/// Why a link made no further attempt.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The last attempt failed, and either the attempts are used up or another could not go better.
    #[error("gave up: {0}")]
    Connect(#[source] Arc<ConnectError>),
    /// The last connection was lost and the attempts are used up.
    #[error("gave up: {0}")]
    Disconnected(#[source] CloseReason),
    /// The link was closed by its owner.
    #[error("the link was closed")]
    Closed,
}

/// Events that nobody has taken yet: bounded, the oldest make room and are counted.
#[derive(Debug)]
pub(crate) struct EventQueue {
    queue: VecDeque<LinkEvent>,
    events_max: usize,
    dropped: u64,
}

impl EventQueue {
    pub(crate) const fn new(events_max: usize) -> Self {
        Self { queue: VecDeque::new(), events_max, dropped: 0 }
    }

    pub(crate) fn push(&mut self, event: LinkEvent) {
        if self.queue.len() >= self.events_max {
            self.queue.pop_front();
            self.dropped += 1;
        }
        self.queue.push_back(event);
    }

    pub(crate) fn pop(&mut self) -> Option<LinkEvent> {
        self.queue.pop_front()
    }

    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_events_make_room_and_are_counted() {
        let mut events = EventQueue::new(2);
        (0..5).for_each(|attempt| events.push(LinkEvent::Connecting { attempt }));
        assert!(matches!(events.pop(), Some(LinkEvent::Connecting { attempt: 3 })));
        assert!(matches!(events.pop(), Some(LinkEvent::Connecting { attempt: 4 })));
        assert!(events.pop().is_none());
        assert_eq!(events.dropped(), 3);
    }
}
