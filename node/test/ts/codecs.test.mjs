import assert from "node:assert/strict";
import { test } from "node:test";

import * as cborg from "cborg";
import {
  bufferDeserializer,
  createCborCodec,
  createCborSerializer,
  defaultSerializer,
  jsonDeserializer,
  jsonSerializer,
  textDeserializer,
} from "qwormhole";

import { fixture } from "./support/fixtures.mjs";

const vectors = fixture("codecs");
const serializers = { default: defaultSerializer, json: jsonSerializer, cbor: createCborSerializer() };

function input(text) {
  const bytes = /^(Uint8Array|Buffer)\[(.*)\]$/.exec(text);
  if (bytes === null) return text === "{n: 10n}" ? { n: 10n } : JSON.parse(text);
  const values = bytes[2].split(",").map(Number);
  return bytes[1] === "Buffer" ? Buffer.from(values) : Uint8Array.from(values);
}

for (const { codec, name, input: text, hex } of vectors.cases) {
  test(`vector: ${codec} writes ${name}`, () => {
    assert.equal(serializers[codec](input(text)).toString("hex"), hex);
  });
}

test("vectors: what deserializers make of bytes", () => {
  const deserializers = { json: jsonDeserializer, text: textDeserializer };
  for (const { codec, hex, result } of vectors.deserialize) {
    assert.equal(deserializers[codec](Buffer.from(hex, "hex")), result);
  }
});

test("bytes as they are may be kept", () => {
  const slab = Buffer.from("abc");
  const kept = bufferDeserializer(slab);
  slab.fill(0);
  assert.equal(kept.toString(), "abc");
});

const cbor = createCborCodec();
const VALUES = [
  0, 1, 23, 24, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1, -1, -24, -25, -256, -257, -(2 ** 53 - 1),
  1.5, -4.1, 1e300, Infinity, -Infinity, "", "a", "ü水𐅑", "x".repeat(70_000), true, false, null, undefined,
  [], [1, [2, [3]]], {}, { a: { b: [1, "c", null] } }, Array.from({ length: 300 }, (_, i) => i),
];

test("CBOR: values come back, and another implementation reads and writes the same", () => {
  for (const value of VALUES) {
    const bytes = cbor.serializer(value);
    assert.deepEqual(cbor.deserializer(bytes), value);
    assert.deepEqual(cborg.decode(bytes), value);
    assert.deepEqual(cbor.deserializer(Buffer.from(cborg.encode(value))), value);
  }
});

test("CBOR: bigints, dates, bytes and maps come back", () => {
  for (const value of [2n ** 53n, 2n ** 64n - 1n, 2n ** 64n, -(2n ** 64n), -(2n ** 64n) - 1n, 2n ** 200n]) {
    assert.equal(cbor.deserializer(cbor.serializer(value)), value);
  }
  const date = new Date(1_700_000_000_123);
  assert.equal(cbor.deserializer(cbor.serializer({ date })).date.getTime(), date.getTime());
  assert.deepEqual(cbor.deserializer(cbor.serializer({ b: Uint8Array.of(1, 2) })).b, Uint8Array.of(1, 2));
  assert.deepEqual(cbor.deserializer(cbor.serializer({ b: Buffer.of(1, 2) })).b, Buffer.of(1, 2));
  assert.deepEqual(cbor.deserializer(cbor.serializer(new Map([[1, "a"]]))), new Map([[1, "a"]]));
  assert.ok(Object.is(cbor.deserializer(cbor.serializer(-0)), -0));
});

// Appendix A of RFC 8949, where it goes beyond what we write.
for (const [hex, value] of [
  ["f90000", 0], ["f93c00", 1], ["f97bff", 65_504], ["f90001", 5.960464477539063e-8], ["f9c400", -4], ["f97c00", Infinity],
  ["fa47c35000", 100_000], ["c1fb41d452d9ec200000", new Date(1_363_896_240_500)], ["c074323031332d30332d32315432303a30343a30305a", new Date("2013-03-21T20:04:00Z")],
  ["5f42010243030405ff", Buffer.from([1, 2, 3, 4, 5])], ["7f657374726561646d696e67ff", "streaming"],
  ["9f018202039f0405ffff", [1, [2, 3], [4, 5]]], ["bf61610161629f0203ffff", { a: 1, b: [2, 3] }],
  ["d82076687474703a2f2f7777772e6578616d706c652e636f6d", "http://www.example.com"],
]) {
  test(`CBOR: ${hex} is read`, () => assert.deepEqual(cbor.deserializer(Buffer.from(hex, "hex")), value));
}

test("CBOR: NaN is read and written", () => {
  assert.ok(Number.isNaN(cbor.deserializer(Buffer.from("f97e00", "hex"))));
  assert.ok(Number.isNaN(cbor.deserializer(cbor.serializer(NaN))));
});

test("CBOR: a key named __proto__ is a member like any other", () => {
  const value = cbor.deserializer(Buffer.from("a1695f5f70726f746f5f5fa16178f5", "hex"));
  assert.deepEqual(Object.keys(value), ["__proto__"]);
  assert.equal(value.x, undefined);
});

for (const [what, hex] of [
  ["nothing", ""], ["an early end", "61"], ["bytes after the value", "0000"], ["a break", "ff"], ["a break as an item", "81ff"],
  ["an announced length of 2^63", "5b8000000000000000"], ["an announced array of 2^32", "9affffffff"], ["a reserved length", "1c"],
  ["an odd map", "bf01ff"], ["text in pieces of bytes", "5f6161ff"], ["an integer of indefinite length", "1f"], ["a simple value", "f0"],
  ["65 arrays", `${"81".repeat(65)}00`], ["a million tags", "c1".repeat(1_000_000)],
]) {
  test(`CBOR: ${what} is refused`, () => {
    assert.throws(() => cbor.deserializer(Buffer.from(hex, "hex")), { code: "E_CODEC" });
  });
}

test("CBOR: what cannot be written is refused", () => {
  const cycle = [];
  cycle.push(cycle);
  for (const value of [cycle, () => {}, Symbol("s")]) assert.throws(() => cbor.serializer(value), { code: "E_CODEC" });
});
