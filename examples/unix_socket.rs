//! Two processes on one machine talk over a unix socket; the server knows who is calling.
//!
//! `cargo run --example unix_socket`

use std::error::Error;

#[cfg(unix)]
fn main() -> Result<(), Box<dyn Error>> {
    use std::time::Duration;

    use qwormhole::{Client, Server};

    let path = std::env::temp_dir().join(format!("qwormhole-{}.sock", std::process::id()));
    let address = format!("unix:{}", path.display());
    // Only this user may connect. A file left behind by a server that is gone would be replaced.
    let mut listener = Server::builder().bind(address.as_str())?.unix_mode(0o600).listen()?;
    println!("listening on {}", listener.local_addrs()[0]);

    pollster::block_on(async {
        let mut client = Client::builder().connect(address.as_str()).await?;
        let mut conn = listener.accept().await.ok_or("the listener is closed")?;
        println!("called by {:?}", conn.peer().credentials);
        client.send("who am I?").await?;
        let question = conn.recv().await.ok_or("the client left")??;
        conn.send(format!("you asked: {}", String::from_utf8_lossy(&question))).await?;
        let answer = client.recv().await.ok_or("the server left")??;
        println!("{}", String::from_utf8_lossy(&answer));
        println!("{:?}", listener.shutdown(Duration::from_secs(5)).await);
        Ok::<_, Box<dyn Error>>(())
    })?;

    println!("the file is {}", if path.exists() { "still there" } else { "gone" });
    Ok(())
}

#[cfg(not(unix))]
fn main() -> Result<(), Box<dyn Error>> {
    println!("this platform has no unix sockets");
    Ok(())
}
