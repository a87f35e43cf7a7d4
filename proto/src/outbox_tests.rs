use super::*;
use proptest::prelude::*;

fn config(max: usize, high: usize, low: usize) -> Config {
    let mut config = Config::default();
    config.limits.max_backpressure_bytes = max;
    config.limits.high_watermark_bytes = high;
    config.limits.low_watermark_bytes = low;
    config
}

fn send(outbox: &mut Outbox, config: &Config, len: usize, local: &mut ShardLocal) -> bool {
    outbox.push(config, Priority::DEFAULT, vec![0; len], local).is_ok()
}

/// Hands everything to a kernel that takes `step` bytes at a time; returns the number of drains.
fn flush(outbox: &mut Outbox, step: usize, local: &mut ShardLocal) -> usize {
    let mut drains = 0;
    while let Some(transmit) = outbox.poll_transmit(1 << 20, local) {
        outbox.handle_transmitted(transmit, step, local);
        drains += usize::from(outbox.take_drain());
    }
    drains
}

#[test]
fn one_drain_per_crossing_however_often_the_level_moves() {
    let config = config(10_000, 4_000, 2_000);
    let mut local = ShardLocal::default();
    let mut outbox = Outbox::default();
    for _ in 0..3 {
        while send(&mut outbox, &config, 500, &mut local) {}
        assert!(!send(&mut outbox, &config, 500, &mut local), "a second refusal owes no second drain");
        assert_eq!(flush(&mut outbox, 700, &mut local), 1);
        assert!(outbox.is_idle());
    }
    assert!(send(&mut outbox, &config, 500, &mut local));
    assert_eq!(flush(&mut outbox, 700, &mut local), 0, "never above the high watermark, nothing owed");
}

#[test]
fn an_empty_outbox_accepts_a_frame_above_its_bound() {
    let config = config(10_000, 4_000, 2_000);
    let mut local = ShardLocal::default();
    let mut outbox = Outbox::default();
    assert!(send(&mut outbox, &config, 50_000, &mut local));
    assert!(!send(&mut outbox, &config, 0, &mut local));
    assert_eq!(flush(&mut outbox, 60_000, &mut local), 1);
}

#[test]
fn a_refusal_below_the_low_watermark_still_drains() {
    let config = config(10_000, 9_000, 8_000);
    let mut local = ShardLocal::default();
    let mut outbox = Outbox::default();
    assert!(send(&mut outbox, &config, 100, &mut local));
    assert!(!send(&mut outbox, &config, 9_990, &mut local));
    assert!(!outbox.take_drain(), "nothing has left yet");
    assert_eq!(flush(&mut outbox, 1_000, &mut local), 1);
}

#[test]
fn a_too_large_frame_comes_back_with_the_limit() {
    let mut config = Config::default();
    config.limits.max_send_frame_len = 3;
    let mut local = ShardLocal::default();
    let refused = Outbox::default().push(&config, Priority::DEFAULT, "four", &mut local).unwrap_err();
    assert_eq!((refused.kind, refused.payload), (SendErrorKind::TooLarge { len: 4, limit: 3 }, "four"));
}

#[test]
fn only_one_submission_is_in_flight() {
    let config = Config::default();
    let mut local = ShardLocal::default();
    let mut outbox = Outbox::default();
    send(&mut outbox, &config, 10, &mut local);
    let first = outbox.poll_transmit(100, &mut local).unwrap();
    send(&mut outbox, &config, 10, &mut local);
    assert!(outbox.poll_transmit(100, &mut local).is_none());
    outbox.handle_transmitted(first, 14, &mut local);
    assert!(outbox.poll_transmit(100, &mut local).is_some());
}

#[test]
fn a_flush_ends_when_the_kernel_took_what_was_queued_before_it() {
    let config = Config::default();
    let mut local = ShardLocal::default();
    let mut outbox = Outbox::default();
    outbox.mark(1);
    assert_eq!(outbox.flushed(), 1, "nothing to wait for");
    send(&mut outbox, &config, 10, &mut local);
    outbox.mark(2);
    send(&mut outbox, &config, 10_000, &mut local);
    let transmit = outbox.poll_transmit(14, &mut local).unwrap();
    outbox.mark(3);
    outbox.handle_transmitted(transmit, 7, &mut local);
    assert_eq!(outbox.flushed(), 1, "a short submission has not flushed");
    flush(&mut outbox, 1_000, &mut local);
    assert_eq!(outbox.flushed(), 3);
}

proptest! {
    #[test]
    fn bytes_survive_any_short_sends(
        lens in prop::collection::vec(0usize..20_000, 1..20),
        steps in prop::collection::vec(0usize..9_000, 1..40),
        slice in 4096usize..100_000,
    ) {
        let config = Config::default();
        let mut local = ShardLocal::default();
        let mut outbox = Outbox::default();
        let mut expected = Vec::new();
        for (n, len) in lens.iter().enumerate() {
            expected.extend_from_slice(&(*len as u32).to_be_bytes());
            expected.extend(std::iter::repeat_n(n as u8, *len));
            outbox.push(&config, Priority::DEFAULT, vec![n as u8; *len], &mut local).unwrap();
        }
        let mut wire = Vec::new();
        let mut steps = steps.into_iter().chain(std::iter::repeat(usize::MAX));
        while let Some(transmit) = outbox.poll_transmit(slice, &mut local) {
            let bytes: Vec<u8> = transmit.segments().iter().flat_map(|s| s.as_slice().to_vec()).collect();
            let n = steps.next().unwrap_or_default().min(bytes.len());
            wire.extend_from_slice(&bytes[..n]);
            outbox.handle_transmitted(transmit, n, &mut local);
            prop_assert_eq!(outbox.bytes(), expected.len() - wire.len());
        }
        prop_assert_eq!(wire, expected);
    }
}

#[test]
fn a_drain_is_not_lost_behind_a_flush_mark() {
    // A watermark of zero is met only when nothing at all waits, not even a mark.
    let config = config(10_000, 1, 0);
    let mut local = ShardLocal::default();
    for short in [false, true] {
        let mut outbox = Outbox::default();
        assert!(send(&mut outbox, &config, 96, &mut local));
        if short {
            let transmit = outbox.poll_transmit(100, &mut local).unwrap();
            outbox.handle_transmitted(transmit, 10, &mut local);
        }
        outbox.mark(7);
        let transmit = outbox.poll_transmit(100, &mut local).unwrap();
        outbox.handle_transmitted(transmit, usize::MAX, &mut local);
        assert!(outbox.take_drain(), "short: {short}");
        assert_eq!((outbox.flushed(), outbox.is_idle()), (7, true));
    }
}

proptest! {
    /// The quick way of accepting a message changes nothing that anybody could see.
    #[test]
    fn the_quick_way_is_the_same_way(
        steps in prop::collection::vec((prop_oneof![0usize..300, 8_000usize..8_500, Just(20_000)], 0usize..6_000), 1..200),
        paced in any::<bool>(),
    ) {
        let mut config = config(40_000, 12_000, 6_000);
        config.rate_limit = paced.then(|| crate::RateLimit::new(1_000_000));
        let mut plain = (Outbox::new(&config), ShardLocal::default());
        let mut quick = (Outbox::new(&config), ShardLocal::default());
        for (len, taken) in steps {
            let (outbox, local) = &mut plain;
            let accepted = send(outbox, &config, len, local);
            let (outbox, local) = &mut quick;
            prop_assert_eq!(outbox.push_quick(&vec![0; len]) || send(outbox, &config, len, local), accepted);
            if taken < 2_000 {
                let turn = |(outbox, local): &mut (Outbox, ShardLocal)| {
                    let transmit = outbox.poll_transmit(9_000, local)?;
                    let submitted: Vec<u8> = transmit.segments().iter().flat_map(|s| s.as_slice().to_vec()).collect();
                    outbox.handle_transmitted(transmit, taken * 5, local);
                    Some((submitted, outbox.take_drain()))
                };
                prop_assert_eq!(turn(&mut plain), turn(&mut quick));
            }
            prop_assert_eq!(plain.0.cost(), quick.0.cost());
            prop_assert_eq!(plain.0.is_backed_up(), quick.0.is_backed_up());
            prop_assert_eq!(plain.1.stats, quick.1.stats);
        }
    }
}

#[test]
fn submissions_carry_as_many_frames_as_are_forced() {
    let config = config(1 << 20, 1 << 19, 1 << 18);
    let mut local = ShardLocal::default();
    local.set_slicing(crate::Slicing::Frames(3));
    let mut outbox = Outbox::default();
    for len in [1, 2, 3, 4, 20_000, 6, 7, 8] {
        assert!(send(&mut outbox, &config, len, &mut local));
    }
    let mut lens = Vec::new();
    while let Some(transmit) = outbox.poll_transmit(1 << 20, &mut local) {
        lens.push(transmit.len());
        outbox.handle_transmitted(transmit, usize::MAX, &mut local);
    }
    assert_eq!(lens, [3 * 4 + 6, 3 * 4 + 20_010, 2 * 4 + 15]);
}
