//! What the keys of a handshake may hold.

use super::fault::HandshakeFault;
use super::json::{JsString, Json, JsonObject};

/// The known keys, in the order in which they travel; unknown ones follow.
const KEYS: &[&str] =
    &["type", "version", "sid", "caps", "nv", "ts", "sig", "tags", "nIndex", "negHash", "entropyMetrics"];
const METRICS_KEYS: &[&str] = &["entropy", "entropyVelocity", "coherence", "negIndex"];
const NV_KEYS: &[&str] = &["hash", "entropy", "vector"];

/// Checks `object` and puts its keys in the order of the wire.
pub(super) fn normalize(object: JsonObject) -> Result<JsonObject, HandshakeFault> {
    if object.get("type").and_then(Json::as_string).is_none_or(|kind| *kind != "handshake") {
        return Err(HandshakeFault::at(&["type"], "\"handshake\""));
    }
    let mut object = object.with_first(KEYS);
    for (key, known) in [("entropyMetrics", METRICS_KEYS), ("nv", NV_KEYS)] {
        if let Some(Json::Object(inner)) = object.get(key) {
            let ordered = inner.clone().with_first(known);
            object.insert(key, ordered);
        }
    }
    for key in ["version", "sid", "sig", "negHash"] {
        check(&object, &[], key, is_text, TEXT)?;
    }
    check(&object, &[], "ts", |value| timestamp(value).is_some(), "an integer from 0 to 2^53-1")?;
    check(&object, &[], "nIndex", is_number, NUMBER)?;
    check_nv(&object)?;
    check_caps(&object)?;
    check_tags(&object)?;
    check_metrics(&object)?;
    Ok(object)
}

/// A time in ms, as far as JavaScript's integers are exact.
pub(super) fn timestamp(value: &Json) -> Option<u64> {
    let number = value.as_number()?;
    let exact = (0.0..=TS_MAX).contains(&number) && number.fract() == 0.0;
    exact.then_some(number as u64)
}

/// A string that is not empty.
pub(super) fn is_text(value: &Json) -> bool {
    value.as_string().is_some_and(|text| !text.is_empty())
}

/// A finite number.
pub(super) fn is_number(value: &Json) -> bool {
    value.as_number().is_some_and(f64::is_finite)
}

fn is_at_least_zero(value: &Json) -> bool {
    is_number(value) && value.as_number().is_some_and(|number| number >= 0.0)
}

/// Checks `key`, if it is there.
fn check(
    object: &JsonObject,
    inside: &[&str],
    key: &str,
    holds: impl Fn(&Json) -> bool,
    expected: &'static str,
) -> Result<(), HandshakeFault> {
    match object.get(key) {
        Some(value) if !holds(value) => Err(HandshakeFault::at(&[inside, &[key]].concat(), expected)),
        Some(_) | None => Ok(()),
    }
}

fn check_nv(object: &JsonObject) -> Result<(), HandshakeFault> {
    let expected = "a non-empty string or an object";
    check(object, &[], "nv", |value| is_text(value) || value.as_object().is_some(), expected)?;
    let Some(nv) = object.get("nv").and_then(Json::as_object) else { return Ok(()) };
    check(nv, &["nv"], "hash", is_text, TEXT)?;
    check(nv, &["nv"], "entropy", is_at_least_zero, AT_LEAST_ZERO)?;
    let numbers = |value: &Json| matches!(value, Json::Array(items) if items.iter().all(is_number));
    check(nv, &["nv"], "vector", numbers, "an array of numbers")
}

fn check_caps(object: &JsonObject) -> Result<(), HandshakeFault> {
    check(object, &[], "caps", |value| value.as_object().is_some(), "an object")?;
    let Some(caps) = object.get("caps").and_then(Json::as_object) else { return Ok(()) };
    let bad = caps.iter().find(|(_, value)| !is_capability(value));
    bad.map_or(Ok(()), |(key, _)| Err(at_key("caps", key, "free of null")))
}

/// Depth is bounded by the parser, and by the check before a handshake of our own is written.
fn is_capability(value: &Json) -> bool {
    match value {
        Json::Null => false,
        Json::Bool(_) | Json::String(_) => true,
        Json::Number(number) => number.is_finite(),
        Json::Array(items) => items.iter().all(is_capability),
        Json::Object(object) => object.iter().all(|(_, value)| is_capability(value)),
    }
}

fn check_tags(object: &JsonObject) -> Result<(), HandshakeFault> {
    check(object, &[], "tags", |value| value.as_object().is_some(), "an object")?;
    let Some(tags) = object.get("tags").and_then(Json::as_object) else { return Ok(()) };
    let bad = tags.iter().find(|(_, value)| !(value.as_string().is_some() || is_number(value)));
    bad.map_or(Ok(()), |(key, _)| Err(at_key("tags", key, "a string or a number")))
}

fn check_metrics(object: &JsonObject) -> Result<(), HandshakeFault> {
    check(object, &[], "entropyMetrics", |value| value.as_object().is_some(), "an object")?;
    let Some(metrics) = object.get("entropyMetrics").and_then(Json::as_object) else { return Ok(()) };
    let inside = &["entropyMetrics"];
    let one_of = |names: &'static [&str]| {
        move |value: &Json| value.as_string().is_some_and(|text| names.iter().any(|name| text == name))
    };
    check(metrics, inside, "entropy", is_at_least_zero, AT_LEAST_ZERO)?;
    let velocities = one_of(&["low", "stable", "rising", "spiking"]);
    check(metrics, inside, "entropyVelocity", velocities, "low, stable, rising or spiking")?;
    let coherences = one_of(&["high", "medium", "low", "chaos"]);
    check(metrics, inside, "coherence", coherences, "high, medium, low or chaos")?;
    let share = |value: &Json| value.as_number().is_some_and(|number| (0.0..=1.0).contains(&number));
    check(metrics, inside, "negIndex", share, "a number from 0 to 1")
}

fn at_key(inside: &str, key: &JsString, expected: &'static str) -> HandshakeFault {
    HandshakeFault::at(&[inside, &key.to_string_lossy()], expected)
}

const TEXT: &str = "a non-empty string";
const NUMBER: &str = "a number";
const AT_LEAST_ZERO: &str = "a number of at least 0";
/// The largest integer below which all are exact: 2^53-1.
const TS_MAX: f64 = 9_007_199_254_740_991.0;
