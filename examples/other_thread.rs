//! A plain thread sends on a connection that belongs to a handler: it blocks when there is no room, and a slow
//! receiver slows it down.
//!
//! `cargo run --example other_thread`

use std::error::Error;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use qwormhole::{Client, CloseReason, Context, Handler, Message, PeerInfo, Sender, Server};

/// Counts messages and reports the number when the connection ends.
struct Count {
    messages: u64,
    report: mpsc::Sender<u64>,
}

impl Handler for Count {
    fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {
        self.messages += 1;
    }

    fn on_close(&mut self, _conn: &mut Context<'_>, _reason: &CloseReason) {
        // The receiver waits in `main`.
        let _ = self.report.send(self.messages);
    }
}

/// The client only sends.
struct Silent;

impl Handler for Silent {
    fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {}
}

fn main() -> Result<(), Box<dyn Error>> {
    let (report, counted) = mpsc::channel();
    let server = Server::builder()
        .bind("tcp://127.0.0.1:0")?
        .start(move |_peer: &PeerInfo| Count { messages: 0, report: report.clone() })?;

    let sender = pollster::block_on(Client::builder().open(&server.local_addrs()[0], Silent))?;
    let begun = Instant::now();
    let threads = (0..2).map(|_| {
        thread::spawn({
            let sender = sender.clone();
            move || send_all(&sender)
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.join().map_err(|_| "a sending thread panicked")??;
    }
    pollster::block_on(sender.flush())?;
    println!("2 threads sent {} messages in {:?}", 2 * MESSAGES, begun.elapsed());

    sender.close();
    println!("the server counted {}", counted.recv()?);
    server.shutdown(Duration::from_secs(5));
    Ok(())
}

fn send_all(sender: &Sender) -> std::io::Result<()> {
    for _ in 0..MESSAGES {
        sender.send_blocking(&[7; 64])?;
    }
    Ok(())
}

const MESSAGES: u64 = 50_000;
