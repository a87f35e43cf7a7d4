//! Sending: one submission in flight per connection; short ones go on where they stopped.

use std::io;

use qwormhole_proto::{ConnId, Service};

use crate::errno;
use crate::ring::{Completion, Ring};
use crate::shard::Shard;
use crate::slots::State;

impl<R: Ring, S: Service> Shard<R, S> {
    pub(crate) fn send_done(&mut self, key: ConnId, completion: Completion<R>) {
        let id = self.own(key);
        let Some(transmit) = completion.transmit else { return };
        match self.slots.get(id) {
            Some(State::Open(open)) => {
                open.send = None;
                let result = classify(completion.result);
                open.session.handle_transmitted(&mut self.local, transmit, result);
                self.touch(id);
            }
            Some(State::Ending(ending)) => {
                ending.send = false;
                self.local.give_transmit(transmit);
                self.settle_ending(id);
            }
            _ => self.local.give_transmit(transmit),
        }
    }
}

/// How many bytes the kernel took. An interrupted or cancelled send took none and is tried again.
pub(crate) fn classify(result: i32) -> Result<usize, io::ErrorKind> {
    match usize::try_from(result) {
        Ok(taken) => Ok(taken),
        Err(_) if errno::is_transient(-result) => Ok(0),
        Err(_) => Err(io::Error::from_raw_os_error(-result).kind()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_send_is_tried_again() {
        assert_eq!(classify(7), Ok(7));
        assert_eq!(classify(-errno::INTR), Ok(0));
        assert_eq!(classify(-errno::CONNRESET), Err(io::ErrorKind::ConnectionReset));
    }
}
