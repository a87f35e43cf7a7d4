//! JSON, numbers, base64 and key formulas against Node itself. Without Node the test says so and passes.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use fastrand::Rng;
use qwormhole_proto::handshake::json::{Json, JsonLimits, canonical, parse, stringify};
use qwormhole_proto::handshake::{n_index, n_index_of_base64, neg_hash};

/// Reads lines of hexadecimal bytes; answers each with what JavaScript makes of it.
const SCRIPT: &str = r#"
const { createHash } = require('crypto');
const sorted = (v) => Array.isArray(v) ? v.map(sorted)
  : v && typeof v === 'object' ? Object.fromEntries(Object.keys(v).sort().map((k) => [k, sorted(v[k])])) : v;
const index = (k) => {
  const counts = new Map(); let sum = 0;
  for (const b of k) { counts.set(b, (counts.get(b) || 0) + 1); sum += b; }
  let h = 0; for (const c of counts.values()) { const p = c / k.length; h -= p * Math.log2(p); }
  const n = (k.length ? k[0] / (sum || 1) : 0) / Math.max(h, 1e-6);
  return Number.isFinite(n) ? Math.min(1, Math.max(0, n)) : 0;
};
const hash = (k) => {
  const n = index(k), mask = Math.floor(n * 255);
  const masked = Buffer.from(k.map((b) => b ^ mask));
  return createHash('sha256').update(k).update(masked).update(n.toFixed(6)).digest('hex');
};
const hex = (s) => Buffer.from(s, 'utf8').toString('hex');
const out = require('fs').readFileSync(0, 'latin1').split('\n').slice(0, -1).map((line) => {
  const bytes = Buffer.from(line, 'hex'); let json = '- -';
  try {
    const v = JSON.parse(bytes.toString('utf8'));
    json = hex(JSON.stringify(v)) + ' ' + hex(JSON.stringify(sorted(v)));
  } catch { }
  const n = Buffer.alloc(16); n.writeDoubleBE(index(bytes)); n.writeDoubleBE(index(Buffer.from(bytes.toString('latin1'), 'base64')), 8);
  return json + ' ' + n.toString('hex') + ' ' + hash(bytes);
});
process.stdout.write(out.join('\n') + '\n');
"#;

#[test]
fn texts_numbers_and_keys_are_what_node_makes_of_them() {
    let inputs = inputs();
    let mut lines = String::new();
    for input in &inputs {
        lines.push_str(&hex(input));
        lines.push('\n');
    }
    let Some(answers) = ask_node(&lines) else { return };
    let answers: Vec<&str> = answers.lines().collect();
    assert_eq!(answers.len(), inputs.len());
    let mut valid = 0;
    for (input, answer) in inputs.iter().zip(answers) {
        assert_eq!(ours(input), answer, "{:?}", String::from_utf8_lossy(input));
        valid += usize::from(!answer.starts_with('-'));
    }
    println!("{} inputs agree with node, {valid} of them are JSON", inputs.len());
    assert!(valid > inputs.len() / 10 && valid < inputs.len(), "{valid} of {} are JSON", inputs.len());
}

/// Node's answers; `None`, and a line that says so, where there is no Node.
fn ask_node(lines: &str) -> Option<String> {
    let spawned =
        Command::new("node").args(["-e", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut node) = spawned else {
        println!("skipped: there is no node");
        return None;
    };
    node.stdin.take().expect("a pipe").write_all(lines.as_bytes()).expect("node reads");
    let output = node.wait_with_output().expect("node ends");
    assert!(output.status.success());
    Some(String::from_utf8(output.stdout).expect("text"))
}

fn ours(input: &[u8]) -> String {
    let limits = JsonLimits { bytes_max: 1 << 16, depth_max: 64 };
    let both =
        |value: Json| format!("{} {}", hex(stringify(&value).as_bytes()), hex(canonical(&value).as_bytes()));
    let json = parse(input, limits).map_or_else(|_| "- -".into(), both);
    let latin1: String = input.iter().map(|byte| char::from(*byte)).collect();
    let [index, of_base64] = [n_index(input), n_index_of_base64(&latin1)].map(f64::to_bits);
    format!("{json} {index:016x}{of_base64:016x} {}", neg_hash(input))
}

fn hex(bytes: &[u8]) -> String {
    let mut digits = String::new();
    bytes.iter().for_each(|byte| write!(digits, "{byte:02x}").expect("a string takes it"));
    digits
}

/// Texts made of pieces, some of them damaged, and numbers of every size.
fn inputs() -> Vec<Vec<u8>> {
    let seed = std::env::var("QWORMHOLE_SIM_SEED").ok().map_or(7, |text| text.parse().expect("a number"));
    println!("seed {seed}; another one: QWORMHOLE_SIM_SEED=n");
    let mut rng = Rng::with_seed(seed);
    let mut inputs: Vec<Vec<u8>> = FIXED.iter().map(|text| text.to_vec()).collect();
    for _ in 0..3000 {
        let mut text = value(&mut rng, 0).into_bytes();
        if rng.u8(0..3) == 0 && !text.is_empty() {
            for _ in 0..rng.u8(1..4) {
                let at = rng.usize(0..text.len());
                text[at] = rng
                    .choice(b"\"\\{}[],:0-.eEu \x80\xff\xe2\xf0\xed\xa0\t\x01".iter())
                    .copied()
                    .expect("not empty");
            }
        }
        inputs.push(text);
        inputs.push(f64::from_bits(rng.u64(..)).to_string().into_bytes());
        inputs.push(format!("{:e}", f64::from_bits(rng.u64(..))).into_bytes());
        inputs.push((0..rng.usize(0..64)).map(|_| rng.u8(..)).collect());
        // Keys as they are, with a fixed start and random bytes.
        let spki = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00".iter().copied();
        inputs.push(spki.chain((0..32).map(|_| rng.u8(..))).collect());
    }
    inputs
}

fn value(rng: &mut Rng, depth: u32) -> String {
    let space = |rng: &mut Rng| ["", "", "", " ", "\n\t", "\r"][rng.usize(0..6)];
    match rng.u8(0..if depth < 5 { 10 } else { 6 }) {
        0 => ["true", "false", "null"][rng.usize(0..3)].into(),
        1 => format!("{}", rng.i64(..)),
        2 => format!("{}.{}e{}", rng.i32(-99..99), rng.u32(..), rng.i32(-330..330)),
        3 => ["0", "-0", "1E5", "1e+5", "-1.50", "00", "1.", "9007199254740993"][rng.usize(0..8)].into(),
        4 | 5 => string(rng),
        6 | 7 => {
            let items: Vec<String> = (0..rng.u8(0..5)).map(|_| value(rng, depth + 1)).collect();
            format!("[{}{}]", space(rng), items.join(&format!("{},", space(rng))))
        }
        _ => {
            let entry = |rng: &mut Rng| format!("{}{}:{}", string(rng), space(rng), value(rng, depth + 1));
            let entries: Vec<String> = (0..rng.u8(0..7)).map(|_| entry(rng)).collect();
            format!("{{{}{}}}", space(rng), entries.join(","))
        }
    }
}

fn string(rng: &mut Rng) -> String {
    const PIECES: &[&str] = &[
        "a",
        "b",
        "10",
        "2",
        "0",
        "01",
        "é",
        "\u{1f30d}",
        "\u{2028}",
        "\u{fffd}",
        "\\n",
        "\\/",
        "\\\"",
        "\\\\",
        "\\u0000",
        "\\u001F",
        "\\ud83c",
        "\\udf0d",
        "\\uD83C\\uDF0D",
        "\\u00e9",
        "\\ufeff",
        "\u{7f}",
        "4294967294",
        "4294967295",
        "",
    ];
    let pieces: String = (0..rng.u8(0..4)).map(|_| PIECES[rng.usize(0..PIECES.len())]).collect();
    format!("\"{pieces}\"")
}

const FIXED: &[&[u8]] = &[
    b"",
    b"\xef\xbb\xbf1",
    b"1e999",
    b"-1e999",
    b"[1e21,1e-7,123456789012345680000,5e-324,1.7976931348623157e308,0.000001]",
    b"{\"b\":1,\"a\":2,\"b\":3,\"1\":4,\"0\":5,\"1\":6}",
    b"{\"\xff\":1,\"\xfe\":2}",
    b"\"\xed\xa0\x80\"",
    b"\"\xf0\x9f\x8c\"",
    b"\"\\ud800\\ud800\\udc00\"",
];
