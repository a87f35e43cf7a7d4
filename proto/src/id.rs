//! The name of a connection that other threads may keep.

use std::fmt;

/// Identifies one connection of one engine: shard, slot and the slot's generation.
///
/// A slot is reused after its connection closed, the generation never repeats within 2³² reuses: an id that
/// outlived its connection reaches nobody.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(u64);

impl ConnId {
    /// The largest number of slots of one shard.
    pub const SLOTS_MAX: u32 = 1 << 24;

    /// Packs shard (8 bits), slot (24 bits) and generation (32 bits).
    ///
    /// # Panics
    ///
    /// When `slot` is not below [`ConnId::SLOTS_MAX`]: a driver must bound its slots.
    pub const fn new(shard: u8, slot: u32, generation: u32) -> Self {
        assert!(slot < Self::SLOTS_MAX, "a shard has at most 2^24 slots");
        Self(((shard as u64) << 56) | ((slot as u64) << 32) | generation as u64)
    }

    /// The id that `as_u64` gave.
    pub const fn from_u64(raw: u64) -> Self {
        Self(raw)
    }

    /// All three parts in one number, unique within the engine.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The shard that owns the connection.
    pub const fn shard(self) -> u8 {
        (self.0 >> 56) as u8
    }

    /// The slot inside the shard.
    pub const fn slot(self) -> u32 {
        (self.0 >> 32) as u32 & (Self::SLOTS_MAX - 1)
    }

    /// How often the slot had been used before, modulo 2³².
    pub const fn generation(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.shard(), self.slot(), self.generation())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_survive_packing() {
        let id = ConnId::new(255, ConnId::SLOTS_MAX - 1, u32::MAX);
        assert_eq!((id.shard(), id.slot(), id.generation()), (255, ConnId::SLOTS_MAX - 1, u32::MAX));
        assert_eq!(ConnId::from_u64(id.as_u64()), id);
        assert_eq!(ConnId::new(1, 2, 3).to_string(), "1:2:3");
    }
}
