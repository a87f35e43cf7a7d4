//! The rpc adapter against servers that do as they like.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use qwormhole_ml::{Adapter, AdapterError, Rpc, RpcOptions};
use serde_json::json;

/// What a server received.
struct Request {
    head: String,
    body: String,
}

/// A server for one request: reads it whole and lets `answer` do the rest.
fn server(answer: impl FnOnce(TcpStream) + Send + 'static) -> (String, JoinHandle<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/judge?x=1", listener.local_addr().expect("an address"));
    let thread = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(reader.read_line(&mut head).expect("a line"), 0, "{head}");
        }
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.expect("a content length")];
        reader.read_exact(&mut body).expect("the body");
        answer(stream);
        Request { head, body: String::from_utf8(body).expect("text") }
    });
    (url, thread)
}

fn answered(text: impl Into<Vec<u8>>) -> (String, JoinHandle<Request>) {
    let text = text.into();
    server(move |mut stream| {
        // The other side may have heard enough.
        let _ = stream.write_all(&text);
    })
}

fn response(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

fn options(url: String) -> RpcOptions {
    let mut options = RpcOptions::new(url);
    options.timeout = Duration::from_secs(20);
    options
}

fn ask(options: RpcOptions) -> Result<serde_json::Value, AdapterError> {
    Rpc::new(options).expect("options that work").query(&json!({ "rtt": [1, 2.5], "é": null }))
}

#[test]
fn metrics_are_posted_as_json_and_the_body_is_the_answer() {
    let (url, server) = answered(response("200 OK", r#"{"mode":"high"}"#));
    let mut options = options(url);
    options.headers = vec![("Authorization".into(), "Bearer secret".into())];
    assert!(!format!("{options:?}").contains("secret"));
    assert_eq!(ask(options).expect("an answer"), json!({ "mode": "high" }));
    let request = server.join().expect("no panic");
    assert_eq!(request.body, r#"{"rtt":[1,2.5],"é":null}"#);
    let head = request.head.to_ascii_lowercase();
    assert!(head.starts_with("post /judge?x=1 http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-type: application/json\r\n"), "{head}");
    assert!(head.contains("\r\nauthorization: bearer secret\r\n"), "{head}");
}

#[test]
fn an_empty_body_is_an_empty_object() {
    for text in [response("200 OK", ""), response("200 OK", "\r\n"), "HTTP/1.1 204 No Content\r\n\r\n".into()]
    {
        let (url, _server) = answered(text);
        assert_eq!(ask(options(url)).expect("an answer"), json!({}));
    }
}

#[test]
fn what_is_no_success_is_an_error_with_the_status() {
    for (status, code) in
        [("302 Found\r\nLocation: http://127.0.0.1:1/", 302), ("404 X", 404), ("500 X", 500)]
    {
        let (url, _server) = answered(response(status, r#"{"mode":"high"}"#));
        let error = ask(options(url)).expect_err("no success");
        assert_eq!(error.to_string(), format!("rpc adapter HTTP {code}"));
        assert!(matches!(error, AdapterError::Status { status } if status == code));
    }
}

#[test]
fn what_is_no_json_and_no_http_is_an_error() {
    let (url, _server) = answered(response("200 OK", "high"));
    assert!(matches!(ask(options(url)), Err(AdapterError::NotJson { adapter: "rpc", .. })));
    let (url, _server) = answered("hello?\r\n\r\n");
    assert!(matches!(ask(options(url)), Err(AdapterError::Request(_))));
    // Ends in the middle of what it announced.
    let (url, _server) = answered("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}");
    assert!(matches!(ask(options(url)), Err(AdapterError::Request(_))));
    let (url, _server) = answered(response("200 OK", &"[".repeat(1_000_000)));
    assert!(matches!(ask(options(url)), Err(AdapterError::NotJson { .. })));
}

#[test]
fn nobody_there_is_an_error() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    assert!(matches!(ask(options(format!("http://{closed}/"))), Err(AdapterError::Request(_))));
}

#[test]
fn an_answer_up_to_the_limit_is_taken_and_a_longer_one_is_cut_off() {
    let body = format!("[{}]", " ".repeat(998));
    for (bytes_max, fits) in [(1000, true), (999, false)] {
        let chunked =
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n{body}\r\n0\r\n\r\n");
        for text in [response("200 OK", &body), chunked] {
            let (url, _server) = answered(text);
            let mut options = options(url);
            options.answer_bytes_max = bytes_max;
            let answer = ask(options);
            assert_eq!(answer.is_ok(), fits, "{answer:?}");
            let cut = matches!(answer, Err(AdapterError::TooLarge { adapter: "rpc", bytes_max: 999 }));
            assert!(fits || cut, "{answer:?}");
        }
    }
}

#[test]
fn an_answer_without_end_is_cut_off() {
    let (url, server) = server(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b' '; 65536]).is_ok() {}
    });
    assert!(matches!(ask(options(url)), Err(AdapterError::TooLarge { bytes_max: 1_048_576, .. })));
    // The server saw the connection end.
    server.join().expect("no panic");
}

#[test]
fn the_timeout_covers_the_whole_request() {
    // Says nothing; says half of the head; drips the body. Each until the client has left.
    let scripts: [fn(TcpStream); 3] = [
        |mut stream| {
            let _ = stream.read(&mut [0]);
        },
        |mut stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-");
            let _ = stream.read(&mut [0]);
        },
        |mut stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
            stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
            // A byte, and a wait for the end that a client's leaving cuts short.
            while stream.write_all(b" ").is_ok() && stream.read(&mut [0]).is_err() {}
        },
    ];
    for script in scripts {
        let (url, server) = server(script);
        let mut options = options(url);
        options.timeout = Duration::from_millis(300);
        let start = Instant::now();
        let error = ask(options).expect_err("no answer");
        assert!(matches!(error, AdapterError::TimedOut { adapter: "rpc", .. }), "{error:?}");
        assert_eq!(error.to_string(), "rpc adapter: no answer within 300ms");
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        server.join().expect("no panic");
    }
}

#[test]
fn a_head_without_end_is_refused() {
    let (url, server) = server(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while stream.write_all(b"X-Filler: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n").is_ok() {}
    });
    assert!(matches!(ask(options(url)), Err(AdapterError::Request(_))));
    server.join().expect("no panic");
}

/// TLS is spoken, and a peer that speaks none is an error.
#[cfg(feature = "https")]
#[test]
fn https_to_a_server_without_tls_fails() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://{}/", listener.local_addr().expect("an address"));
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut first = [0; 2];
        stream.read_exact(&mut first).expect("bytes");
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        first
    });
    match Rpc::new(options(url)) {
        Ok(rpc) => {
            assert!(matches!(rpc.query(&json!({})), Err(AdapterError::Request(_))));
            assert_eq!(server.join().expect("no panic"), [0x16, 0x03], "a TLS handshake record");
        }
        // A system without certificates says so.
        Err(error) => assert!(error.to_string().contains("certificates"), "{error}"),
    }
}

#[test]
fn options_that_cannot_work_are_refused_by_name() {
    let good = || RpcOptions::new("http://localhost:1/");
    let mut cases = Vec::new();
    for url in ["", "localhost", "/path", "ftp://localhost/", "http://", "http:///x", "tcp://a:1"] {
        cases.push((RpcOptions::new(url), "`url`"));
    }
    for (name, value) in [("two words", "x"), ("", "x"), ("x", "a\r\nb: c")] {
        let mut options = good();
        options.headers = vec![(name.into(), value.into())];
        cases.push((options, "`headers`"));
    }
    for timeout in [Duration::ZERO, Duration::from_secs(3601)] {
        let mut options = good();
        options.timeout = timeout;
        cases.push((options, "`timeout`"));
    }
    for bytes_max in [0, (64 << 20) + 1] {
        let mut options = good();
        options.answer_bytes_max = bytes_max;
        cases.push((options, "`answer_bytes_max`"));
    }
    for (options, name) in cases {
        let error = Rpc::new(options).expect_err(name).to_string();
        assert!(error.contains(name), "{error}");
    }
}
