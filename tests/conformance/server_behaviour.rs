//! `server-behaviour-ts.json`: what clients wrote to a server of QWormhole, written to real servers of ours.

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use qwormhole::handshake::{HandshakeInfo, HandshakePolicy, Verifier};
use qwormhole::{CloseReason, Context, Framing, Handler, Limits, Message, PeerInfo, ServerBuilder};
use serde_json::{Map, Value, json};

use crate::support::gate::Gate;
use crate::support::peer::Peer;
use crate::support::vectors::deviations;
use crate::support::{Bed, PATIENCE, on_every_backend};

on_every_backend!(recorded_clients_see_a_server_that_follows_or_deviates_by_name);

fn recorded_clients_see_a_server_that_follows_or_deviates_by_name(bed: Bed) {
    let vectors: Value =
        serde_json::from_str(include_str!("../fixtures/server-behaviour-ts.json")).expect("valid JSON");
    let cases = vectors["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 25);
    let deviations = deviations("server-behaviour-ts");
    for (place, case) in cases.iter().enumerate() {
        let name = case["name"].as_str().expect("name");
        let recorded = Course::recorded(case);
        let expected = match deviations.get(&*format!("cases/{place}")) {
            Some(reason) => {
                let ours = deviating(name, &recorded);
                assert_ne!(ours, recorded, "`{name}` is no deviation any more: {reason}");
                ours
            }
            None => recorded,
        };
        assert_eq!(replay(bed, case, &expected), expected, "{name}");
    }
}

/// What a server makes of a connection.
#[derive(Clone, Debug, PartialEq)]
struct Course {
    events: Vec<Event>,
    closed_by_server: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Event {
    Open,
    /// A text, or where the recorded server decoded it, a value.
    Message {
        data: Value,
        handshake: Value,
    },
    Error {
        code: Option<String>,
        message: String,
    },
    Closed {
        had_error: bool,
    },
}

impl Course {
    /// As QWormhole was seen. Its `connection` is our `on_open`, but for the time.
    fn recorded(case: &Value) -> Self {
        assert_eq!(case["bytes_server_sent_hex"], "", "no server of QWormhole sends anything here");
        let event = |event: &Value| match event["event"].as_str().expect("event") {
            "connection" => Event::Open,
            "message" => {
                Event::Message { data: event["data"].clone(), handshake: doubles(&event["handshake"]) }
            }
            "error" => Event::Error {
                code: event["code"].as_str().map(str::to_owned),
                message: event["message"].as_str().expect("message").to_owned(),
            },
            "clientClosed" => Event::Closed { had_error: event["hadError"].as_bool().expect("hadError") },
            other => panic!("an unknown event: {other}"),
        };
        Self {
            events: case["events"].as_array().expect("events").iter().map(event).collect(),
            closed_by_server: case["socket_closed_by_server"].as_bool().expect("closed"),
        }
    }

    /// The refusal of a handshake: nothing else is told.
    fn refused(code: Option<&str>, message: &str) -> Self {
        let error = Event::Error { code: code.map(str::to_owned), message: message.to_owned() };
        Self { events: vec![error], closed_by_server: true }
    }

    /// An accepted connection that the client ends.
    fn of_messages(messages: &[&str], handshake: &Value) -> Self {
        let message =
            |data: &&str| Event::Message { data: Value::from(*data), handshake: doubles(handshake) };
        let mut events = vec![Event::Open];
        events.extend(messages.iter().map(message));
        events.push(Event::Closed { had_error: false });
        Self { events, closed_by_server: false }
    }
}

/// What we do where we deviate; the reasons are in docs/vectors.md.
fn deviating(name: &str, recorded: &Course) -> Course {
    let plain = json!({
        "version": "1.0.0",
        "entropyMetrics": {"entropy": 4, "entropyVelocity": "stable", "coherence": "low", "negIndex": 0.5},
        "policy": {
            "mode": "immune", "framing": "length-ack", "batchSize": 8, "codec": "messagepack",
            "requireAck": true, "requireChecksum": false, "trustLevel": 0.5,
        },
    });
    let handshake = r#"{"type":"handshake","version":"1.0.0"}"#;
    match name {
        "verifyHandshake sync false"
        | "verifyHandshake async false"
        | "verifyHandshake without protocolVersion is never called" => {
            Course::refused(Some("E_INVALID_HANDSHAKE"), "Handshake rejected")
        }
        "verifyHandshake async true, data later"
        | "verifyHandshake async (slow) true with coalesced data" => Course::of_messages(&["data"], &plain),
        "emitHandshakeMessages: first handshake emitted once, duplicates swallowed" => {
            Course::of_messages(&[handshake, r#"{"a":1}"#], &plain)
        }
        "oversize frame" => {
            let mut events = recorded.events[..2].to_vec();
            events.push(Event::Closed { had_error: true });
            Course { events, closed_by_server: true }
        }
        // The reason is the recorded one.
        _ => {
            let reason = recorded.events.iter().find_map(|event| match event {
                Event::Error { code, message } => Some(Course::refused(code.as_deref(), message)),
                _ => None,
            });
            reason.unwrap_or_else(|| panic!("`{name}` has no way to deviate"))
        }
    }
}

/// Writes a case's chunks to a server of ours.
fn replay(bed: Bed, case: &Value, expected: &Course) -> Course {
    let (told, telling) = channel();
    let gate = Arc::new(Gate::default());
    let refusals = told.clone();
    let server = server(bed, &case["server_options"], &gate)
        .on_reject(move |_, reason| refusals.send(error(reason)).expect("the test listens"))
        .start(move |_: &PeerInfo| Teller(told.clone()))
        .expect("start");
    let mut peer = Peer::connect(&server.local_addrs()[0]);
    for chunk in case["client_writes_hex"].as_array().expect("chunks") {
        peer.write_all(&unhex(chunk)).expect("a server that refuses still takes what comes");
    }
    gate.open();
    let mut events = Vec::new();
    if !expected.closed_by_server {
        // Whatever must happen before the end has happened.
        events.extend(expected.events.iter().skip(1).map(|_| next(&telling)));
        peer.end();
    }
    let sent = peer.read_to_end().expect("a clean end");
    assert_eq!(sent, b"", "nothing is answered");
    server.shutdown(PATIENCE);
    events.extend(telling.try_iter());
    let closed_by_server = events.iter().any(|event| matches!(event, Event::Error { .. }));
    Course { events, closed_by_server }
}

fn server(bed: Bed, options: &Value, gate: &Arc<Gate>) -> ServerBuilder {
    let mut server = bed.server().bind("127.0.0.1:0").expect("bind");
    let mut policy = options["protocolVersion"].as_str().map(HandshakePolicy::new);
    if let Some(source) = options["verifyHandshake"].as_str() {
        policy = Some(policy.unwrap_or_default().verifier(verifier(source, gate.clone())));
    }
    if let Some(policy) = policy {
        server = server.handshake(policy);
    }
    if let Some(limit) = options["maxFrameLength"].as_u64() {
        let mut limits = Limits::default();
        limits.max_frame_len = u32::try_from(limit).expect("u32");
        server = server.limits(limits);
    }
    if options["framing"] == "none" {
        server = server.framing(Framing::None);
    }
    server
}

/// The verifier that a JavaScript expression stands for. One that takes its time waits for the gate, which opens
/// when everything was written.
fn verifier(source: &str, gate: Arc<Gate>) -> Verifier {
    match source {
        "()=>false" => Verifier::sync(|_, _| false),
        "async()=>true" => Verifier::future(|_, _| async { true }),
        "async()=>false" => Verifier::future(|_, _| async { false }),
        "async()=>{await new Promise(r=>setTimeout(r,20));return true}" => {
            Verifier::future(move |_, _| gate.clone().opened())
        }
        "()=>{throw new Error(\"boom\")}" => Verifier::sync(|_, _| panic!("boom")),
        other => panic!("an unknown verifier: {other}"),
    }
}

/// Tells the test everything.
struct Teller(Sender<Event>);

impl Handler for Teller {
    fn on_open(&mut self, _conn: &mut Context<'_>) {
        let _ = self.0.send(Event::Open);
    }

    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        let handshake = conn.handshake().map_or(Value::Null, known);
        let data = std::str::from_utf8(&message).expect("every recorded message is text").into();
        let _ = self.0.send(Event::Message { data, handshake: doubles(&handshake) });
    }

    fn on_close(&mut self, _conn: &mut Context<'_>, reason: &CloseReason) {
        if reason.had_error() {
            let _ = self.0.send(error(reason));
        }
        let _ = self.0.send(Event::Closed { had_error: reason.had_error() });
    }
}

/// A reason, without what ours adds to QWormhole's text.
fn error(reason: &CloseReason) -> Event {
    let text = reason.to_string();
    let message = text.split(": ").next().unwrap_or_default().to_owned();
    let code = if let CloseReason::Handshake(fault) = reason { fault.code() } else { None };
    Event::Error { code: code.map(str::to_owned), message }
}

/// A handshake, as QWormhole shows it.
fn known(info: &HandshakeInfo) -> Value {
    let (metrics, policy) = (info.entropy_metrics, info.policy);
    let tags = info.tags.iter().map(|(name, _)| {
        let tag = info.tags.get(&name.to_string_lossy()).expect("a tag");
        let value = match tag {
            qwormhole::handshake::Tag::Number(number) => json!(number),
            qwormhole::handshake::Tag::Text(_) => json!(tag.text()),
        };
        (name.to_string_lossy().into_owned(), value)
    });
    let tags: Map<String, Value> = tags.collect();
    let whole = json!({
        "version": info.version,
        "tags": if tags.is_empty() { Value::Null } else { tags.into() },
        "nIndex": info.n_index,
        "negHash": info.neg_hash,
        "entropyMetrics": {
            "entropy": metrics.entropy,
            "entropyVelocity": metrics.entropy_velocity.map(|velocity| velocity.name()),
            "coherence": metrics.coherence.map(|coherence| coherence.name()),
            "negIndex": metrics.neg_index,
        },
        "policy": {
            "mode": policy.mode.name(),
            "framing": policy.framing.name(),
            "batchSize": policy.batch_size,
            "codec": policy.codec.name(),
            "requireAck": policy.require_ack,
            "requireChecksum": policy.require_checksum,
            "trustLevel": policy.trust_level,
        },
    });
    without_nulls(&whole)
}

/// What is missing in JavaScript is null here.
fn without_nulls(value: &Value) -> Value {
    let Value::Object(object) = value else { return value.clone() };
    let kept = object.iter().filter(|(_, value)| !value.is_null());
    kept.map(|(key, value)| (key.clone(), without_nulls(value))).collect::<Map<_, _>>().into()
}

/// Every number a double, so that 4 is 4.0.
fn doubles(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Object(object) => {
            object.iter().map(|(key, value)| (key.clone(), doubles(value))).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

fn next(telling: &Receiver<Event>) -> Event {
    telling.recv_timeout(PATIENCE).expect("the server tells in time")
}

fn unhex(text: &Value) -> Vec<u8> {
    let text = text.as_str().expect("hex");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}
