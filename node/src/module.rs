//! What happens when Node loads the module, and the way from there to clients and servers.

use std::sync::Arc;

use napi::bindgen_prelude::{FnArgs, Function, Object, Uint32ArraySlice};
use napi::{Env, Error, Result};
use napi_derive::napi;

use crate::dialing::dial;
use crate::hub::{Hub, Wake};
use crate::inlet::Inlet;
use crate::lane::Lane;
use crate::options::Wishes;
use crate::serving::Serving;
use crate::source::Source;
use crate::sys::words_mut;

/// One JavaScript environment's end of the crossing. Internal.
#[napi]
pub struct Crossing {
    hub: Arc<Hub>,
}

#[napi]
impl Crossing {
    /// `wake` is called when [`Crossing::ready`] has something to tell. Everything that is made here ends with the
    /// environment, at the latest.
    #[napi(constructor, catch_unwind)]
    pub fn new(env: Env, wake: Function<'_, (), ()>) -> Result<Self> {
        let wake: Wake =
            wake.build_threadsafe_function::<()>().weak::<true>().max_queue_size::<2>().build()?;
        let hub = Hub::new(wake);
        env.add_env_cleanup_hook(hub.clone(), |hub| hub.close())?;
        Ok(Self { hub })
    }

    /// Numbers of the sources that are to be pulled from; as many as there is room for.
    #[napi(catch_unwind)]
    pub fn ready(&self, mut ids: Uint32ArraySlice<'_>) -> u32 {
        self.hub.take(words_mut(&mut ids))
    }

    /// A client that connects. Its only connection has the number 0.
    ///
    /// # Errors
    ///
    /// Options of the wrong type.
    #[napi(catch_unwind)]
    pub fn connect(&self, options: String) -> Result<Source> {
        let wishes = Wishes::parse(&options).map_err(Error::from_reason)?;
        let inlet = Inlet::new(&self.hub, wishes.inbox_bytes());
        let lane = Lane::new(wishes.queue_bytes_max());
        let source = Source::client(&self.hub, inlet.clone(), lane.clone());
        dial(inlet, lane, wishes);
        Ok(source)
    }

    /// A server that starts to listen.
    ///
    /// # Errors
    ///
    /// Options of the wrong type.
    #[napi(catch_unwind)]
    pub fn listen(&self, options: String) -> Result<Source> {
        let wishes = Wishes::parse(&options).map_err(Error::from_reason)?;
        let inlet = Inlet::of_server(&self.hub, wishes.inbox_bytes());
        let serving = Arc::<Serving>::default();
        let source = Source::server(&self.hub, inlet.clone(), serving.clone());
        serving.start(&inlet, wishes);
        Ok(source)
    }

    /// Which driver runs here, and why, as JSON.
    ///
    /// # Errors
    ///
    /// No driver runs.
    #[napi(catch_unwind)]
    pub fn backend(&self) -> Result<String> {
        let client = Wishes::default().runtime().and_then(|runtime| runtime.client().build());
        let client = client.map_err(|error| Error::from_reason(error.to_string()))?;
        let report = client.backend();
        let json = serde_json::json!({
            "kind": report.kind.to_string(), "detail": report.detail, "refusal": report.refusal,
        });
        Ok(json.to_string())
    }
}

/// Completes the exports: the classes above are for the JavaScript of this module only, what it makes of them is for
/// everybody.
#[napi(module_exports)]
pub fn complete(exports: Object<'_>, env: Env) -> Result<()> {
    let make: Function<'_, FnArgs<(Object<'_>,)>, ()> = env.run_script(SCRIPT)?;
    make.call(FnArgs::from((exports,)))
}

/// One function of all the scripts, in the order in which they need each other.
const SCRIPT: &str = concat!(
    "(function (exports) { 'use strict';\n",
    include_str!("../js/loop.js"),
    include_str!("../js/staging.js"),
    include_str!("../js/connection.js"),
    include_str!("../js/engine.js"),
    include_str!("../js/client.js"),
    include_str!("../js/server.js"),
    include_str!("../js/exports.js"),
    "\n})\n//# sourceURL=qwormhole/native.js\n",
);
