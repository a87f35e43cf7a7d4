//! qwormhole on io_uring over a unix socket.

use qwormhole::{Backend, WaitMode};

use super::qwormhole::{Local, QWormhole};

pub(crate) const ENGINE_UNIX: QWormhole = QWormhole {
    name: "engine-unix",
    about: "qwormhole on io_uring, unix socket",
    backend: Backend::IoUring,
    wait: WaitMode::Auto,
    slicing: None,
    local: Local::Unix,
};
