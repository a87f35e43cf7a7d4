//! Whether io_uring can be used here, how well, and if not, why not.

use std::fmt;
use std::fs;
use std::io;
use std::sync::OnceLock;

use crate::sys::{self, Memlock, Plan, RingOptions};

/// What the kernel grants to the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// How much of the engine's design the kernel supports.
    pub tier: Tier,
    /// Each feature that may be missing, with what it does.
    pub features: Vec<Feature>,
    /// Memory a ring of default size locks, in bytes.
    pub memlock_per_ring_bytes: u64,
    /// Memory all processes of this user may lock together, in bytes; `None` without a limit.
    pub memlock_limit_bytes: Option<u64>,
    /// The kernel's release.
    pub kernel: String,
    plan: Plan,
}

impl Capabilities {
    pub(crate) const fn plan(&self) -> Plan {
        self.plan
    }
}

/// One line for a log: the tier, the memory, and what is missing.
impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tier {:?} on Linux {}, ", self.tier, self.kernel)?;
        write!(f, "{} KiB of locked memory per ring, ", self.memlock_per_ring_bytes.div_ceil(1024))?;
        write!(f, "limit {}", limit_in_words(self.memlock_limit_bytes))?;
        self.features
            .iter()
            .filter(|feature| !feature.on)
            .try_for_each(|feature| write!(f, "; {} is off: {}", feature.name, feature.detail))
    }
}

/// How well the kernel supports the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Tier {
    /// Linux 6.12 and later: everything the engine uses.
    T1,
    /// Linux 6.1 and later: completions run on the shard's thread only.
    T2,
    /// Linux 5.19 and later: it works, with more overhead per operation.
    T3,
}

impl Tier {
    const fn of(plan: Plan) -> Self {
        if !plan.setup.defer_taskrun {
            return Self::T3;
        }
        if plan.setup.no_sqarray && plan.setup.taskrun_flag && plan.min_timeout && plan.recv_multishot {
            Self::T1
        } else {
            Self::T2
        }
    }
}

/// A feature of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Feature {
    /// A short stable name.
    pub name: &'static str,
    /// Whether the engine uses it here.
    pub on: bool,
    /// What that means, in words.
    pub detail: &'static str,
}

/// Why io_uring cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The administrator switched io_uring off.
    #[error(
        "io_uring is switched off by the system setting kernel.io_uring_disabled={value}{}",
        if *value == 1 { " (allowed only to the group kernel.io_uring_group and to privileged processes)" }
        else { "" }
    )]
    Disabled {
        /// The value of the setting.
        value: u32,
    },
    /// A sandbox forbids it.
    #[error(
        "io_uring is forbidden to this process ({reason}): usually the seccomp profile of a container; \
         allow io_uring_setup, io_uring_enter and io_uring_register there"
    )]
    Forbidden {
        /// What the system said.
        reason: String,
    },
    /// The kernel knows no io_uring.
    #[error("the kernel (Linux {kernel}) offers no io_uring, or a sandbox hides it")]
    Absent {
        /// The kernel's release.
        kernel: String,
    },
    /// The kernel's io_uring lacks what the engine needs.
    #[error(
        "the kernel (Linux {kernel}) is too old for the engine, which needs Linux 5.19 or later: {missing}"
    )]
    TooOld {
        /// The kernel's release.
        kernel: String,
        /// What is missing.
        missing: String,
    },
    /// The user may not lock enough memory.
    #[error(
        "not enough lockable memory: a ring needs {} KiB, the limit is {} for all processes of this user; \
         raise it with `ulimit -l`, LimitMEMLOCK= of systemd or --ulimit memlock= of the container, or give \
         the process CAP_IPC_LOCK",
        need_bytes.div_ceil(1024),
        limit_in_words(*limit_bytes)
    )]
    Memlock {
        /// What a ring needs, in bytes.
        need_bytes: u64,
        /// What the user may lock, in bytes; `None` if there is no limit or it is not known.
        limit_bytes: Option<u64>,
    },
    /// The process or the system is out of descriptors.
    #[error("no file descriptors left for a ring ({reason}); raise the limit with `ulimit -n`")]
    Descriptors {
        /// What the system said.
        reason: String,
    },
    /// A feature does not work although the kernel has it.
    #[error("the self-test failed at {step}: {reason}")]
    SelfTest {
        /// What was tried.
        step: &'static str,
        /// What happened.
        reason: String,
    },
    /// Anything else.
    #[error("the kernel refuses a ring: {reason}")]
    Other {
        /// What the system said.
        reason: String,
    },
}

impl Refusal {
    /// Why a ring that locks `need_bytes` could not be opened.
    pub(crate) fn from_setup(error: &io::Error, need_bytes: u64) -> Self {
        let surroundings = Surroundings {
            disabled: fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
                .ok()
                .and_then(|value| value.trim().parse().ok())
                .unwrap_or_default(),
            kernel: sys::kernel_release(),
            limit_bytes: limit_bytes(),
            need_bytes,
        };
        Self::explain(error, surroundings)
    }

    fn explain(error: &io::Error, surroundings: Surroundings) -> Self {
        let Surroundings { disabled, kernel, limit_bytes, need_bytes } = surroundings;
        let reason = error.to_string();
        match error.raw_os_error() {
            Some(libc::EPERM) if disabled > 0 => Self::Disabled { value: disabled },
            Some(libc::EPERM | libc::EACCES) => Self::Forbidden { reason },
            Some(libc::ENOSYS) => Self::Absent { kernel },
            Some(libc::EINVAL) => Self::TooOld {
                kernel,
                missing: String::from("it refuses to set up rings with provided buffers"),
            },
            Some(libc::ENOMEM) => Self::Memlock { need_bytes, limit_bytes },
            Some(libc::EMFILE | libc::ENFILE) => Self::Descriptors { reason },
            _ => Self::Other { reason },
        }
    }

    /// Whether trying again later may turn out otherwise.
    const fn is_passing(&self) -> bool {
        matches!(self, Self::Memlock { .. } | Self::Descriptors { .. })
    }
}

/// What decides how an error is explained.
struct Surroundings {
    disabled: u32,
    kernel: String,
    limit_bytes: Option<u64>,
    need_bytes: u64,
}

/// Finds out what the kernel grants, by trying it: opens a small ring and runs every operation of the engine once.
///
/// Cheap to call: the answer is kept for the life of the process, except a refusal for lack of memory or
/// descriptors, which may pass. The first call takes about a millisecond.
///
/// # Errors
///
/// Why io_uring cannot be used here.
pub fn probe() -> Result<Capabilities, Refusal> {
    static ANSWER: OnceLock<Result<Capabilities, Refusal>> = OnceLock::new();
    if let Some(answer) = ANSWER.get() {
        return answer.clone();
    }
    match ask() {
        Err(refusal) if refusal.is_passing() => Err(refusal),
        answer => ANSWER.get_or_init(|| answer).clone(),
    }
}

fn ask() -> Result<Capabilities, Refusal> {
    let need_bytes = RingOptions::default().memlock_bytes();
    let explain = |error: &io::Error| Refusal::from_setup(error, need_bytes);
    let plan = sys::find_plan().map_err(|error| explain(&error))?;
    let plan = plan.map_err(|sys::Missing(missing)| Refusal::TooOld {
        kernel: sys::kernel_release(),
        missing: format!("it lacks {missing}"),
    })?;
    let plan = sys::self_test(plan).map_err(|failure| match failure.error.raw_os_error() {
        _ if failure.is_setup() => explain(&failure.error),
        // A sandbox may allow to open rings and forbid the rest; a shortage may come at any time.
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS | libc::ENOMEM | libc::EMFILE | libc::ENFILE) => {
            explain(&failure.error)
        }
        _ => Refusal::SelfTest { step: failure.step, reason: failure.error.to_string() },
    })?;
    Ok(Capabilities {
        tier: Tier::of(plan),
        features: features(plan),
        memlock_per_ring_bytes: need_bytes,
        memlock_limit_bytes: limit_bytes(),
        kernel: sys::kernel_release(),
        plan,
    })
}

fn features(plan: Plan) -> Vec<Feature> {
    let setup = plan.setup;
    let one = |name, on, with, without| Feature { name, on, detail: if on { with } else { without } };
    vec![
        one(
            "defer_taskrun",
            setup.defer_taskrun,
            "completions run only when the shard asks for them",
            "completions interrupt the shard (needs Linux 6.1)",
        ),
        one(
            "single_issuer",
            setup.single_issuer,
            "the kernel saves locks because one thread submits",
            "the kernel locks for each submission (needs Linux 6.0)",
        ),
        one(
            "taskrun_flag",
            setup.taskrun_flag,
            "a turn without work makes no system call",
            "each turn makes a system call (needs Linux 5.19)",
        ),
        one(
            "no_sqarray",
            setup.no_sqarray,
            "entries are submitted in place",
            "entries are submitted through an index (needs Linux 6.6)",
        ),
        one(
            "recv_multishot",
            plan.recv_multishot,
            "one receive serves a connection for life",
            "each receive is asked for (needs Linux 6.0)",
        ),
        one(
            "min_timeout",
            plan.min_timeout,
            "the kernel can gather completions before it wakes a shard",
            "the kernel wakes a shard for each completion (needs Linux 6.12)",
        ),
        one(
            "no_iowait",
            plan.no_iowait,
            "an idle shard shows as idle",
            "an idle shard shows as waiting for a disk (needs Linux 6.15)",
        ),
    ]
}

fn limit_bytes() -> Option<u64> {
    match sys::memlock() {
        Ok(Memlock::Bytes(bytes)) => Some(bytes),
        Ok(Memlock::Unlimited) | Err(_) => None,
    }
}

fn limit_in_words(limit_bytes: Option<u64>) -> String {
    limit_bytes
        .map_or_else(|| String::from("unlimited or not known"), |bytes| format!("{} KiB", bytes / 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explain(errno: i32, disabled: u32) -> Refusal {
        let surroundings = Surroundings {
            disabled,
            kernel: String::from("5.10.0"),
            limit_bytes: Some(8 << 20),
            need_bytes: 90_112,
        };
        Refusal::explain(&io::Error::from_raw_os_error(errno), surroundings)
    }

    #[test]
    fn each_refusal_names_its_cause_and_its_remedy() {
        let cases: [(i32, u32, &[&str]); 9] = [
            (libc::EPERM, 2, &["kernel.io_uring_disabled=2"]),
            (libc::EPERM, 1, &["kernel.io_uring_disabled=1", "kernel.io_uring_group"]),
            (libc::EPERM, 0, &["seccomp", "io_uring_setup"]),
            (libc::EACCES, 0, &["forbidden", "Permission denied"]),
            (libc::ENOSYS, 0, &["5.10.0", "no io_uring"]),
            (libc::EINVAL, 0, &["5.10.0", "too old", "5.19"]),
            (libc::ENOMEM, 0, &["88 KiB", "8192 KiB", "ulimit -l", "CAP_IPC_LOCK"]),
            (libc::EMFILE, 0, &["descriptors", "ulimit -n"]),
            (libc::EIO, 0, &["refuses"]),
        ];
        for (errno, disabled, parts) in cases {
            let words = explain(errno, disabled).to_string();
            for part in parts {
                assert!(words.contains(part), "`{part}` is missing: {words}");
            }
        }
    }

    #[test]
    fn only_a_shortage_is_asked_again() {
        assert!(explain(libc::ENOMEM, 0).is_passing() && explain(libc::EMFILE, 0).is_passing());
        assert!(!explain(libc::EPERM, 2).is_passing() && !explain(libc::ENOSYS, 0).is_passing());
    }

    #[test]
    fn a_second_probe_gives_the_same_answer() {
        assert_eq!(probe(), probe());
    }

    #[test]
    fn a_missing_feature_lowers_the_tier_and_shows_in_the_log_line() {
        let Ok(mut here) = probe() else { return };
        let mut plan = here.plan;
        plan.setup.no_sqarray = false;
        assert_eq!(Tier::of(plan), Tier::T2);
        here.features = features(plan);
        assert!(here.to_string().contains("no_sqarray is off: "), "{here}");
        plan.setup.defer_taskrun = false;
        assert_eq!(Tier::of(plan), Tier::T3);
    }
}
