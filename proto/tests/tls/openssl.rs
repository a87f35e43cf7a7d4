//! The filter against OpenSSL over loopback, where it is installed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use qwormhole_proto::{TlsAlert, TlsExporter, TlsFault, TlsFilter, TlsOptions, TlsVersion};

use crate::certificates::{Authority, HOST, NOW_S, client, server};
use crate::pair::End;

/// `openssl` with its pipes; it ends with the test.
struct OpenSsl {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl OpenSsl {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new("openssl")
            .args(arguments)
            .args(["-attime", &NOW_S.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, stdin, stdout: BufReader::new(stdout) }
    }

    /// What follows `word` on the first line that has it.
    fn after(&mut self, word: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.stdout.read_line(&mut line).unwrap(), 0, "openssl ended before `{word}`");
            if let Some((_, rest)) = line.split_once(word) {
                return rest.trim().to_string();
            }
        }
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A filter on a socket.
struct Link {
    end: End,
    socket: TcpStream,
}

impl Link {
    fn new(tls: TlsFilter, socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { end: End::new(tls), socket }
    }

    /// Moves bytes until `done`, or until a fault.
    fn run(&mut self, done: impl Fn(&End) -> bool) {
        let mut buffer = [0; 4096];
        loop {
            let out = self.end.output();
            // A peer that refused may be gone already; what it said is read below.
            let _ = self.socket.write_all(&out);
            if self.end.fault.is_some() || done(&self.end) {
                return;
            }
            match self.socket.read(&mut buffer).expect("openssl goes on") {
                0 => self.end.fault = self.end.tls.handle_eof().err(),
                len => self.end.take(&buffer[..len]),
            }
        }
    }

    fn shake(&mut self) {
        self.run(|end| !end.tls.is_handshaking());
        assert_eq!(self.end.fault, None);
    }

    fn exchange(&mut self, openssl: &mut OpenSsl) {
        openssl.stdin.write_all(b"answer\n").unwrap();
        self.end.tls.write(b"\nquestion\n");
        self.run(|end| end.received == b"answer\n");
        assert_eq!(self.end.received, b"answer\n", "{:?}", self.end.fault);
    }
}

/// Files for one test; they are removed with it.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("qwormhole-tls-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn put(&self, name: &str, content: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_string()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn is_installed() -> bool {
    let found = Command::new("openssl").arg("version").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("not checked: openssl is not installed");
    }
    found
}

const VERSIONS: [(TlsVersion, &str); 2] = [(TlsVersion::Tls12, "-tls1_2"), (TlsVersion::Tls13, "-tls1_3")];
const LABEL: &str = "qwormhole-negentropic";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// `openssl` passes no context, which only TLS 1.3 takes for an empty one.
fn check_material(end: &End, version: TlsVersion, printed: &str) {
    let ours = hex(end.facts().keying_material.as_ref().unwrap());
    assert_eq!(ours == printed, version == TlsVersion::Tls13, "{ours} and {printed}");
}

fn exporting(options: TlsOptions) -> TlsOptions {
    options.export_keying_material(TlsExporter::default()).alpn_protocols(["qw"])
}

#[test]
fn a_client_talks_to_s_server() {
    if !is_installed() {
        return;
    }
    let ca = Authority::new("ca");
    let (host, own, files) = (ca.sign(&[HOST]), ca.sign_for_client(), Files::new("client"));
    let (cert, key) = (files.put("cert", &host.cert), files.put("key", &host.key));
    let authority = files.put("ca", &ca.pem);
    for (version, flag) in VERSIONS {
        #[rustfmt::skip]
        let mut openssl = OpenSsl::start(&[
            "s_server", "-accept", "127.0.0.1:0", "-naccept", "1", flag, "-cert", &cert, "-key", &key,
            "-CAfile", &authority, "-Verify", "1", "-verify_return_error", "-alpn", "qw",
            "-keymatexport", LABEL, "-keymatexportlen", "32",
        ]);
        let address = openssl.after("ACCEPT");
        let options = exporting(ca.client()).cert(own.cert.as_str()).key(own.key.as_str());
        let tls = TlsFilter::client(&client(&options), HOST).unwrap();
        let mut link = Link::new(tls, TcpStream::connect(address).unwrap());
        link.shake();
        assert_eq!(link.end.facts().version, version);
        assert_eq!(link.end.facts().alpn.as_deref(), Some("qw"));
        assert!(link.end.facts().own_fingerprint256.is_some());
        link.exchange(&mut openssl);
        let cipher = openssl.after("CIPHER is ");
        assert_eq!(link.end.facts().cipher, cipher);
        check_material(&link.end, version, &openssl.after("Keying material: "));
        openssl.after("question");
    }
}

#[test]
fn a_server_talks_to_s_client() {
    if !is_installed() {
        return;
    }
    let ca = Authority::new("ca");
    let (own, files) = (ca.sign_for_client(), Files::new("server"));
    let (cert, key) = (files.put("cert", &own.cert), files.put("key", &own.key));
    let authority = files.put("ca", &ca.pem);
    let tls = server(&exporting(ca.server()).ca(ca.pem.as_str()).request_cert(true));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    for (version, flag) in VERSIONS {
        #[rustfmt::skip]
        let mut openssl = OpenSsl::start(&[
            "s_client", "-connect", &address, flag, "-servername", HOST, "-verify_hostname", HOST,
            "-cert", &cert, "-key", &key, "-CAfile", &authority, "-verify_return_error", "-alpn", "qw",
            "-keymatexport", LABEL, "-keymatexportlen", "32", "-nocommands",
        ]);
        let mut link = Link::new(TlsFilter::server(&tls).unwrap(), listener.accept().unwrap().0);
        link.shake();
        assert_eq!(link.end.facts().version, version);
        assert_eq!(link.end.facts().server_name.as_deref(), Some(HOST));
        assert!(link.end.facts().authorized);
        link.exchange(&mut openssl);
        check_material(&link.end, version, &openssl.after("Keying material: "));
        openssl.after("question");
    }
}

#[test]
fn what_openssl_objects_to_is_named() {
    if !is_installed() {
        return;
    }
    let (ca, other, files) = (Authority::new("ca"), Authority::new("other"), Files::new("objections"));
    let (authority, stranger) = (files.put("ca", &ca.pem), files.put("other", &other.pem));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let tls = server(&ca.server());
    for (_, flag) in VERSIONS {
        let cases = [(&stranger, HOST, 48), (&authority, "other.test", 42)];
        for (trusted, name, alert) in cases {
            #[rustfmt::skip]
            let _openssl = OpenSsl::start(&[
                "s_client", "-connect", &address, flag, "-verify_hostname", name, "-CAfile", trusted,
                "-verify_return_error",
            ]);
            let mut link = Link::new(TlsFilter::server(&tls).unwrap(), listener.accept().unwrap().0);
            link.run(|_| false);
            assert_eq!(link.end.fault, Some(TlsFault::Alert(TlsAlert(alert))));
        }
    }
}
