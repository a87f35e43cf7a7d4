use super::*;
use crate::encoder::FRAME_HEADER_LEN;
use proptest::prelude::*;

fn drain(queue: &mut FrameQueue, bytes_max: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    loop {
        let mut transmit = Transmit::default();
        queue.pop_into(&mut transmit, bytes_max);
        if transmit.is_empty() {
            return wire;
        }
        transmit.segments().iter().for_each(|s| wire.extend_from_slice(s.as_slice()));
    }
}

proptest! {
    #[test]
    fn frames_leave_whole_in_priority_order_whatever_the_slice(
        frames in prop::collection::vec((-2i32..3, prop_oneof![0usize..200, 7_000usize..30_000]), 1..30),
        bytes_max in 1usize..50_000,
    ) {
        let mut pool = ChunkPool::default();
        let mut queue = FrameQueue::default();
        for (n, (priority, len)) in frames.iter().enumerate() {
            let payload = vec![n as u8; *len];
            queue.push(Framing::LengthPrefixed, Priority(*priority), payload, &mut pool);
        }
        let mut order: Vec<usize> = (0..frames.len()).collect();
        order.sort_by_key(|n| frames[*n].0);
        let expected: Vec<u8> = order.iter().flat_map(|n| {
            let len = frames[*n].1;
            [&(len as u32).to_be_bytes()[..], &vec![*n as u8; len]].concat()
        }).collect();
        prop_assert_eq!(queue.bytes(), expected.len());
        prop_assert_eq!(drain(&mut queue, bytes_max), expected);
        prop_assert!(queue.is_empty());
        prop_assert_eq!(queue.cost(), 0);
    }
}

#[test]
fn an_urgent_frame_waits_for_the_frame_that_began() {
    let mut pool = ChunkPool::default();
    let mut queue = FrameQueue::default();
    queue.push(Framing::LengthPrefixed, Priority::DEFAULT, vec![1; 20_000], &mut pool);
    let mut first = Transmit::default();
    queue.pop_into(&mut first, 4);
    assert_eq!(first.len(), 4, "only the header of the large frame has left");
    queue.push(Framing::LengthPrefixed, Priority(-1), &b"urgent"[..], &mut pool);
    let rest = drain(&mut queue, 1000);
    assert_eq!(rest[..20_000], vec![1; 20_000]);
    assert_eq!(&rest[20_004..], b"urgent");
}

#[test]
fn a_mark_is_met_after_everything_queued_before_it() {
    let mut pool = ChunkPool::default();
    for priorities in [&[0][..], &[-1], &[1], &[-1, 0, 1], &[-2, -1], &[]] {
        let mut queue = FrameQueue::default();
        for priority in priorities {
            queue.push(Framing::LengthPrefixed, Priority(*priority), &b"x"[..], &mut pool);
        }
        queue.mark(7);
        queue.push(Framing::LengthPrefixed, Priority(2), &b"later"[..], &mut pool);
        let mut transmit = Transmit::default();
        let before = priorities.len() * 5;
        let mark = queue.pop_into(&mut transmit, before.max(1));
        let mark = mark.or_else(|| queue.pop_into(&mut transmit, before + 1));
        assert_eq!(mark, Some(7), "{priorities:?}");
        assert!(transmit.len() >= before);
    }
}

#[test]
fn no_mark_stays_behind_alone_and_many_marks_are_one() {
    let mut pool = ChunkPool::default();
    let mut queue = FrameQueue::default();
    queue.push(Framing::LengthPrefixed, Priority::DEFAULT, &b"x"[..], &mut pool);
    (1..=100).for_each(|id| queue.mark(id));
    assert_eq!(queue.cost(), FRAME_HEADER_LEN + 1 + 2 * ENTRY_COST);
    let mut transmit = Transmit::default();
    assert_eq!(queue.pop_into(&mut transmit, 5), Some(100));
    assert!(queue.is_empty());
}

#[test]
fn a_lone_reply_costs_little_and_many_lanes_are_charged() {
    let mut pool = ChunkPool::default();
    let mut queue = FrameQueue::default();
    queue.push(Framing::LengthPrefixed, Priority::DEFAULT, &b"x"[..], &mut pool);
    assert_eq!(queue.cost(), FRAME_HEADER_LEN + 1 + ENTRY_COST);
    for priority in 1..100 {
        queue.push(Framing::LengthPrefixed, Priority(priority), &b"x"[..], &mut pool);
    }
    assert!(queue.cost() > 99 * 2048);
}

#[test]
fn a_long_frame_that_has_to_be_copied_leaves_in_slices() {
    for framing in [Framing::LengthPrefixed, Framing::None] {
        let mut pool = ChunkPool::default();
        let mut queue = FrameQueue::default();
        let long: Vec<u8> = (0..1_000_000).map(|n: u32| (n * 7) as u8).collect();
        queue.push(framing, Priority::DEFAULT, &b"first"[..], &mut pool);
        queue.push(framing, Priority::DEFAULT, long.as_slice(), &mut pool);
        queue.push(framing, Priority::DEFAULT, &b"last"[..], &mut pool);
        let mut first = Transmit::default();
        queue.pop_into(&mut first, 64 << 10);
        assert!(first.len() < 2 * CHUNK_LARGE, "{}", first.len());
        queue.push(framing, Priority(-1), &b"urgent"[..], &mut pool);
        let mut wire: Vec<u8> = first.segments().iter().flat_map(|s| s.as_slice().to_vec()).collect();
        wire.extend(drain(&mut queue, 64 << 10));
        let frame = |payload: &[u8]| match framing {
            Framing::LengthPrefixed => [&(payload.len() as u32).to_be_bytes()[..], payload].concat(),
            Framing::None => payload.to_vec(),
        };
        let late = [frame(b"first"), frame(&long), frame(b"urgent"), frame(b"last")].concat();
        assert!(wire == late, "interrupted or reordered");
        assert_eq!((queue.cost(), queue.is_empty()), (0, true));
    }
}

#[test]
fn taking_over_nothing_leaves_the_chunk_open() {
    let mut pool = ChunkPool::default();
    let (mut queue, mut staged) = (FrameQueue::default(), FrameQueue::default());
    for _ in 0..10 {
        queue.push(Framing::LengthPrefixed, Priority::DEFAULT, &b"x"[..], &mut pool);
        queue.append(&mut staged);
    }
    assert_eq!(queue.cost(), 10 * (FRAME_HEADER_LEN + 1) + ENTRY_COST, "one chunk");
}
