//! A full server refuses cleanly and has room again when somebody leaves.

use std::sync::Arc;
use std::time::Duration;

use qwormhole_proto::{CloseReason, Endpoint, PeerInfo};
use qwormhole_sim::{Conditions, RawEnd};

use crate::harness::{for_each_seed, patient, run_to_the_end};
use crate::streamer::{Echo, Plan, Shared, Streamer, frames};

#[test]
fn a_full_server_refuses_and_recovers() {
    for_each_seed("a_full_server_refuses_and_recovers", |sim| {
        let config = Arc::new(patient());
        let (server, clients) = (sim.add_host(), sim.add_host());
        let places = sim.rng().usize(1..5);
        let endpoint = Endpoint::new(places);
        let echo = Shared::default();
        let service = move |_: &PeerInfo| Echo(echo.clone());
        let listener = sim.listen(server, endpoint.clone(), config.clone(), service);
        let holders: Vec<_> = (0..places).map(|_| sim.connect_raw(listener, Conditions::calm())).collect();
        sim.at(Duration::from_secs(1), move |sim| {
            let (client, seen) = Streamer::new(sim.rng(), Plan { messages: 3, ..Plan::default() });
            sim.connect(listener, clients, config, client, Conditions::calm());
            sim.at(Duration::from_secs(1), move |_| {
                let seen = seen.borrow();
                assert_eq!((seen.opened, seen.received.len()), (1, 0));
                assert!(
                    matches!(seen.close_reason(), CloseReason::PeerClosed | CloseReason::PeerReset),
                    "{:?}",
                    seen.close_reason()
                );
            });
        });
        let leaver = holders[sim.rng().usize(0..places)];
        sim.at(Duration::from_secs(3), move |sim| sim.raw_shutdown(leaver));
        sim.at(Duration::from_secs(4), move |sim| {
            let newcomer = sim.connect_raw(listener, Conditions::calm());
            sim.at(Duration::from_millis(1), move |sim| {
                sim.raw_send(newcomer, &frames(&[vec![1, 2, 3]]));
                sim.raw_shutdown(newcomer);
            });
            sim.at(Duration::from_secs(1), move |sim| {
                assert_eq!(sim.raw(newcomer).received(), frames(&[vec![1, 2, 3]]));
                assert_eq!(sim.raw(newcomer).end(), Some(RawEnd::Fin));
            });
        });
        sim.at(Duration::from_secs(6), move |sim| {
            holders.into_iter().for_each(|holder| sim.raw_shutdown(holder));
        });
        run_to_the_end(sim);
        assert_eq!(sim.stats_total().refused, 1);
        assert_eq!(endpoint.open_connections(), 0);
    });
}
