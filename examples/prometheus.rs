//! A server whose counters Prometheus can scrape; this one scrapes itself once and ends.
//!
//! `cargo run --example prometheus --features metrics`

use std::error::Error;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use qwormhole::{Client, Context, Handler, Message, PeerInfo, Server};

struct Echo;

impl Handler for Echo {
    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        // An error means that the connection is ending: nobody is left to answer.
        let _ = conn.reply(message);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let recorder = PrometheusBuilder::new().install_recorder()?;
    let (told, ticks) = sync_channel(1);
    let server = Server::builder()
        .bind("tcp://127.0.0.1:0")?
        .publish_metrics()
        .on_telemetry(Duration::from_millis(50), move |now| {
            // Told before the counters are published; the next tick finds this one published.
            let _ = told.try_send(now.messages_in);
        })
        .start(|_: &PeerInfo| Echo)?;

    // Where Prometheus is to look: `GET /metrics`.
    let endpoint = TcpListener::bind("127.0.0.1:0")?;
    let scraped = endpoint.local_addr()?;
    let answers = thread::spawn(move || serve_one_scrape(&endpoint, &recorder));

    pollster::block_on(async {
        let mut conn = Client::builder().connect(&server.local_addrs()[0]).await?;
        for word in ["hello", "world"] {
            conn.send(word).await?;
            conn.recv().await.transpose().map_err(std::io::Error::from)?;
        }
        conn.close().await;
        Ok::<_, Box<dyn Error>>(())
    })?;
    while ticks.recv()? < 2 {}
    // The last counters are published when the server has ended.
    server.shutdown(Duration::from_secs(5));

    let mut stream = TcpStream::connect(scraped)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    answers.join().map_err(|_| "the endpoint failed")??;
    page.lines().filter(|line| line.starts_with("qwormhole_")).for_each(|line| println!("{line}"));
    assert!(page.contains("qwormhole_frames_total{dir=\"in\"} 2"), "{page}");
    Ok(())
}

/// The whole of an HTTP server that one scrape needs.
fn serve_one_scrape(endpoint: &TcpListener, recorder: &PrometheusHandle) -> std::io::Result<()> {
    let (mut stream, _) = endpoint.accept()?;
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") && request.len() < REQUEST_LEN_MAX {
        let mut byte = [0];
        if stream.read(&mut byte)? == 0 {
            return Ok(());
        }
        request.extend_from_slice(&byte);
    }
    let body = recorder.render();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n";
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len())
}

const REQUEST_LEN_MAX: usize = 8 << 10;
