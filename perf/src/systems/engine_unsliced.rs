//! qwormhole on io_uring over loopback TCP, which submits large frames whole: what slicing is compared with.

use qwormhole::{Backend, Slicing, WaitMode};

use super::qwormhole::{Local, QWormhole};

pub(crate) const ENGINE_UNSLICED: QWormhole = QWormhole {
    name: "engine-unsliced",
    about: "qwormhole on io_uring, TCP, without slicing",
    backend: Backend::IoUring,
    wait: WaitMode::Auto,
    slicing: Some(Slicing::Off),
    local: Local::Tcp,
};
