//! Writing JSON.

use super::Json;
use super::object::{JsonObject, rank};
use super::text::JsString;

/// The compact text that `JSON.stringify` writes.
pub fn stringify(value: &Json) -> String {
    let mut out = String::new();
    write_value(&mut out, value, Order::Kept);
    out
}

/// The text that signatures cover: as [`stringify()`], with the keys of every object sorted by UTF-16 code units,
/// integer-like ones first, ascending.
pub fn canonical(value: &Json) -> String {
    let mut out = String::new();
    write_value(&mut out, value, Order::Sorted);
    out
}

/// A number as JavaScript writes it: `1e+21`, `0.002147547870378218`, `0` for both zeros, `Infinity`.
pub fn number_text(number: f64) -> String {
    // Adding zero turns -0 into 0.
    ryu_js::Buffer::new().format(number + 0.0).to_string()
}

#[derive(Clone, Copy)]
enum Order {
    Kept,
    Sorted,
}

fn write_value(out: &mut String, value: &Json, order: Order) {
    match value {
        Json::Null => out.push_str("null"),
        Json::Bool(true) => out.push_str("true"),
        Json::Bool(false) => out.push_str("false"),
        Json::Number(number) if number.is_finite() => out.push_str(&number_text(*number)),
        Json::Number(_) => out.push_str("null"),
        Json::String(text) => write_string(out, text),
        Json::Array(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                write_value(out, item, order);
            }
            out.push(']');
        }
        Json::Object(object) => write_object(out, object, order),
    }
}

fn write_object(out: &mut String, object: &JsonObject, order: Order) {
    let mut entries: Vec<(&JsString, &Json)> = object.iter().collect();
    if let Order::Sorted = order {
        entries.sort_by(|(a, _), (b, _)| rank(a).cmp(&rank(b)).then_with(|| a.cmp(b)));
    }
    out.push('{');
    for (place, (key, value)) in entries.into_iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        write_string(out, key);
        out.push(':');
        write_value(out, value, order);
    }
    out.push('}');
}

fn write_string(out: &mut String, text: &JsString) {
    out.push('"');
    for decoded in char::decode_utf16(text.units()) {
        match decoded {
            Ok('"') => out.push_str("\\\""),
            Ok('\\') => out.push_str("\\\\"),
            Ok('\u{8}') => out.push_str("\\b"),
            Ok('\t') => out.push_str("\\t"),
            Ok('\n') => out.push_str("\\n"),
            Ok('\u{c}') => out.push_str("\\f"),
            Ok('\r') => out.push_str("\\r"),
            Ok(control @ '\0'..='\u{1f}') => escape(out, control as u16),
            Ok(character) => out.push(character),
            Err(lone) => escape(out, lone.unpaired_surrogate()),
        }
    }
    out.push('"');
}

fn escape(out: &mut String, unit: u16) {
    out.push_str(&format!("\\u{unit:04x}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_as_javascript_does() {
        let text = "\0\u{8}\t\n\u{b}\u{c}\r\u{1f} \"\\/\u{7f}\u{2028}é\u{1f30d}";
        let expected = "\"\\u0000\\b\\t\\n\\u000b\\f\\r\\u001f \\\"\\\\/\u{7f}\u{2028}é\u{1f30d}\"";
        assert_eq!(stringify(&text.into()), expected);
    }

    #[test]
    fn canonical_sorts_every_level_by_code_units_with_integers_first() {
        let inner: JsonObject = [("z", 1.0), ("\u{fffd}", 2.0), ("\u{1f30d}", 3.0)].into_iter().collect();
        let mut outer = JsonObject::new();
        outer.insert("b", Json::Array(vec![inner.into()]));
        outer.insert("a", -0.0);
        outer.insert("10", 1e21);
        outer.insert("9", f64::NAN);
        let expected = "{\"9\":null,\"10\":1e+21,\"a\":0,\"b\":[{\"z\":1,\"\u{1f30d}\":3,\"\u{fffd}\":2}]}";
        assert_eq!(canonical(&outer.into()), expected);
    }
}
