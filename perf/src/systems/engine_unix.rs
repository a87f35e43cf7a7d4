//! qwormhole on io_uring over a unix socket.

use qwormhole::Backend;

use super::qwormhole::{Local, QWormhole};

pub(crate) const ENGINE_UNIX: QWormhole = QWormhole {
    name: "engine-unix",
    about: "qwormhole on io_uring, unix socket",
    backend: Backend::IoUring,
    local: Local::Unix,
};
