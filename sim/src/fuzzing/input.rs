//! Choices drawn from the fuzzer's bytes.

/// A cursor over the input; where it ends, every choice is zero.
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) const fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// One of `choices`.
    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()]
    }

    /// A length whose magnitude is random, so that both tiny and large ones come up: 0 to 65,535.
    pub(super) fn length(&mut self) -> usize {
        let byte = self.byte();
        let low = usize::from(byte & 15);
        match byte >> 4 {
            0..=7 => low,
            8..=11 => low * 16 + usize::from(self.byte() & 15),
            12..=14 => low * 256 + usize::from(self.byte()),
            _ => low * 4096 + usize::from(self.byte()) * 16,
        }
    }

    /// The next bytes, `len` or what is left.
    pub(super) fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at_checked(len).unwrap_or((self.0, &[]));
        self.0 = rest;
        taken
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }
}
