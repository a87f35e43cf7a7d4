#!/usr/bin/env python3
"""A client written from docs/wire-format.md alone, with nothing but the standard library and ed25519.py.

client.py HOST PORT [LENGTH]... [--version V] [--tag KEY=VALUE] [--seed HEX] [--tamper] [--ca FILE]

Connects, over TLS if a CA is given; sends a handshake if a version is given, signed if a seed is given; sends a
message of each length and expects it back. Says "echoed N" and exits with 0, or "refused" and exits with 3.
"""

import argparse
import base64
import hashlib
import json
import math
import socket
import ssl
import struct
import sys
import time
from collections import Counter
from decimal import Decimal

import ed25519


def number(value):
    """A number as JavaScript writes it."""
    value = float(value) + 0.0
    if value == 0 or 1e-6 <= abs(value) < 1e21:
        return format(Decimal(repr(value)), "f").removesuffix(".0")
    return repr(value).replace("e-0", "e-")


def order(key):
    is_index = key.isascii() and key.isdigit() and str(int(key)) == key and int(key) < 2**32 - 1
    return (0, int(key), b"") if is_index else (1, 0, key.encode("utf-16-be"))


def canonical(value):
    if isinstance(value, dict):
        return "{" + ",".join(f"{canonical(key)}:{canonical(value[key])}" for key in sorted(value, key=order)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number(value) if is_number else json.dumps(value, ensure_ascii=False)


def key_facts(key):
    """nIndex, negHash and nonce of the 44 bytes of a key."""
    shares = [count / len(key) for count in Counter(key).values()]
    entropy = max(-sum(share * math.log2(share) for share in shares), 1e-6)
    index = min(max(key[0] / (sum(key) or 1) / entropy, 0.0), 1.0)
    mask = math.floor(255 * index)
    neg_hash = hashlib.sha256(key + bytes(byte ^ mask for byte in key) + b"%.6f" % index).digest()
    nonce = bytes(hashlib.sha256(neg_hash + bytes([place])).digest()[0] for place in range(16))
    return index, neg_hash.hex(), base64.b64encode(nonce).decode()


def signed(handshake, seed, ts):
    key = bytes.fromhex("302a300506032b6570032100") + ed25519.public_key(seed)
    index, neg_hash, nonce = key_facts(key)
    facts = {"ts": ts, "nIndex": index, "negHash": neg_hash, "nonce": nonce, "publicKey": base64.b64encode(key).decode()}
    handshake = handshake | facts
    signature = ed25519.sign(seed, canonical(handshake).encode())
    return handshake | {"signature": base64.b64encode(signature).decode()}


def send(stream, payload):
    stream.sendall(struct.pack(">I", len(payload)) + payload)


def receive_exactly(stream, length):
    data = bytearray()
    while len(data) < length:
        part = stream.recv(min(length - len(data), 1 << 16))
        if not part:
            raise EOFError
        data += part
    return bytes(data)


def receive(stream):
    return receive_exactly(stream, struct.unpack(">I", receive_exactly(stream, 4))[0])


def main():
    parser = argparse.ArgumentParser()
    for name in ("host", "port", "--version", "--tag", "--seed", "--ca"):
        parser.add_argument(name)
    parser.add_argument("lengths", nargs="*", type=int)
    parser.add_argument("--tamper", action="store_true")
    options = parser.parse_args()
    stream = socket.create_connection((options.host, int(options.port)), timeout=20)
    if options.ca:
        stream = ssl.create_default_context(cafile=options.ca).wrap_socket(stream, server_hostname=options.host)
    if options.version:
        handshake = {"type": "handshake", "version": options.version}
        if options.tag:
            handshake["tags"] = dict([options.tag.split("=")])
        if options.seed:
            handshake = signed(handshake, bytes.fromhex(options.seed), time.time_ns() // 1_000_000)
        if options.tamper:
            handshake["tags"] = {"tampered": 1}
        send(stream, json.dumps(handshake).encode())
    try:
        for length in options.lengths:
            message = bytes(place * 7 % 251 for place in range(length))
            send(stream, message)
            assert receive(stream) == message, f"the echo of {length} bytes differs"
    except EOFError:
        print("refused")
        sys.exit(3)
    if options.ca:
        stream = stream.unwrap()
    stream.shutdown(socket.SHUT_WR)
    assert stream.recv(1) == b"", "something is left"
    print("echoed", len(options.lengths))


if __name__ == "__main__":
    main()
