//! The outgoing half of the framing: four bytes of big-endian payload length.

/// Bytes in front of every payload with [`Framing::LengthPrefixed`](crate::Framing::LengthPrefixed).
pub const FRAME_HEADER_LEN: usize = 4;

/// The header of a frame with `len` payload bytes.
pub const fn frame_header(len: u32) -> [u8; FRAME_HEADER_LEN] {
    len.to_be_bytes()
}
