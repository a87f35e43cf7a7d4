//! Work that blocks, kept away from the caller's runtime.

use std::thread;

use futures_channel::oneshot;

/// Runs `work` on a thread of its own. `None` when the system refuses the thread or `work` panics; it is then
/// dropped.
///
/// # Cancel safety
///
/// The work begins with the first poll and goes on when the future is dropped.
pub(crate) async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, result) = oneshot::channel();
    let begun = thread::Builder::new().name("qwormhole-stop".into()).spawn(move || {
        // Nobody waits any more if this fails.
        let _ = done.send(work());
    });
    drop(begun);
    result.await.ok()
}
