//! Keying material for whoever asks, after the connection opened.

use std::sync::mpsc::channel;

use qwormhole::{Client, Sender, TlsExporter, TlsOptions};

use crate::support::certs::Authority;
use crate::support::{Bed, PATIENCE, block_on, on_every_backend};

on_every_backend!(both_ends_export_the_same, there_is_nothing_to_export);

fn export(sender: &Sender, exporter: &TlsExporter) -> Option<Vec<u8>> {
    let (done, material) = channel();
    sender.export_keying_material(exporter.clone(), move |exported| done.send(exported).expect("waits"));
    material.recv_timeout(PATIENCE).expect("an answer")
}

fn both_ends_export_the_same(bed: Bed) {
    let authority = Authority::new("authority");
    let identity = authority.issue(&["127.0.0.1"]);
    let tls = TlsOptions::new().key(&*identity.key).cert(&*identity.cert);
    let mut listener = bed.server().bind("127.0.0.1:0").expect("bind").tls(tls).listen().expect("listen");
    let client = Client::builder().backend(bed.backend).tls(TlsOptions::new().ca(authority.pem()));
    block_on(async {
        let mut conn = client.connect(&listener.local_addrs()[0]).await.expect("connect");
        let accepted = listener.accept().await.expect("one");
        let other = TlsExporter { label: "EXPERIMENTAL".into(), length: 80, context: b"here".to_vec() };
        for exporter in [TlsExporter::default(), other] {
            let material = export(&conn.sender(), &exporter).expect("material");
            assert_eq!(material.len(), exporter.length);
            assert_eq!(export(&accepted.sender(), &exporter), Some(material));
        }
        let none = TlsExporter { length: 0, ..TlsExporter::default() };
        assert_eq!(export(&conn.sender(), &none), None);
        let sender = conn.sender();
        conn.close().await;
        assert_eq!(export(&sender, &TlsExporter::default()), None);
    });
}

fn there_is_nothing_to_export(bed: Bed) {
    let listener = bed.server().bind("127.0.0.1:0").expect("bind").listen().expect("listen");
    let client = Client::builder().backend(bed.backend);
    let conn = block_on(client.connect(&listener.local_addrs()[0])).expect("connect");
    assert_eq!(export(&conn.sender(), &TlsExporter::default()), None);
}
