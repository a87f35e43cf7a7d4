//! Opening a ring with as much as the kernel grants.

use std::io;

use io_uring::IoUring;

/// The flags a ring is set up with, best first in [`Setup::LADDER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    /// Only the thread that made the ring submits (6.0): saves locks.
    pub(crate) single_issuer: bool,
    /// Completions run inside our own enters only (6.1); else they run at any entry into the kernel (5.19).
    pub(crate) defer_taskrun: bool,
    /// The kernel tells in shared memory when an enter would bring completions.
    pub(crate) taskrun_flag: bool,
    /// Entries are submitted in place (6.6).
    pub(crate) no_sqarray: bool,
    /// Sizes beyond the kernel's limit are cut instead of refused.
    pub(crate) clamp: bool,
}

impl Setup {
    const BEST: Self =
        Self { single_issuer: true, defer_taskrun: true, taskrun_flag: true, no_sqarray: true, clamp: true };

    /// What to try after `EINVAL`, from best to least.
    pub(crate) const LADDER: [Self; 6] = [
        Self::BEST,
        Self { no_sqarray: false, ..Self::BEST },
        Self { no_sqarray: false, taskrun_flag: false, ..Self::BEST },
        Self { no_sqarray: false, defer_taskrun: false, ..Self::BEST },
        Self { no_sqarray: false, defer_taskrun: false, single_issuer: false, ..Self::BEST },
        Self { no_sqarray: false, defer_taskrun: false, single_issuer: false, clamp: false, ..Self::BEST },
    ];

    /// Opens a ring on the thread that will use it.
    pub(super) fn open(self, sq_entries: u32, cq_entries: u32) -> io::Result<IoUring> {
        let mut builder = IoUring::builder();
        builder.dontfork().setup_submit_all().setup_cqsize(cq_entries);
        if self.single_issuer {
            builder.setup_single_issuer();
        }
        if self.defer_taskrun {
            builder.setup_defer_taskrun();
        } else {
            builder.setup_coop_taskrun();
        }
        if self.taskrun_flag {
            builder.setup_taskrun_flag();
        }
        if self.no_sqarray {
            builder.setup_no_sqarray();
        }
        if self.clamp {
            builder.setup_clamp();
        }
        builder.build(sq_entries)
    }
}

/// How rings of this process are made; found once by trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The flags the kernel accepts.
    pub(crate) setup: Setup,
    /// Whether one receive goes on until it is cancelled (6.0).
    pub(crate) recv_multishot: bool,
    /// Waiting does not count as waiting for a disk (6.15).
    pub(crate) no_iowait: bool,
    /// The kernel can gather completions for a while before it wakes a waiter (6.12).
    pub(crate) min_timeout: bool,
}

/// What the kernel must have had for years on any kernel that has buffer rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missing(pub(crate) &'static str);

/// Finds the first step of the ladder that the kernel accepts; the receive mode is left to the self-test.
///
/// # Errors
///
/// What the kernel answered to the setup; `Ok(Err(_))` when it lacks something the engine cannot do without.
pub(crate) fn find_plan() -> io::Result<Result<Plan, Missing>> {
    let mut refused = io::Error::from_raw_os_error(libc::EINVAL);
    for setup in Setup::LADDER {
        match setup.open(PROBE_ENTRIES, PROBE_ENTRIES * 2) {
            Ok(ring) => return Ok(plan(setup, &ring)),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = error,
            Err(error) => return Err(error),
        }
    }
    Err(refused)
}

fn plan(setup: Setup, ring: &IoUring) -> Result<Plan, Missing> {
    let params = ring.params();
    if !params.is_feature_ext_arg() {
        return Err(Missing("waiting with a timeout (EXT_ARG, Linux 5.11)"));
    }
    if !params.is_feature_nodrop() {
        return Err(Missing("lossless completion queues (NODROP, Linux 5.5)"));
    }
    Ok(Plan {
        setup,
        recv_multishot: true,
        no_iowait: params.is_feature_no_iowait(),
        min_timeout: params.is_feature_min_timeout(),
    })
}

/// Small: the ring is opened only to see what the kernel says.
const PROBE_ENTRIES: u32 = 8;
