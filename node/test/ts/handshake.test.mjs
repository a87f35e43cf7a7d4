import assert from "node:assert/strict";
import { test } from "node:test";

import {
  computeEntropyMetrics,
  computeNIndex,
  createHandshakeSigner,
  createHandshakeVerifier,
  createNegentropicHandshake,
  createNegentropicKeyPair,
  deriveCoherenceLevel,
  deriveEntropyPolicy,
  deriveEntropyVelocity,
  isNegentropicHandshake,
  mergeEntropyPolicies,
  verifyNegentropicHandshake,
} from "qwormhole";

import { fixture } from "./support/fixtures.mjs";

const vectors = fixture("negentropic");

test("vectors: the index of a key", () => {
  for (const { input_b64, nIndex } of vectors.compute_nindex) assert.equal(computeNIndex(input_b64), nIndex, input_b64);
});

for (const each of vectors.cases) {
  test(`vector: the handshake of seed ${each.seed_hex.slice(0, 8)}… is made byte for byte`, () => {
    const { version, tags } = JSON.parse(each.handshake_json);
    const made = createNegentropicHandshake({ secretKey: each.pkcs8_b64, version, tags, ts: each.ts });
    assert.equal(JSON.stringify(made), each.handshake_json);
    assert.equal(verifyNegentropicHandshake(JSON.parse(each.handshake_json)), each.verifies);
  });
}

for (const { name, payload, verifies, looks_negentropic } of vectors.verify_cases) {
  test(`vector: ${name} ${verifies ? "verifies" : "does not verify"}`, () => {
    assert.equal(verifyNegentropicHandshake(payload), verifies);
    if (looks_negentropic !== undefined) assert.equal(isNegentropicHandshake(payload), looks_negentropic);
  });
}

test("keys that cannot sign are refused without being shown", () => {
  const { publicKey } = createNegentropicKeyPair();
  for (const secretKey of ["c2VjcmV0", publicKey, ""]) {
    assert.throws(() => createHandshakeSigner({ secretKey }), (error) => {
      assert.equal(error.code, "E_INVALID_OPTION");
      return !error.message.includes("c2VjcmV0") && error.cause === undefined;
    });
  }
});

test("a signer never makes the same handshake twice", () => {
  const { secretKey } = createNegentropicKeyPair();
  const signer = createHandshakeSigner({ secretKey, ts: 1, tags: { a: 1 }, extra: { more: true } });
  const [one, two] = [signer(), signer()];
  assert.notEqual(one.signature, two.signature);
  for (const each of [one, two]) assert.ok(verifyNegentropicHandshake(each));
  assert.deepEqual([one.tags, one.more, one.nonce], [{ a: 1 }, true, two.nonce]);
});

test("a verifier asks for versions and tags", () => {
  const verify = createHandshakeVerifier({ allowedVersions: ["1", "2"], validateTags: (tags) => tags.role === "worker" });
  const base = { type: "handshake", version: "1", tags: { role: "worker" } };
  assert.equal(verify(base), true);
  assert.equal(verify({ ...base, version: "3" }), false);
  assert.equal(verify({ ...base, version: undefined }), false);
  assert.equal(verify({ ...base, tags: undefined }), false);
  assert.equal(verify({ ...base, tags: { role: true } }), false);
  assert.equal(verify({ version: "1" }), false);
  assert.equal(createHandshakeVerifier()({ type: "handshake" }), true);
});

test("vectors: policies, coherence, velocity and their merging", () => {
  const { cases, velocity_cases, merge_cases, default_without_negIndex, only_coherence_given } = fixture("entropy-policy");
  for (const each of cases) {
    assert.deepEqual(deriveEntropyPolicy({ negIndex: each.negIndex }), each.policy);
    assert.equal(deriveCoherenceLevel(each.negIndex), each.coherence);
    assert.deepEqual(computeEntropyMetrics(each.negIndex), each.metrics);
  }
  for (const { previous, current, deltaMs, velocity, metrics } of velocity_cases) {
    assert.equal(deriveEntropyVelocity(previous, current, deltaMs), velocity);
    assert.deepEqual(computeEntropyMetrics(current, previous, deltaMs), metrics);
  }
  for (const { local, peer, policy } of merge_cases) {
    const metrics = (negIndex) => (negIndex === null || negIndex === undefined ? undefined : { negIndex });
    assert.deepEqual(mergeEntropyPolicies(metrics(local), metrics(peer)), policy);
  }
  assert.deepEqual(deriveEntropyPolicy(), default_without_negIndex);
  assert.deepEqual(deriveEntropyPolicy({ coherence: "high" }), only_coherence_given);
});
