//! The only unsafe code of this crate: memory of JavaScript that native code writes.

#![allow(unsafe_code, reason = "the borrow checker does not see JavaScript")]

use std::ops::Range;

use napi::bindgen_prelude::{Uint8ArraySlice, Uint32ArraySlice};

/// Where a pull puts what it takes.
pub(crate) struct PullTarget<'a> {
    pub(crate) slab: &'a mut [u8],
    pub(crate) heads: &'a mut [u32],
    pub(crate) ends: &'a mut [u32],
}

/// The memory of the three arrays of a pull, for the length of the call; `None` if any two of them overlap.
pub(crate) fn pull_target<'a>(
    slab: &'a mut Uint8ArraySlice<'_>,
    heads: &'a mut Uint32ArraySlice<'_>,
    ends: &'a mut Uint32ArraySlice<'_>,
) -> Option<PullTarget<'a>> {
    let spans = [span(slab), span(heads), span(ends)];
    if overlap(&spans[0], &spans[1]) || overlap(&spans[0], &spans[2]) || overlap(&spans[1], &spans[2]) {
        return None;
    }
    // SAFETY: no JavaScript runs on this thread during a native call, and the arrays lie in different memory, which was
    // just looked at: `arrays that overlap are refused` in test/native/engine.test.mjs fails without that look. Memory
    // shared with other threads never comes here: `js/loop.js` allocates what it passes.
    let slab = unsafe { slab.as_mut() };
    Some(PullTarget { slab, heads: words_mut(heads), ends: words_mut(ends) })
}

/// The memory of a typed array, for the length of one call.
pub(crate) fn words_mut<'a>(array: &'a mut Uint32ArraySlice<'_>) -> &'a mut [u32] {
    // SAFETY: as in `pull_target`; the caller passes one array, or some that do not overlap.
    unsafe { array.as_mut() }
}

/// From the first byte to behind the last.
fn span<T>(slice: &[T]) -> Range<usize> {
    let Range { start, end } = slice.as_ptr_range();
    start.addr()..end.addr()
}

const fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}
