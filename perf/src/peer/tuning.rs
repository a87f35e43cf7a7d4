//! The sizes that a system's author would have measured; `scripts/sweep` does.

use anyhow::{Context as _, Result, bail, ensure};

/// Sizes of one system. Each system names its own best ones; the environment replaces them one by one, such as
/// `QWORMHOLE_PERF_TUNING="read=65536 write=131072"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tuning {
    /// Receive buffer of one connection.
    pub(crate) read_bytes: usize,
    /// How much is gathered before it is written.
    pub(crate) write_bytes: usize,
    /// The kernel's send and receive buffers; 0 leaves them to the kernel, which adapts them.
    pub(crate) socket_bytes: usize,
    /// What may wait on a connection before its sender is told to; 0 leaves it to the system.
    pub(crate) queue_bytes: usize,
    /// How a ring of io_uring is set up, where a runtime lets its user choose.
    pub(crate) ring: Ring,
}

/// When a ring does the kernel's part of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ring {
    /// Whenever the kernel likes, by interrupt.
    Plain,
    /// At the thread's next system call (`COOP_TASKRUN`, `SINGLE_ISSUER`).
    Cooperative,
    /// When the thread waits (`DEFER_TASKRUN`, `SINGLE_ISSUER`).
    Deferred,
}

impl Tuning {
    /// Both buffers of `bytes`, and sockets as the kernel has them.
    pub(crate) const fn new(read_bytes: usize, write_bytes: usize) -> Self {
        Self { read_bytes, write_bytes, socket_bytes: 0, queue_bytes: 0, ring: Ring::Plain }
    }

    /// These sizes, unless the environment says otherwise.
    ///
    /// # Errors
    ///
    /// Names the word that is not understood.
    pub(crate) fn or_environment(self) -> Result<Self> {
        match std::env::var(VARIABLE) {
            Ok(text) => self.or(&text).with_context(|| format!("{VARIABLE} is not understood")),
            Err(_) => Ok(self),
        }
    }

    fn or(mut self, text: &str) -> Result<Self> {
        for word in text.split_whitespace() {
            let (name, value) = word.split_once('=').with_context(|| format!("`{word}` is no NAME=BYTES"))?;
            if name == "ring" {
                self.ring = match value {
                    "plain" => Ring::Plain,
                    "cooperative" => Ring::Cooperative,
                    "deferred" => Ring::Deferred,
                    _ => bail!("`{word}`: a ring is plain, cooperative or deferred"),
                };
                continue;
            }
            let bytes = value.parse().with_context(|| format!("`{word}` is no NAME=BYTES"))?;
            let place = match name {
                "read" => &mut self.read_bytes,
                "write" => &mut self.write_bytes,
                "socket" => &mut self.socket_bytes,
                "queue" => &mut self.queue_bytes,
                _ => bail!("`{name}`: there are read, write, socket, queue and ring"),
            };
            *place = bytes;
        }
        let fits = |bytes: usize| (BYTES_MIN..=BYTES_MAX).contains(&bytes);
        ensure!(
            fits(self.read_bytes)
                && fits(self.write_bytes)
                && self.socket_bytes.max(self.queue_bytes) <= BYTES_MAX,
            "sizes are between {BYTES_MIN} and {BYTES_MAX} bytes"
        );
        Ok(self)
    }
}

const VARIABLE: &str = "QWORMHOLE_PERF_TUNING";
const BYTES_MIN: usize = 512;
const BYTES_MAX: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_replace_sizes_one_by_one() {
        let tuning = Tuning::new(1024, 2048);
        assert_eq!(tuning.or("").unwrap(), tuning);
        assert_eq!(tuning.or("write=4096").unwrap(), Tuning::new(1024, 4096));
        let all = Tuning {
            read_bytes: 512,
            write_bytes: 600,
            socket_bytes: 700,
            queue_bytes: 800,
            ring: Ring::Deferred,
        };
        assert_eq!(tuning.or("read=512 write=600  socket=700 queue=800 ring=deferred").unwrap(), all);
    }

    #[test]
    fn other_words_are_refused() {
        for bad in
            ["read", "read=", "read=x", "reads=1024", "read=1", "socket=99999999999", "write=-1", "ring=1"]
        {
            assert!(Tuning::new(1024, 1024).or(bad).is_err(), "{bad}");
        }
    }
}
