//! What the systems beside qwormhole have in common, so that each is only its own way of moving bytes: splitting,
//! checking and counting cost all of them the same.

pub(crate) mod framed;
pub(crate) mod inbox;
pub(crate) mod listen;
pub(crate) mod owned;
pub(crate) mod part;
pub(crate) mod publish;
pub(crate) mod talk;
pub(crate) mod tls;
pub(crate) mod tuning;
