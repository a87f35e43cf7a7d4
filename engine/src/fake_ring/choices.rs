//! Where the decisions of a schedule come from.

use fastrand::Rng;

/// A stream of decisions: random from a seed, or read from data that a fuzzer mutates. Zero is always the
/// harmless decision, so data that has ended, and a calm stream, let everything work as on a good day.
pub(crate) struct Choices {
    source: Source,
    calm: bool,
}

enum Source {
    Seed(Rng),
    Data { data: Vec<u8>, at: usize },
}

impl Choices {
    /// Random decisions.
    pub(crate) fn from_seed(seed: u64) -> Self {
        Self { source: Source::Seed(Rng::with_seed(seed)), calm: false }
    }

    /// Decisions read from `data`, one byte each.
    pub(crate) fn from_data(data: &[u8]) -> Self {
        Self { source: Source::Data { data: data.to_vec(), at: 0 }, calm: false }
    }

    /// A number below `n`; zero when there is nothing to choose.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        if self.calm || n <= 1 {
            return 0;
        }
        match &mut self.source {
            Source::Seed(rng) => rng.usize(..n),
            Source::Data { data, at } => {
                let byte = data.get(*at).copied().unwrap_or(0);
                *at += 1;
                usize::from(byte) * n.div_ceil(256) % n
            }
        }
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) + 1 == n
    }

    /// How much of `max` happens at once: at least 1, all of it when calm.
    pub(crate) fn amount(&mut self, max: usize) -> usize {
        match self.below(3) {
            0 => max,
            1 => 1 + self.below(max),
            _ => 1 + self.below(max.min(8)),
        }
    }

    /// One of `items`; the first when calm.
    pub(crate) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// From now on everything goes well, or no longer.
    pub(crate) fn set_calm(&mut self, calm: bool) {
        self.calm = calm;
    }

    /// Whether everything goes well: from now on, or because the data has ended.
    pub(crate) fn is_calm(&self) -> bool {
        match &self.source {
            Source::Data { data, at } if *at >= data.len() => true,
            _ => self.calm,
        }
    }
}
