//! Mutual TLS with a private authority, and handshakes that are bound to certificates.
//!
//! `cargo run --example tls`

use std::error::Error;
use std::time::Duration;

use qwormhole::handshake::{ClientHandshake, HandshakePolicy};
use qwormhole::{Client, Context, Handler, Message, PeerInfo, Server, TlsOptions};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// Greets each client by the name in its handshake.
struct Greeter {
    client: String,
}

impl Handler for Greeter {
    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        let text = String::from_utf8_lossy(&message);
        // An error means that the connection is ending: nobody is left to answer.
        let _ = conn.reply(format!("{text}, {}", self.client));
    }
}

/// A certificate authority; in earnest it is a tool and its key is not here.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::new([])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "our own authority");
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// Options with a certificate for `name`, to present to peers that this authority vouches for too. Files are
    /// given with `Pem::file`, and by the variables `QWORMHOLE_TLS_…`.
    fn options(&self, name: &str) -> Result<TlsOptions, rcgen::Error> {
        let key = KeyPair::generate()?;
        let cert = CertificateParams::new([name.to_owned()])?.signed_by(&key, &self.issuer)?;
        Ok(TlsOptions::new().cert(cert.pem()).key(key.serialize_pem()).ca(&*self.pem))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let authority = Authority::new()?;
    let server = Server::builder()
        .bind("tls://127.0.0.1:0")?
        .tls(authority.options("127.0.0.1")?.request_cert(true))
        // A client's handshake names its certificate; the server holds that against the one it presented.
        .handshake(HandshakePolicy::new("1.0"))
        .on_reject(|_peer, reason| println!("rejected: {reason}"))
        .start(|peer: &PeerInfo| {
            let handshake = peer.handshake.as_ref();
            let name = handshake.and_then(|handshake| handshake.tags.get("name"));
            Greeter { client: name.map_or_else(|| "stranger".to_owned(), |name| name.text()) }
        })?;
    let address = &server.local_addrs()[0];
    println!("listening on {address}");

    pollster::block_on(async {
        let handshake = ClientHandshake::new("1.0").tag("name", "worm").ask_ack();
        let client = Client::builder().handshake(handshake);

        let mut conn = client.clone().tls(authority.options("worm")?).connect(address).await?;
        let tls = conn.peer().tls.clone().ok_or("the address asks for TLS")?;
        println!("{} {}, server {:?}", tls.version, tls.cipher, tls.peer_fingerprint256);
        conn.send("hello").await?;
        println!("{:?}", conn.recv().await.ok_or("the server closed the connection")??);
        println!("closed: {}", conn.close().await);

        // The address alone trusts the authorities of this computer, and ours is none of them.
        let refused = client.clone().connect(address).await.err().ok_or("it trusts anybody")?;
        println!("{refused}");
        // Who presents no certificate is not let in.
        let nobody = client.tls(TlsOptions::new().ca(&*authority.pem));
        let refused = nobody.connect(address).await.err().ok_or("it lets anybody in")?;
        println!("{refused}");
        Ok::<_, Box<dyn Error>>(())
    })?;

    // From now on, and without an end for anybody: the next certificate.
    server.reload_certificate(&authority.options("127.0.0.1")?)?;
    println!("{:?}", server.shutdown(Duration::from_secs(5)));
    Ok(())
}
