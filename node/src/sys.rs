//! The only unsafe code of this crate: memory of JavaScript that native code writes.

#![allow(unsafe_code, reason = "the borrow checker does not see JavaScript")]

use napi::bindgen_prelude::{Uint8ArraySlice, Uint32ArraySlice};

/// The memory of a typed array, for the length of one call.
pub(crate) fn bytes_mut<'a>(array: &'a mut Uint8ArraySlice<'_>) -> &'a mut [u8] {
    // SAFETY: no JavaScript runs during a native call, and the arrays of one call lie in different memory: `js/loop.js`
    // allocates them, and nobody else can reach the methods that take them. `slabs are never written twice` in
    // test/native/pull.test.mjs fails when two of them overlap.
    unsafe { array.as_mut() }
}

/// As [`bytes_mut`].
pub(crate) fn words_mut<'a>(array: &'a mut Uint32ArraySlice<'_>) -> &'a mut [u32] {
    // SAFETY: as in `bytes_mut`.
    unsafe { array.as_mut() }
}
