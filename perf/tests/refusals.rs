//! What goes wrong is said in one clear line, with a non-zero exit code.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

#[test]
fn unknown_names_and_bad_flags_say_what_would_be_right() {
    refused(&["run", "pingpnog"], "there are: pingpong, echo, stream, send-one");
    refused(&["run", "--system", "epol"], "there are: engine, engine-park, engine-unix, engine-unsliced");
    refused(&["run", "pingpong", "--connections", "2"], "--connections");
    refused(&["run", "stream", "--from-thread"], "send-one");
    refused(&["run", "--json", "x.json"], "name it");
    refused(&["run", "echo", "--size", "99999999"], "4194304");
    refused(&["run", "--server-cpus", "1000"], "CPU 1000");
    refused(&["client", "stream", "--connect", "127.0.0.1:1"], "use run");
    refused(&["client", "idle", "--connect", "127.0.0.1:1"], "client takes pingpong, echo, rate, churn");
    refused(&["run", "rate"], "--rate");
    refused(&["run", "echo", "--rate", "5"], "it belongs to rate, overload");
    refused(&["run", "rate", "--rate", "999999999"], "100000000");
    refused(&["run", "churn", "--depth", "2"], "--depth");
    refused(&["run", "stream", "--mixed"], "steps");
    refused(&["run", "pingpong", "--slicing", "off"], "steps");
    refused(&["run", "steps", "--warmup", "0"], "--warmup");
    refused(&["run", "idle", "--attackers", "2"], "overload");
    for flags in [
        ["run", "--duration", "soon"],
        ["run", "--fail-if", "fast"],
        ["run", "--speed", "1"],
        ["run", "--slicing", "some"],
    ] {
        assert_eq!(perf(&flags).status.code(), Some(2), "{flags:?}");
    }
}

#[test]
fn an_occupied_port_is_named() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let line = refused(&["server", "--system", "fallback", "--listen", &address], &address);
    assert_eq!(line.matches("in use").count(), 1, "{line}");
}

#[test]
fn an_unreachable_peer_is_named() {
    let address = {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("tcp://{}", free.local_addr().unwrap())
    };
    for scenario in [&["pingpong"][..], &["echo"], &["rate", "--rate", "10"], &["churn"]] {
        let flags = [&["client"], scenario, &["--system", "fallback", "--connect", &address]].concat();
        let line = refused(&flags, &address["tcp://".len()..]);
        assert!(line.contains("refused"), "{line}");
    }
}

#[test]
fn a_peer_that_sends_garbage_is_noticed() {
    for (garbage, told) in [(&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "limit"), (b"\x00\x00\x00\x01x", "")] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let peer = thread::spawn(move || {
            for socket in listener.incoming().take(4) {
                let mut socket = socket.unwrap();
                let mut request = [0; 4];
                let _ = socket.read_exact(&mut request);
                let _ = socket.write_all(garbage);
                // Until the client gives up.
                let _ = socket.read_to_end(&mut Vec::new());
            }
        });
        let base = ["--system", "fallback", "--connect", &address, "--duration", "300ms", "--warmup", "0"];
        let with = |scenario: &[&'static str]| [&["client"], scenario, &base].concat();
        refused(&with(&["pingpong"]), told);
        refused(&with(&["echo"]), "echo server");
        refused(&with(&["rate", "--rate", "100"]), "echo server");
        refused(&with(&["churn"]), "echo server");
        peer.join().unwrap();
    }
}

#[test]
fn a_single_altered_byte_makes_the_run_fail() {
    for scenario in [&["pingpong"][..], &["echo"], &["rate", "--rate", "1000"]] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let peer = thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut frame = [0; 4 + 64];
            for number in 0_u64.. {
                if socket.read_exact(&mut frame).is_err() {
                    return;
                }
                frame[67] ^= u8::from(number == 3);
                if socket.write_all(&frame).is_err() {
                    return;
                }
            }
        });
        let base = ["--system", "fallback", "--connect", &address, "--duration", "300ms", "--warmup", "0"];
        let line = refused(&[&["client"], scenario, &base].concat(), "1 corrupt");
        assert!(line.contains(" 0 messages were lost"), "{line}");
        peer.join().unwrap();
    }
}

#[test]
fn a_rate_that_is_not_kept_is_no_result() {
    let base = ["run", "rate", "--system", "fallback", "--duration", "500ms", "--warmup", "100ms"];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("result.json");
    for (flags, told) in [
        // One at a time, and each takes the handler 5 ms: 200 of 2,000.
        (["--rate", "2000", "--think", "5ms"], "the server answered"),
        // More than one thread can ask for.
        (["--rate", "20000000", "--depth", "100000"], "saturated"),
    ] {
        let line = refused(&[&base[..], &flags, &["--json", file.to_str().unwrap()]].concat(), told);
        assert!(line.contains("saturated"), "{line}");
        assert!(!file.exists(), "{flags:?}");
    }
}

#[test]
fn handler_time_is_part_of_the_latency() {
    let flags = ["run", "rate", "--rate", "50", "--think", "3ms", "--fail-if", "raw_rtt_us_p50 >= 3000"];
    let more = ["--system", "fallback", "--duration", "400ms", "--warmup", "0"];
    assert_eq!(perf(&[&flags[..], &more].concat()).status.code(), Some(99));
}

#[test]
fn a_peer_that_never_answers_is_noticed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let flags = ["client", "echo", "--connect", &address, "--duration", "100ms", "--warmup", "0"];
    refused(&[&flags[..], &["--system", "fallback"]].concat(), "no message came through");
}

#[test]
fn a_threshold_that_holds_gives_its_own_exit_code() {
    let base = ["run", "pingpong", "--system", "fallback", "--duration", "100ms", "--warmup", "0"];
    let with = |condition: &str| perf(&[&base[..], &["--fail-if", condition]].concat());
    assert_eq!(with("rtt_us_p50 > 0").status.code(), Some(99));
    assert_eq!(with("rtt_us_p50 <= 0").status.code(), Some(0));
    let absent = with("server_spin_enters_per_s > 0");
    assert_eq!(absent.status.code(), Some(1));
    assert!(stderr(&absent).contains("was not measured"), "{absent:?}");
}

#[test]
fn nothing_but_notes_reaches_a_standard_error_that_is_no_terminal() {
    let output = perf(&["run", "pingpong", "--system", "fallback", "--duration", "100ms", "--warmup", "0"]);
    assert!(output.status.success());
    assert!(stderr(&output).lines().all(|line| line.starts_with("note: ")), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("round trip"), "{output:?}");
}

#[test]
fn the_server_echoes_frames_of_any_client() {
    let (_server, address) = server(&[]);
    let mut client = TcpStream::connect(&address).unwrap();
    client.write_all(b"\x00\x00\x00\x05hello\x00\x00\x00\x00\x00\x00\x00\x02!!").unwrap();
    let mut echoed = [0; 19];
    client.read_exact(&mut echoed).unwrap();
    assert_eq!(&echoed, b"\x00\x00\x00\x05hello\x00\x00\x00\x00\x00\x00\x00\x02!!");
}

#[test]
fn a_running_server_can_be_measured() {
    let (_server, address) = server(&["--token", "secret word"]);
    let base = ["--system", "fallback", "--connect", &address, "--duration", "100ms", "--warmup", "0"];
    for scenario in ["pingpong", "echo"] {
        let with = |token: &[&str]| perf(&[&["client", scenario], &base[..], token].concat());
        let good = with(&["--token", "secret word"]);
        assert!(good.status.success(), "{good:?}");
        let wrong = with(&["--token", "guess"]);
        assert!(!wrong.status.success() && stderr(&wrong).contains("token"), "{wrong:?}");
        assert!(!with(&[]).status.success());
    }
}

/// Asserts that the flags are refused in one line that contains `told`; the line.
fn refused(flags: &[&str], told: &str) -> String {
    let output = perf(flags);
    assert_eq!(output.status.code(), Some(1), "{flags:?}: {output:?}");
    let text = stderr(&output);
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("note: ")).collect();
    assert_eq!(lines.len(), 1, "{flags:?}: {text}");
    assert!(lines[0].starts_with("qwormhole-perf: ") && lines[0].contains(told), "{flags:?}: {text}");
    lines[0].to_owned()
}

fn perf(flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_qwormhole-perf")).args(flags).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A server on a free port and its address; killed when dropped.
fn server(flags: &[&str]) -> (Killed, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_qwormhole-perf"))
        .args(["server", "--system", "fallback", "--listen", "127.0.0.1:0"])
        .args(flags)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.split_whitespace().nth(2).unwrap().trim_start_matches("tcp://").to_owned();
    (Killed(child), address)
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
