//! Everybody who comes to a server under an arbitrary sequence of events, until the connection is open or over.

use std::time::Duration;

use super::foyer::Foyer;
use super::guest::{Answer, Kind};
use super::input::Input;

/// Input: two bytes of configuration, then one operation after another.
///
/// # Panics
///
/// When a rule is broken: a connection that opens without being let in or ends more or less than once, a place
/// that is not given back, counters or callbacks that do not balance, bounds exceeded, a deadline that stays.
pub fn endpoint_ops(data: &[u8]) {
    let mut input = Input::new(data);
    let places = input.pick(&[4, 1, 40, 2000]);
    let timed = input.byte() & 1 == 0;
    let mut foyer = Foyer::new(places, timed);
    while !input.is_empty() {
        step(&mut foyer, &mut input);
        foyer.check_sometimes();
    }
    foyer.finish();
}

fn step(foyer: &mut Foyer, input: &mut Input<'_>) {
    let operation = input.byte() % 32;
    if operation < 4 {
        let (kind, address) = (input.pick(&KINDS), input.byte());
        return foyer.enter(kind, address, input.byte());
    }
    let guest = usize::from(input.byte());
    match operation {
        // A flood, so seldom that inputs stay quick.
        4 => {
            for _ in 0..if guest >= 224 { guest } else { 0 } {
                foyer.enter(Kind::Asked, 0, 0);
            }
        }
        5..=9 => foyer.say(guest, input.byte()),
        10..=14 => foyer.receive(guest, input.length()),
        15 => foyer.receive_eof(guest),
        16..=18 => foyer.answer(guest, input.pick(&ANSWERS)),
        19..=20 => foyer.take_mail(),
        21 => foyer.submit(guest),
        22 => foyer.complete(guest, Some(input.length())),
        23..=24 => {
            foyer.submit(guest);
            foyer.complete(guest, Some(usize::MAX));
        }
        25..=26 => foyer.act(guest),
        27 => foyer.advance(Duration::from_millis(input.length() as u64)),
        28 => foyer.starve(input.byte()),
        29 => foyer.exchange(guest),
        _ => end(foyer, guest, input.byte()),
    }
}

/// Ways to end, so seldom that sequences get long.
fn end(foyer: &mut Foyer, guest: usize, how: u8) {
    match how {
        0..=3 => foyer.fail(guest),
        4..=7 => foyer.complete(guest, None),
        8..=15 => foyer.shut_down(guest, false),
        16..=19 => foyer.shut_down(guest, true),
        20..=23 => foyer.leave(guest),
        _ => {}
    }
}

const KINDS: [Kind; 8] = [
    Kind::Judged,
    Kind::Plain,
    Kind::Asked,
    Kind::Unframed,
    Kind::Secure,
    Kind::SecureAsked,
    Kind::Dialed,
    Kind::Asked,
];

const ANSWERS: [Answer; 6] =
    [Answer::Yes, Answer::No, Answer::NotYet, Answer::Panic, Answer::Yes, Answer::PanicLater];
