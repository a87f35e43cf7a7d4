use super::*;
use proptest::prelude::*;

fn id(slot: u32) -> ConnId {
    ConnId::new(0, slot, 0)
}

/// Turns of 1 ms in which each of `large` connections submits a slice, at `rate` bytes per second, and each of
/// `small` others a short message. Returns the slices of all turns.
fn run(slicer: &mut Slicer, from_ms: u64, turns: u64, rate: u64, large: u32, small: u32) -> Vec<usize> {
    let turn = |n| {
        let slice = slicer.bytes().min(256 << 10);
        (0..large).for_each(|slot| slicer.note_submission(id(slot), slice, true));
        (large..large + small).for_each(|slot| slicer.note_submission(id(slot), 68, false));
        let bytes = slice as u64 * u64::from(large) + 68 * u64::from(small);
        if slicer.begin_hand_over() {
            let now = Time::from_nanos((from_ms + n + 1) * 1_000_000);
            slicer.note_handed_over(now, Duration::from_nanos(bytes * 1_000_000_000 / rate));
        }
        slicer.bytes()
    };
    (0..turns).map(turn).collect()
}

#[test]
fn alone_slices_grow_and_in_company_rounds_shrink_to_the_target() {
    let mut slicer = Slicer::default();
    let phases = [
        (1, 0, 1_000_000_000, 256 << 10),
        // 100 us at 4 GB/s are 400 kB.
        (1, 5, 4_000_000_000, 256 << 10),
        (4, 5, 4_000_000_000, 64 << 10),
        (60, 0, 4_000_000_000, 16 << 10),
        // Up to a quarter of the target, down to all of it.
        (1, 0, 400_000_000, 128 << 10),
        (1, 0, 100_000_000, 64 << 10),
    ];
    // Long enough for company to be forgotten.
    for (n, (large, small, rate, expected)) in phases.into_iter().enumerate() {
        let slices = run(&mut slicer, n as u64 * 200, 200, rate, large, small);
        assert_eq!(slices.last(), Some(&expected), "{large} and {small}");
    }
    assert_eq!(slicer.stats().doubts, 0);
}

#[test]
fn a_step_of_the_load_is_followed_within_a_few_ticks_and_then_the_law_rests() {
    let mut slicer = Slicer::default();
    run(&mut slicer, 0, 10, 4_000_000_000, 1, 0);
    let followed = run(&mut slicer, 10, 6, 4_000_000_000, 8, 8);
    assert_eq!(followed, [128 << 10, 64 << 10, 32 << 10, 32 << 10, 32 << 10, 32 << 10]);
    let changes = slicer.stats().changes;
    run(&mut slicer, 16, 1000, 4_000_000_000, 8, 8);
    assert_eq!(slicer.stats().changes, changes);
}

#[test]
fn modes_bound_the_law_or_switch_it_off() {
    for (slicing, expected) in [
        (Slicing::Off, usize::MAX),
        (Slicing::Guarded, 64 << 10),
        (Slicing::Aggressive, 16 << 10),
        (Slicing::Fixed(100_000), 100_000),
        (Slicing::Fixed(1), 4096),
    ] {
        let mut slicer = Slicer::new(slicing);
        let slices = run(&mut slicer, 0, 20, 4_000_000_000, 60, 1);
        assert_eq!(slices.last(), Some(&expected), "{slicing:?}");
    }
    let mut guarded = Slicer::new(Slicing::Guarded);
    assert_eq!(run(&mut guarded, 0, 20, 4_000_000_000, 1, 0).last(), Some(&(256 << 10)));
}

#[test]
fn one_connection_is_no_company_for_itself() {
    let mut slicer = Slicer::default();
    run(&mut slicer, 0, 10, 1_000_000_000, 1, 0);
    let changes = slicer.stats().changes;
    for n in 10..300 {
        // A message of 1 MiB in slices, the last of which is a whole one.
        slicer.note_submission(id(0), slicer.bytes(), n % 4 != 0);
        assert!(slicer.begin_hand_over());
        slicer.note_handed_over(Time::from_nanos(n * 1_000_000), Duration::from_micros(130));
    }
    assert_eq!((slicer.bytes(), slicer.stats().changes), (256 << 10, changes));
}

#[test]
fn rounds_of_a_second_are_shortened_all_the_same() {
    let mut slicer = Slicer::default();
    for (second, expected) in [(1, 64 << 10), (2, 32 << 10), (3, 16 << 10)] {
        (0..60).for_each(|slot| slicer.note_submission(id(slot), slicer.bytes(), true));
        assert!(slicer.begin_hand_over());
        slicer.note_handed_over(Time::from_nanos(second * 1_000_000_000), Duration::from_millis(960));
        assert_eq!(slicer.bytes(), expected);
    }
}

#[test]
fn what_is_put_off_is_timed_later() {
    let mut slicer = Slicer::default();
    slicer.note_submission(id(0), 128 << 10, true);
    assert!(slicer.begin_hand_over());
    slicer.put_off();
    assert!(slicer.begin_hand_over());
    slicer.note_handed_over(Time::from_nanos(1_000_000), Duration::from_micros(30));
    assert!(!slicer.begin_hand_over());
    assert_eq!(slicer.bytes(), 256 << 10);
}

#[test]
fn what_cannot_be_true_suspends_the_law_for_a_second() {
    for busy in [Duration::ZERO, Duration::from_secs(3600), Duration::MAX] {
        let mut slicer = Slicer::default();
        run(&mut slicer, 0, 10, 4_000_000_000, 60, 0);
        assert_eq!(slicer.bytes(), 16 << 10);
        slicer.note_submission(id(1), 1 << 20, true);
        assert!(slicer.begin_hand_over());
        slicer.note_handed_over(Time::from_nanos(11_000_000), busy);
        assert_eq!(slicer.stats().doubts, 1);
        let meanwhile = run(&mut slicer, 11, 999, 4_000_000_000, 60, 0);
        assert!(meanwhile.iter().skip(3).all(|slice| *slice == 128 << 10), "{busy:?}");
        assert_eq!(run(&mut slicer, 1011, 10, 4_000_000_000, 60, 0).last(), Some(&(16 << 10)));
    }
}

#[test]
fn an_old_measurement_and_small_submissions_change_nothing() {
    let mut slicer = Slicer::default();
    slicer.note_submission(id(1), 1 << 20, true);
    assert!(slicer.begin_hand_over());
    slicer.note_handed_over(Time::from_nanos(60_000_000), Duration::from_micros(10));
    assert_eq!((slicer.bytes(), slicer.stats()), (128 << 10, SlicerStats::default()));
    slicer.note_submission(id(1), 1000, false);
    assert!(!slicer.begin_hand_over(), "short messages cost no clock reading");
    // Whole messages that are no longer than a slice say nothing about longer slices.
    let mut whole = |n: u64| {
        slicer.note_submission(id(2), 100 << 10, false);
        assert!(slicer.begin_hand_over());
        slicer.note_handed_over(Time::from_nanos((60 + n) * 1_000_000), Duration::from_micros(1));
        slicer.bytes()
    };
    assert!((1..100).all(|n| whole(n) == 128 << 10));
}

#[test]
fn names_are_those_of_the_variable() {
    for (text, slicing) in [
        ("off", Slicing::Off),
        ("guarded", Slicing::Guarded),
        ("aggressive", Slicing::Aggressive),
        ("auto", Slicing::Auto),
    ] {
        assert_eq!(text.parse(), Ok(slicing));
    }
    let refused = "Auto".parse::<Slicing>().unwrap_err().to_string();
    assert!(refused.contains("off, guarded, aggressive, auto"), "{refused}");
}

proptest! {
    /// Whatever the sensors say, slices stay within their bounds, move by a factor of two at most, and the same
    /// inputs give the same slices.
    #[test]
    fn garbage_in_bounded_out(
        turns in prop::collection::vec(
            (any::<u16>(), 0usize..5_000_000, any::<bool>(), any::<u64>(), any::<u64>()),
            1..200,
        ),
        guarded in any::<bool>(),
    ) {
        let slicing = if guarded { Slicing::Guarded } else { Slicing::Auto };
        let (low, high) = slicing.bounds();
        let mut slicers = [Slicer::new(slicing), Slicer::new(slicing)];
        for (slot, len, cut, busy, now) in turns {
            let before = slicers[0].bytes();
            for slicer in &mut slicers {
                slicer.note_submission(id(u32::from(slot)), len, cut);
                slicer.begin_hand_over();
                slicer.note_handed_over(Time::from_nanos(now), Duration::from_nanos(busy));
            }
            let after = slicers[0].bytes();
            prop_assert!((low..=high).contains(&after) && after >= before / 2 && after <= 2 * before);
            prop_assert_eq!(after, slicers[1].bytes());
        }
    }
}
