//! A server process that is killed under load and started again.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use qwormhole::{Context, Handler, Message, PeerInfo, Server};

use crate::link::free_address;
use crate::restarts::{Load, RESTARTS, number};
use crate::support::{Bed, PATIENCE, on_every_backend};

on_every_backend!(a_killed_server_takes_nothing_with_it_that_it_acknowledged);

/// Writes every number into its journal before it acknowledges it. What a process has written survives it.
struct Clerk {
    journal: File,
}

impl Handler for Clerk {
    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        self.journal.write_all(&message[..8]).expect("the journal takes it");
        conn.reply(message).expect("a reply is refused only if too large");
    }
}

/// The other process; does nothing unless it was told where to listen.
#[test]
fn server_process() {
    let Ok(address) = std::env::var("QWORMHOLE_TEST_ADDRESS") else { return };
    let journals = PathBuf::from(std::env::var("QWORMHOLE_TEST_JOURNALS").expect("set with the address"));
    let connections = Arc::new(AtomicU64::new(0));
    let service = move |_: &PeerInfo| {
        let page = connections.fetch_add(1, Ordering::Relaxed);
        Clerk { journal: File::create(journals.join(format!("{page:06}"))).expect("a journal") }
    };
    let begun = Instant::now();
    let _server = loop {
        // The backend comes by QWORMHOLE_BACKEND, as for any service.
        let server = Server::builder().shards(1).bind(address.as_str()).expect("a valid address");
        match server.start(service.clone()) {
            Ok(server) => break server,
            // The kernel ends a killed process's ring, and with it the listener, a moment after the process.
            Err(error) if begun.elapsed() < PATIENCE && error.to_string().contains("in use") => {}
            Err(error) => panic!("{error}"),
        }
    };
    println!("{READY}");
    loop {
        thread::park();
    }
}

/// A server process; killed without notice when dropped.
struct Life(Child);

impl Life {
    fn begin(bed: Bed, address: SocketAddr, journals: &Path) -> Self {
        fs::create_dir(journals).expect("a folder of its own");
        let mut child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "killed::server_process", "--nocapture"])
            .env("QWORMHOLE_TEST_ADDRESS", address.to_string())
            .env("QWORMHOLE_TEST_JOURNALS", journals)
            .env("QWORMHOLE_BACKEND", bed.backend.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server process starts");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut lines = output.lines().map_while(Result::ok);
        assert!(lines.any(|line| line.ends_with(READY)), "the server process listens");
        Self(child)
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn a_killed_server_takes_nothing_with_it_that_it_acknowledged(bed: Bed) {
    let address = free_address();
    let folder = tempfile::tempdir().expect("a folder");
    let mut load = Load::begin(bed, address);
    let mut life = None;
    for number_of_life in 0..=RESTARTS {
        drop(life.take());
        load.wait_for_the_end();
        let seen = pages(folder.path()).into_iter().flatten().next_back();
        let journals = folder.path().join(format!("{number_of_life:03}"));
        life = Some(load.restart(|| Life::begin(bed, address, &journals)));
        load.receive_beyond(seen);
    }
    load.end(|| pages(folder.path()), &[]);
}

/// What each connection brought, in order.
fn pages(folder: &Path) -> Vec<Vec<u64>> {
    let children = |folder: &Path| {
        let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
        let mut entries: Vec<PathBuf> = entries.collect();
        entries.sort();
        entries
    };
    let journals = children(folder).into_iter().flat_map(|life| children(&life));
    let page = |journal: PathBuf| fs::read(journal).expect("a journal").chunks_exact(8).map(number).collect();
    journals.map(page).collect()
}

const READY: &str = "listening";
