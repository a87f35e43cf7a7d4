//! How a client's connection comes about.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use qwormhole::{Address, Client, ConnectError, Framing, StartError};

use crate::facts::{Ended, to_json};
use crate::feed::Feed;
use crate::fulfil::fulfil;
use crate::inlet::{Inlet, Kind};
use crate::lane::{Ending, Lane};
use crate::options::{Wishes, millis};

/// Connects `lane`; what becomes of it is told through `inlet`. Never blocks: with TLS, options that have to be read and
/// checked are a thread's work.
pub(crate) fn dial(inlet: Arc<Inlet>, lane: Arc<Lane>, wishes: Wishes) {
    if wishes.tls.is_none() {
        return dial_here(&inlet, &lane, &wishes);
    }
    let (own_inlet, own_lane) = (inlet.clone(), lane.clone());
    let thread = thread::Builder::new().name("qwormhole-dial".into());
    let run = move || {
        let dialed = catch_unwind(AssertUnwindSafe(|| dial_here(&own_inlet, &own_lane, &wishes)));
        if dialed.is_err() {
            fail(&own_inlet, &own_lane, &Ended::with_error("E_PANIC", "connecting panicked"));
        }
    };
    let begun = thread.spawn(run);
    if let Err(error) = begun {
        fail(&inlet, &lane, &Ended::with_error("E_CONNECT", &error.to_string()));
    }
}

fn dial_here(inlet: &Arc<Inlet>, lane: &Arc<Lane>, wishes: &Wishes) {
    let (client, address) = match prepare(wishes) {
        Ok(prepared) => prepared,
        Err(ended) => return fail(inlet, lane, &ended),
    };
    let framing = wishes.framing();
    let (inlet, lane) = (inlet.clone(), lane.clone());
    fulfil(async move {
        // Ends by itself when JavaScript gave up meanwhile: `Lane::opened` looks.
        if let Err(error) = connect(&client, address, &inlet, &lane, framing).await {
            let ended = match lane.ending() {
                Some(Ending::Abort) if lane.fault().is_none() => Ended::given_up(),
                _ => lane.fault().map_or_else(|| Ended::unconnected(&error), Ended::by_fault),
            };
            fail(&inlet, &lane, &ended);
        }
    });
}

async fn connect(
    client: &Client,
    address: Address,
    inlet: &Arc<Inlet>,
    lane: &Arc<Lane>,
    framing: Framing,
) -> Result<(), ConnectError> {
    client.open(address, Feed::new(inlet, lane, framing)).await.map(drop)
}

/// The client and whom it calls.
fn prepare(wishes: &Wishes) -> Result<(Client, Address), Ended> {
    let option = |text: String| Ended::with_error("E_OPTION", &text);
    let start = |error: StartError| Ended::with_error("E_OPTION", &error.to_string());
    let address = wishes.address().map_err(|error| option(error.to_string()))?;
    let mut builder = wishes.runtime().map_err(start)?.client();
    builder = builder.limits(wishes.limits()).framing(wishes.framing());
    builder = builder.sockets(wishes.sockets().map_err(option)?).rate_limit(wishes.rate_limit());
    builder = builder.allow_half_open(wishes.allow_half_open);
    if let Some(limit) = millis(wishes.connect_timeout_ms) {
        builder = builder.connect_timeout(Some(limit).filter(|limit| !limit.is_zero()));
    }
    if let Some(tls) = &wishes.tls {
        builder = builder.tls(tls.of_client());
    }
    if let Some(handshake) = wishes.handshake().map_err(option)? {
        builder = builder.handshake(handshake);
    }
    Ok((builder.build().map_err(start)?, address))
}

fn fail(inlet: &Arc<Inlet>, lane: &Arc<Lane>, ended: &Ended) {
    inlet.push_event(Some(lane), Kind::Close, to_json(ended));
}
