//! TLS, exported keying material and handshakes with Node at the other end.

use std::io::BufRead;

use qwormhole::handshake::{ClientHandshake, HandshakeFault, HandshakePolicy};
use qwormhole::{Client, CloseReason, TlsExporter, TlsFacts, TlsOptions, TlsVersion};
use serde_json::{Value, json};

use crate::program::Program;
use crate::support::certs::{Authority, Identity};
use crate::support::{Bed, block_on, on_every_backend};
use crate::watched::Watched;

on_every_backend!(
    a_node_client_is_bound_to_its_certificate,
    a_node_client_that_names_another_certificate_is_rejected,
    a_node_client_without_a_certificate_cannot_name_one,
    our_client_is_bound_to_its_certificate_at_a_node_server,
    keying_material_is_the_same_with_every_context,
);

/// A script in the folder `node`; it runs until its connection ends.
struct Node(Program);

impl Node {
    fn start(script: &str, options: &Value) -> Self {
        let script = format!("{}/tests/secure/node/{script}", env!("CARGO_MANIFEST_DIR"));
        Self(Program::start("node", &[&script, &options.to_string()]))
    }

    /// The value that it tells under this name first.
    fn told(&self, name: &str) -> Value {
        serde_json::from_str(&self.0.after(&format!("{name}: "))).expect("JSON")
    }

    /// Everything it tells under this name until its end.
    fn finish(self, name: &str) -> Vec<Value> {
        let (name, all) = (format!("{name}: "), self.0.finish());
        let told = all.as_bytes().lines().map_while(Result::ok);
        told.filter_map(|line| serde_json::from_str(line.strip_prefix(&name)?).ok()).collect()
    }

    /// Node and we agree about the connection.
    #[track_caller]
    fn assert_agrees(&self, facts: &TlsFacts, version: TlsVersion) {
        assert_eq!(facts.version, version);
        assert_eq!(self.told("protocol"), version.to_string());
        assert_eq!(self.told("material"), facts.session_key(None).expect("exported"));
        assert_eq!(self.told("alpn"), *facts.alpn.as_ref().expect("agreed"));
        assert_eq!(self.told("cipher"), facts.cipher);
        assert_eq!(self.told("own"), json!(facts.peer_fingerprint256));
        assert_eq!(self.told("peer"), json!(facts.own_fingerprint256));
    }
}

fn is_installed() -> bool {
    Program::is_installed("node", "--version")
}

/// Both ends, as `TlsOptions` and as Node's options.
struct Ends {
    authority: Authority,
    host: Identity,
    own: Identity,
}

impl Ends {
    fn new() -> Self {
        let authority = Authority::new("authority");
        let (host, own) = (authority.issue(&[HOST]), authority.issue(&["client.test"]));
        Self { authority, host, own }
    }

    fn server(&self) -> TlsOptions {
        let options = TlsOptions::new().cert(&*self.host.cert).key(&*self.host.key);
        let options = options.ca(self.authority.pem()).request_cert(true).alpn_protocols(["qw"]);
        options.export_keying_material(TlsExporter::default())
    }

    fn client(&self) -> TlsOptions {
        let options = TlsOptions::new().cert(&*self.own.cert).key(&*self.own.key).ca(self.authority.pem());
        let options = options.alpn_protocols(["qw"]).server_name(HOST);
        options.export_keying_material(TlsExporter::default())
    }

    fn node(&self, identity: &Identity, version: TlsVersion) -> Value {
        let version = version.to_string();
        json!({
            "cert": identity.cert, "key": identity.key, "ca": self.authority.pem(), "ALPNProtocols": ["qw"],
            "minVersion": version, "maxVersion": version,
        })
    }

    fn node_client(&self, server: &Watched, version: TlsVersion, handshake: Value) -> Node {
        let mut tls = self.node(&self.own, version);
        tls["port"] = json!(server.address().socket_addr().expect("numeric").port());
        tls["servername"] = json!(HOST);
        Node::start("client.mjs", &json!({ "tls": tls, "exporter": exporter(), "handshake": handshake }))
    }

    fn node_server(&self, version: TlsVersion, exporter: &Value) -> (Node, String) {
        let mut tls = self.node(&self.host, version);
        tls["requestCert"] = json!(true);
        let node = Node::start("server.mjs", &json!({ "tls": tls, "exporter": exporter }));
        let address = format!("tls://127.0.0.1:{}", node.told("port"));
        (node, address)
    }
}

fn a_node_client_is_bound_to_its_certificate(bed: Bed) {
    if !is_installed() {
        return;
    }
    let ends = Ends::new();
    for version in VERSIONS {
        let server = Watched::start(bed, ends.server(), Some(HandshakePolicy::new("1.0.0")));
        let mut node =
            ends.node_client(&server, version, json!({ "tags": { "service": "node" }, "then": ["along"] }));
        node.0.write(b"\"hello\"\n\"\"\n");
        let peer = server.peer();
        let facts = peer.tls.expect("TLS");
        node.assert_agrees(&facts, version);
        assert!(facts.authorized);
        let info = peer.handshake.expect("a handshake");
        let tag = |name: &str| info.tags.get(name).map(|tag| tag.text());
        assert_eq!(tag("service").as_deref(), Some("node"));
        assert_eq!(
            (tag("tlsFingerprint256"), tag("tlsAlpn")),
            (facts.peer_fingerprint256.clone(), Some("qw".into()))
        );
        let tls = info.tls.as_ref().expect("a snapshot");
        assert_eq!(tls.session_key, facts.session_key(None));
        node.0.expect(b"message: \"\"\n");
        node.0.end();
        server.assert_ended(&[b"along", b"hello", b""], &CloseReason::PeerClosed);
        assert_eq!(node.finish("message"), ["along", "hello", ""]);
    }
}

fn a_node_client_that_names_another_certificate_is_rejected(bed: Bed) {
    if !is_installed() {
        return;
    }
    let ends = Ends::new();
    let wrong = ["AB"; 32].join(":");
    for version in VERSIONS {
        let server = Watched::start(bed, ends.server(), Some(HandshakePolicy::new("1.0.0")));
        let node =
            ends.node_client(&server, version, json!({ "fingerprint": wrong, "then": ["not for you"] }));
        server.assert_rejected(&CloseReason::Handshake(HandshakeFault::TlsFingerprintMismatch));
        assert_eq!(node.told("end"), "clean", "it was told of the end");
        assert_eq!(node.told("closed"), Value::Null, "and not cut");
        assert_eq!(node.finish("message"), Vec::<Value>::new());
    }
}

fn a_node_client_without_a_certificate_cannot_name_one(bed: Bed) {
    if !is_installed() {
        return;
    }
    let mut ends = Ends::new();
    let claimed = ["AB"; 32].join(":");
    let server = Watched::start(bed, ends.server().request_cert(false), Some(HandshakePolicy::new("1.0.0")));
    ends.own = Identity { cert: String::new(), key: String::new() };
    let node = ends.node_client(&server, TlsVersion::Tls13, json!({ "fingerprint": claimed }));
    server.assert_rejected(&CloseReason::Handshake(HandshakeFault::TlsFingerprintMismatch));
    assert_eq!(node.told("closed"), Value::Null);
}

fn our_client_is_bound_to_its_certificate_at_a_node_server(bed: Bed) {
    if !is_installed() {
        return;
    }
    let ends = Ends::new();
    for version in VERSIONS {
        let (node, address) = ends.node_server(version, &exporter());
        let handshake =
            ClientHandshake::new("1.0.0").tag("service", "ours").tag("tlsFingerprint256", "spoofed");
        let client = Client::builder().backend(bed.backend).tls(ends.client()).handshake(handshake);
        block_on(async {
            let mut conn = client.connect(address).await.expect("connect");
            conn.send("hello").await.expect("send");
            let echoed = conn.recv().await.expect("open").expect("the handshake, echoed");
            assert_eq!(conn.recv().await.expect("open").expect("the message"), "hello");
            let facts = conn.peer().tls.clone().expect("TLS");
            node.assert_agrees(&facts, version);
            let handshake: Value = serde_json::from_slice(&echoed).expect("JSON");
            let tags = json!({
                "service": "ours", "tlsFingerprint256": node.told("peer"), "tlsFingerprint": facts.own_fingerprint,
                "tlsAlpn": "qw", "tlsSessionKey": node.told("material"),
            });
            assert_eq!(handshake, json!({ "type": "handshake", "version": "1.0.0", "tags": tags }));
            assert_eq!(conn.close().await, CloseReason::Local);
        });
        assert_eq!((node.told("end"), node.told("closed")), (json!("clean"), Value::Null));
    }
}

fn keying_material_is_the_same_with_every_context(bed: Bed) {
    if !is_installed() {
        return;
    }
    let ends = Ends::new();
    for version in VERSIONS {
        for (length, context) in [(32, &b""[..]), (64, b"\x00\xffcontext"), (1, b"c")] {
            let label = "EXPERIMENTAL test";
            let hex: String = context.iter().map(|byte| format!("{byte:02x}")).collect();
            let theirs = json!({ "label": label, "length": length, "context": hex });
            let (node, address) = ends.node_server(version, &theirs);
            let exporter = TlsExporter { label: label.into(), length, context: context.into() };
            let options = ends.client().export_keying_material(exporter);
            let client = Client::builder().backend(bed.backend).tls(options);
            let conn = block_on(client.connect(address)).expect("connect");
            node.assert_agrees(conn.peer().tls.as_ref().expect("TLS"), version);
        }
    }
}

/// Ours by default, in Node's words.
fn exporter() -> Value {
    json!({ "label": "qwormhole-negentropic", "length": 32, "context": "" })
}

const HOST: &str = "worm.test";
const VERSIONS: [TlsVersion; 2] = [TlsVersion::Tls12, TlsVersion::Tls13];
