//! qwormhole on io_uring over loopback TCP, with its defaults.

use qwormhole::{Backend, WaitMode};

use super::qwormhole::{Local, QWormhole};

pub(crate) const ENGINE: QWormhole = QWormhole {
    name: "engine",
    about: "qwormhole on io_uring, TCP",
    backend: Backend::IoUring,
    wait: WaitMode::Auto,
    slicing: None,
    local: Local::Tcp,
};
