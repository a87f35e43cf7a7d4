//! qwormhole on io_uring over loopback TCP, whose shards always sleep when they have nothing to do.

use qwormhole::{Backend, WaitMode};

use super::qwormhole::{Local, QWormhole};

pub(crate) const ENGINE_PARK: QWormhole = QWormhole {
    name: "engine-park",
    about: "qwormhole on io_uring, TCP, without spinning",
    backend: Backend::IoUring,
    wait: WaitMode::Park,
    slicing: None,
    local: Local::Tcp,
};
