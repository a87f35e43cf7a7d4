//! qwormhole on tokio over loopback TCP.

use qwormhole::{Backend, WaitMode};

use super::qwormhole::{Local, QWormhole};

pub(crate) const FALLBACK: QWormhole = QWormhole {
    name: "fallback",
    about: "qwormhole on tokio, TCP",
    backend: Backend::Tokio,
    wait: WaitMode::Auto,
    slicing: None,
    local: Local::Tcp,
};
