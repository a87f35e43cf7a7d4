//! The reference's token bucket and priority queue, step by step. Where we differ on purpose is listed
//! in docs/vectors.md.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use qwormhole_proto::{
    Config, ConnId, Context, Framing, Handler, Message, PeerAddr, PeerInfo, Priority, RateLimit, Session,
    ShardLocal, Time, TokenBucket,
};
use serde_json::Value;

#[path = "../../tests/support/vectors.rs"]
mod table;

/// Steps that differ on purpose: case, step, ours. The reasons are in docs/vectors.md.
const BUCKET_DEVIATIONS: &[(usize, usize, u64)] = &[(0, 4, 60), (0, 7, 0), (1, 3, 70), (3, 2, 2)];

/// Cases whose configuration we refuse: case, option at fault.
const BUCKETS_REFUSED: &[(usize, &str)] = &[(2, "rate_limit.bytes_per_s")];

/// Statistics of the reference's queue that are not kept.
const STATS_DEVIATIONS: &[&str] = &["length", "maxLength", "totalDequeued", "maxBytes"];

#[test]
fn a_token_bucket_follows_the_reference_or_a_named_deviation() {
    let cases = fixture("token-bucket.json");
    assert_eq!(cases.len(), 4);
    let mut deviated = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let limit = RateLimit::new(uint(case, "rate")).with_burst(uint(case, "burst"));
        if let Err(refused) = config(Some(limit)).validate() {
            assert!(BUCKETS_REFUSED.contains(&(number, refused.option)), "case {number}: {refused}");
            continue;
        }
        let mut bucket = TokenBucket::new(limit);
        let mut now_ms = 0;
        for (place, step) in case["steps"].as_array().unwrap().iter().enumerate() {
            let now = Time::from_nanos(now_ms * 1_000_000);
            bucket.refill(now);
            let (ours, theirs) = if let Some(bytes) = step["reserve"].as_u64() {
                let wait = bucket.available_at(bytes).saturating_since(now).as_nanos() as u64;
                bucket.charge(bytes);
                // The reference's clock has milliseconds.
                let wait_ms = if wait < 1_000_000 { 0 } else { wait.div_ceil(1_000_000) };
                (wait_ms, uint(step, "wait_ms"))
            } else if let Some(advance) = step["advance_ms"].as_u64() {
                now_ms += advance;
                continue;
            } else {
                (bucket.available(), uint(step, "available"))
            };
            if ours != theirs {
                deviated.push((number, place, ours));
            }
        }
    }
    assert_eq!(deviated, BUCKET_DEVIATIONS);
    for (number, _) in BUCKETS_REFUSED {
        assert_eq!(uint(&cases[*number], "rate"), 0, "case {number} is no deviation any more");
    }
    let named =
        BUCKET_DEVIATIONS.iter().map(|(case, ..)| case).chain(BUCKETS_REFUSED.iter().map(|(case, _)| case));
    let named: BTreeSet<String> = named.map(|case| format!("cases/{case}")).collect();
    assert!(
        named.iter().eq(table::deviations("token-bucket").keys()),
        "{named:?} are not those of the table"
    );
}

/// Queues a case's items when the connection opens.
struct Queues(Vec<(Priority, String)>);

impl Handler for Queues {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        for (priority, data) in &self.0 {
            conn.send_with(*priority, data.as_str()).expect("there is room");
        }
    }

    fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {}
}

#[test]
fn priorities_leave_in_the_reference_order_and_statistics_agree() {
    let cases = fixture("priority-queue.json");
    assert_eq!(cases.len(), 1);
    for (case, rate_limit) in cases.iter().flat_map(|case| [(case, None), (case, Some(RateLimit::new(1000)))])
    {
        let items = case["enqueue"].as_array().unwrap().iter();
        let items = items.map(|item| {
            let priority = item["priority"].as_f64().unwrap();
            // As the Node package maps a JavaScript number.
            let priority = Priority((priority * 1024.0).round() as i32);
            (priority, item["data"].as_str().unwrap().to_owned())
        });
        let mut local = ShardLocal::default();
        let peer = PeerInfo::new(PeerAddr::Unknown);
        let config = Arc::new(config(rate_limit));
        let mut session = Session::new(
            ConnId::new(0, 0, 0),
            peer,
            config,
            qwormhole_proto::Owner::handler(Queues(items.collect())),
        );
        session.open(&mut local);
        check_stats(&case["stats_after_enqueue"], &session);
        let mut order = Vec::new();
        while let Some(transmit) = session.poll_transmit(&mut local) {
            transmit.segments().iter().for_each(|segment| order.extend_from_slice(segment.as_slice()));
            let taken = transmit.len();
            session.handle_transmitted(&mut local, transmit, Ok(taken));
        }
        let expected: String =
            case["dequeue_order"].as_array().unwrap().iter().map(|data| data.as_str().unwrap()).collect();
        assert_eq!(String::from_utf8(order).unwrap(), expected);
        check_stats(&case["stats_after_dequeue"], &session);
    }
}

fn check_stats(expected: &Value, session: &Session<Queues>) {
    let stats = session.connection().stats();
    let queued = session.connection().queued_bytes() as u64;
    for (name, expected) in expected.as_object().expect("an object") {
        let ours = match name.as_str() {
            "totalEnqueued" => stats.messages_out,
            "bytes" => queued,
            "bytesEnqueued" => queued + stats.bytes_out,
            "bytesDequeued" => stats.bytes_out,
            other => {
                let reason = table::deviations("priority-queue")["cases/0"];
                let named = STATS_DEVIATIONS.contains(&other) && reason.contains(&format!("`{other}`"));
                assert!(named, "{other} is new");
                continue;
            }
        };
        assert_eq!(Some(ours), expected.as_u64(), "{name}");
    }
}

/// The reference counts payload bytes only; without framing so do we.
fn config(rate_limit: Option<RateLimit>) -> Config {
    let mut config = Config::default();
    config.framing = Framing::None;
    config.rate_limit = rate_limit;
    config
}

fn fixture(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let vectors: Value = serde_json::from_str(&text).expect("JSON");
    vectors["cases"].as_array().expect("cases").clone()
}

fn uint(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("{key} of {value}"))
}
