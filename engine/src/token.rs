//! What a completion belongs to, packed into 64 bits.

use qwormhole_proto::ConnId;

use crate::ring::Token;

/// The kind of operation. A connection id leaves its top 8 bits (the shard) to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Recv,
    Send,
    Accept,
    /// With the number of the attempt, below 32.
    Connect(u8),
}

impl Kind {
    /// The token of an operation of this kind for `id`.
    pub(crate) fn token(self, id: ConnId) -> Token {
        let kind = match self {
            Self::Recv => 0,
            Self::Send => 1,
            Self::Accept => 2,
            Self::Connect(attempt) => CONNECT | u64::from(attempt % 32),
        };
        Token((kind << 56) | (id.as_u64() & !(0xff << 56)))
    }
}

/// What a token was made of; the id's shard is zero.
pub(crate) fn unpack(token: Token) -> (Kind, ConnId) {
    let kind = match token.0 >> 56 {
        0 => Kind::Recv,
        1 => Kind::Send,
        2 => Kind::Accept,
        kind => Kind::Connect((kind & 31) as u8),
    };
    (kind, ConnId::from_u64(token.0 & !(0xff << 56)))
}

const CONNECT: u64 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_slot_and_generation_survive() {
        let id = ConnId::new(0, ConnId::SLOTS_MAX - 1, u32::MAX);
        for kind in [Kind::Recv, Kind::Send, Kind::Accept, Kind::Connect(0), Kind::Connect(31)] {
            assert_eq!(unpack(kind.token(id)), (kind, id));
        }
        let elsewhere = ConnId::new(9, 1, 2);
        assert_eq!(unpack(Kind::Send.token(elsewhere)), (Kind::Send, ConnId::new(0, 1, 2)));
    }
}
