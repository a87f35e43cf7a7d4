#!/usr/bin/env python3
"""A server written from docs/wire-format.md alone, with nothing but the standard library and ed25519.py.

server.py [--version V] [--signed] [--cert FILE --key FILE]

Says its port, serves one client and ends: takes a handshake if it has a version, echoes every message and ends the
stream when the client does. Speaks TLS if it has a certificate. Says how many messages it echoed, or why it refused.
"""

import argparse
import base64
import json
import socket
import ssl

import client
import ed25519


def fault(payload, options):
    """Why a handshake is refused; nothing if it is not."""
    handshake = json.loads(payload)
    if handshake.get("type") != "handshake" or handshake.get("version", options.version) != options.version:
        return "not a handshake of this version"
    if not options.signed:
        return None
    if not {"ts", "nIndex", "negHash", "nonce", "publicKey", "signature"} <= handshake.keys():
        return "not signed"
    signature = base64.b64decode(handshake.pop("signature"))
    key = base64.b64decode(handshake["publicKey"])
    if client.key_facts(key)[1] != handshake["negHash"]:
        return "the hash of another key"
    honest = ed25519.verifies(key[12:], client.canonical(handshake).encode(), signature)
    return None if honest else "a signature that does not verify"


def serve(stream, options):
    refused = fault(client.receive(stream), options) if options.version else None
    if refused:
        return f"refused: {refused}"
    echoed = 0
    try:
        while True:
            client.send(stream, client.receive(stream))
            echoed += 1
    except EOFError:
        return f"echoed {echoed}"


def main():
    parser = argparse.ArgumentParser()
    for name in ("--version", "--cert", "--key"):
        parser.add_argument(name)
    parser.add_argument("--signed", action="store_true")
    options = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    listener.settimeout(20)
    stream, _ = listener.accept()
    stream.settimeout(20)
    if options.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.cert, options.key)
        stream = context.wrap_socket(stream, server_side=True)
    print(serve(stream, options), flush=True)
    if options.cert:
        stream = stream.unwrap()
    stream.close()


if __name__ == "__main__":
    main()
