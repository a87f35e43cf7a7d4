//! Who may know whom.

use std::process::Command;

use serde_json::Value;

use crate::Complaint;
use crate::lexer::code_only;
use crate::tree::Tree;

/// A member of the workspace.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Names of the crates it is built from; those of its tests are not among them.
    dependencies: Vec<String>,
    pub(crate) binaries: Vec<String>,
    pub(crate) examples: Vec<String>,
}

/// The arrows of docs/architecture.md: what a member may know of the others. A member that is not listed is
/// a user of the facade and knows nothing else.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("qwormhole-proto", &[]),
    ("qwormhole-engine", &["qwormhole-proto"]),
    ("qwormhole-fallback", &["qwormhole-proto"]),
    ("qwormhole-sim", &["qwormhole-proto"]),
    ("qwormhole", &["qwormhole-proto", "qwormhole-engine", "qwormhole-fallback"]),
    ("qwormhole-ml", &["qwormhole"]),
    ("qwormhole-benches", &["qwormhole-proto", "qwormhole-engine"]),
];

/// Members that no other member knows: they are for users, or measure the others.
const FOR_USERS: &[&str] = &["qwormhole-ml", "qwormhole-benches", "qwormhole-node"];

/// Everything the protocol core is built from: no sockets, threads or clocks among it. TLS is the exception that
/// proto/src/tls/mod.rs names: its randomness, and its default clock, are the system's.
const CORE_MAY_USE: &[&str] = &[
    "base64",
    "bytes",
    "libm",
    "pkcs8",
    "ring",
    "rustls",
    "rustls-pki-types",
    "rustls-webpki",
    "ryu-js",
    "slab",
    "smallvec",
    "thiserror",
    "tracing",
];

/// A driver does not reach for the other one's system.
const MUST_NOT_USE: &[(&str, &str)] =
    &[("qwormhole-engine", "tokio"), ("qwormhole-fallback", "io-uring"), ("qwormhole-sim", "tokio")];

/// The members as cargo sees them.
pub(crate) fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON from cargo");
    list(&metadata["packages"]).iter().map(package).collect()
}

fn package(value: &Value) -> Package {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let dependencies = list(&value["dependencies"]);
    let built_from = dependencies.iter().filter(|dependency| dependency["kind"] != "dev");
    let targets = |kind: &str| {
        let of_kind =
            list(&value["targets"]).iter().filter(|target| list(&target["kind"]).contains(&kind.into()));
        of_kind.map(|target| text(&target["name"])).collect()
    };
    Package {
        name: text(&value["name"]),
        dependencies: built_from.map(|dependency| text(&dependency["name"])).collect(),
        binaries: targets("bin"),
        examples: targets("example"),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Checks the arrows between the members and what they may use from outside.
pub(crate) fn check(packages: &[Package]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for package in packages {
        let allowed = MAY_KNOW
            .iter()
            .find(|(name, _)| *name == package.name)
            .map_or(&["qwormhole"][..], |(_, known)| known);
        for dependency in &package.dependencies {
            let member = packages.iter().any(|other| other.name == *dependency);
            let forbidden = MUST_NOT_USE.contains(&(package.name.as_str(), dependency.as_str()));
            let core = package.name == "qwormhole-proto" && !CORE_MAY_USE.contains(&dependency.as_str());
            let for_users = FOR_USERS.contains(&dependency.as_str());
            if for_users || (member && !allowed.contains(&dependency.as_str())) || forbidden || core {
                complaints.push(format!("{} must not depend on {dependency}", package.name));
            }
        }
    }
    complaints
}

/// Every crate forbids unsafe code at its root; the engine and the Node module deny it, so that their interfaces to the
/// kernel and to JavaScript may lift that.
pub(crate) fn check_roots(tree: &Tree) -> Vec<Complaint> {
    let is_root = |path: &str| {
        let folder = path.strip_suffix("/lib.rs").or_else(|| path.strip_suffix("/main.rs"));
        folder.is_some_and(|folder| {
            folder == "src" || (folder.ends_with("/src") && folder.matches('/').count() == 1)
        })
    };
    let roots: Vec<_> = tree.files.iter().filter(|file| is_root(&file.path)).collect();
    let mut complaints: Vec<Complaint> = Vec::new();
    for root in &roots {
        let wanted = if ["engine/src/lib.rs", "node/src/lib.rs"].contains(&root.path.as_str()) {
            "#![deny(unsafe_code)]"
        } else {
            "#![forbid(unsafe_code)]"
        };
        if !code_only(&root.text).contains(wanted) {
            complaints.push(format!("{}: {wanted} is missing", root.path));
        }
    }
    if roots.len() < 7 {
        complaints.push(format!("only {} crate roots were found", roots.len()));
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::sample;

    fn package(name: &str, dependencies: &[&str]) -> Package {
        let dependencies = dependencies.iter().map(ToString::to_string).collect();
        Package { name: name.into(), dependencies, binaries: Vec::new(), examples: Vec::new() }
    }

    #[test]
    fn an_arrow_that_points_up_or_across_is_found() {
        let members = [
            "qwormhole-proto",
            "qwormhole-engine",
            "qwormhole-fallback",
            "qwormhole",
            "qwormhole-perf",
            "qwormhole-ml",
            "qwormhole-benches",
        ];
        let cases = [
            ("qwormhole-proto", "qwormhole-engine", false),
            ("qwormhole-proto", "socket2", false),
            ("qwormhole-proto", "bytes", true),
            ("qwormhole-engine", "qwormhole-fallback", false),
            ("qwormhole-engine", "tokio", false),
            ("qwormhole-fallback", "tokio", true),
            ("qwormhole", "qwormhole-engine", true),
            ("qwormhole-perf", "qwormhole-engine", false),
            ("qwormhole-perf", "qwormhole", true),
            ("qwormhole-ml", "qwormhole", true),
            ("qwormhole-ml", "qwormhole-proto", false),
            ("qwormhole", "qwormhole-ml", false),
            ("qwormhole-perf", "qwormhole-ml", false),
            ("qwormhole-benches", "qwormhole-engine", true),
            ("qwormhole-engine", "qwormhole-benches", false),
        ];
        for (from, to, allowed) in cases {
            let mut packages: Vec<Package> = members.iter().map(|name| package(name, &[])).collect();
            packages.push(package(from, &[to]));
            assert_eq!(check(&packages).is_empty(), allowed, "{from} -> {to}");
        }
    }

    #[test]
    fn cargo_tells_the_members_and_their_dependencies() {
        let packages = packages();
        let proto = packages.iter().find(|package| package.name == "qwormhole-proto").unwrap();
        assert!(proto.dependencies.contains(&"bytes".to_string()));
        assert!(!proto.dependencies.contains(&"proptest".to_string()), "dependencies of tests do not count");
        let perf = packages.iter().find(|package| package.name == "qwormhole-perf").unwrap();
        assert_eq!(perf.binaries, ["qwormhole-perf"]);
    }

    #[test]
    fn a_root_that_allows_unsafe_code_is_found() {
        let file = sample("perf/src/lib.rs", "// #![forbid(unsafe_code)]\n");
        let complaints = check_roots(&Tree { files: vec![file] });
        assert_eq!(complaints[0], "perf/src/lib.rs: #![forbid(unsafe_code)] is missing");
    }
}
