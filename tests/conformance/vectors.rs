//! `frames.json`: recorded frames of QWormhole, replayed against real servers.

use std::io::{Read, Write};

use qwormhole::{Address, CloseReason, Context, Handler, Limits, Message, PeerInfo};
use serde_json::Value;

use crate::support::peer::Peer;
use crate::support::record::{Answer, recorders};
use crate::support::vectors::deviations;
use crate::support::{Bed, on_every_backend, scratch, transports};

on_every_backend!(received_frames_are_those_of_the_vectors, sent_frames_are_those_of_the_vectors);

fn cases(kind: &str) -> Vec<Value> {
    let text = include_str!("../fixtures/frames.json");
    let vectors: Value = serde_json::from_str(text).expect("valid JSON");
    let mut cases = vectors["cases"].as_array().expect("cases").clone();
    cases.iter_mut().enumerate().for_each(|(place, case)| case["id"] = format!("cases/{place}").into());
    let chosen: Vec<Value> = cases.into_iter().filter(|case| case["kind"] == kind).collect();
    assert!(!chosen.is_empty(), "the vectors have cases of kind {kind}");
    chosen
}

fn unhex(text: &Value) -> Vec<u8> {
    let text = text.as_str().expect("hex");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

fn received_frames_are_those_of_the_vectors(bed: Bed) {
    let folder = scratch();
    for address in transports(&folder) {
        let mut deviated = Vec::new();
        for case in cases("decode") {
            let mut limits = Limits::default();
            limits.max_frame_len =
                u32::try_from(case["max_frame_length"].as_u64().expect("limit")).expect("u32");
            let (service, record) = recorders(Answer::Nothing);
            let server = bed
                .server()
                .bind(address.as_str())
                .expect("bind")
                .limits(limits)
                .start(service)
                .expect("start");
            let mut peer = Peer::connect(&server.local_addrs()[0]);
            for chunk in case["chunks_hex"].as_array().expect("chunks") {
                peer.write_all(&unhex(chunk)).expect("write");
            }
            peer.end();
            let (messages, reason) = record.until_close();
            let (mut expected, mut error) = (Vec::new(), None);
            for event in case["events"].as_array().expect("events") {
                if error.is_some() {
                    // QWormhole goes on with a stream it has lost its place in.
                    deviated.push(case["id"].as_str().expect("id").to_owned());
                } else if let Some(text) = event["error"].as_str() {
                    error = Some(text.to_owned());
                } else {
                    expected.push(unhex(&event["message_hex"]));
                }
            }
            assert_eq!(messages, expected, "{address}: {case}");
            match error {
                Some(text) => assert_eq!(reason.to_string(), text, "{address}: {case}"),
                None if case["name"] == "incomplete" || case["name"] == "default limit header only waits" => {
                    assert_eq!(reason, CloseReason::PeerTruncated, "{address}: {case}");
                }
                None => assert_eq!(reason, CloseReason::PeerClosed, "{address}: {case}"),
            }
        }
        assert!(deviated.iter().eq(deviations("frames").keys()), "{deviated:?} are not those of the table");
    }
}

/// Sends one payload and closes.
#[derive(Clone)]
struct Say(Vec<u8>);

impl Handler for Say {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        conn.send(std::mem::take(&mut self.0)).expect("the first message is accepted");
        conn.close();
    }

    fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {}
}

fn said(bed: Bed, address: &str, payload: Vec<u8>) -> Vec<u8> {
    let server = bed
        .server()
        .bind(address)
        .expect("bind")
        .start(move |_: &PeerInfo| Say(payload.clone()))
        .expect("start");
    let address: &Address = &server.local_addrs()[0];
    Peer::connect(address).read_to_end().expect("a clean end")
}

fn sent_frames_are_those_of_the_vectors(bed: Bed) {
    let folder = scratch();
    for address in transports(&folder) {
        for case in cases("encode") {
            let wire = said(bed, &address, unhex(&case["payload_hex"]));
            assert_eq!(wire, unhex(&case["wire_hex"]), "{address}: {}", case["name"]);
        }
        for case in cases("encode-large") {
            let len = case["payload_len"].as_u64().expect("length") as usize;
            let fill = case["payload_fill"].as_u64().expect("fill") as u8;
            let wire = said(bed, &address, vec![fill; len]);
            assert_eq!(wire.len() as u64, case["wire_len"].as_u64().expect("length"));
            assert_eq!(wire[..4], unhex(&case["header_hex"]));
            assert!((&wire[4..]).bytes().all(|byte| byte.expect("memory") == fill), "{address}: {len}");
        }
    }
}
