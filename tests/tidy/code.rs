//! Rules about single source files.

use crate::Complaint;
use crate::lexer::{code_only, words};
use crate::tree::File;

/// All rules of this module.
pub(crate) fn check(file: &File) -> Vec<Complaint> {
    let rules = [length, unsafety, leftovers, machine_paths, core_without_system];
    rules.iter().flat_map(|rule| rule(file)).collect()
}

/// A file has at most 500 lines.
fn length(file: &File) -> Vec<Complaint> {
    let lines = file.text.lines().count();
    let long = file.is_rust() && lines > LINES_MAX;
    long.then(|| format!("{}: {lines} lines, at most {LINES_MAX}", file.path)).into_iter().collect()
}

/// `unsafe` is written in the kernel interface and that of JavaScript only; fuzz targets expand a macro that has some.
fn unsafety(file: &File) -> Vec<Complaint> {
    let allowed = ["engine/src/sys/", "node/src/sys.rs", "fuzz/"];
    if !file.is_rust() || allowed.iter().any(|place| file.path.starts_with(place)) {
        return Vec::new();
    }
    let code = code_only(&file.text);
    let found = words(&code).filter(|(_, word)| *word == "unsafe");
    found
        .map(|(line, _)| format!("{}:{line}: unsafe outside engine/src/sys and node/src/sys.rs", file.path))
        .collect()
}

/// Nothing is left for later and no debugging aid stays behind.
fn leftovers(file: &File) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    // Split, so that this file does not complain about itself.
    let notes = [["FIX", "ME"].concat(), ["TO", "DO"].concat(), ["X", "XX"].concat(), ["HA", "CK"].concat()];
    for (line, word) in words(&file.text) {
        if notes.iter().any(|note| note == word) {
            complaints.push(format!("{}:{line}: `{word}` is left over", file.path));
        }
    }
    if file.is_rust() {
        let code = code_only(&file.text);
        for (number, line) in code.lines().enumerate() {
            for name in ["todo", "unimplemented", "dbg"] {
                if line.contains(&format!("{name}!(")) {
                    complaints.push(format!("{}:{}: `{name}!` is left over", file.path, number + 1));
                }
            }
        }
    }
    complaints
}

/// No path of somebody's machine.
fn machine_paths(file: &File) -> Vec<Complaint> {
    let homes = ["home", "root", "Users", "work", "farm", "tmp"].map(|name| format!("/{name}/"));
    let mut complaints = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        for home in &homes {
            let absolute = line.match_indices(home.as_str()).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                before.is_none_or(|c| !c.is_alphanumeric() && !"._-}/*".contains(c))
            });
            if absolute {
                complaints.push(format!("{}:{}: a machine path ({home}...)", file.path, number + 1));
            }
        }
    }
    complaints
}

/// The protocol core knows neither sockets, threads, clocks nor the file system: all of it is an argument.
fn core_without_system(file: &File) -> Vec<Complaint> {
    if !file.path.starts_with("proto/src/") || file.path.ends_with("_tests.rs") {
        return Vec::new();
    }
    let code = code_only(&file.text);
    let outside_tests = code.split("#[cfg(test)]").next().unwrap_or_default();
    let system =
        ["TcpStream", "TcpListener", "UdpSocket", "UnixStream", "UnixListener", "Instant", "SystemTime"];
    let modules = ["std::thread", "std::fs", "std::env", "std::process", "std::os"];
    let mut complaints = Vec::new();
    for (line, word) in words(outside_tests) {
        if system.contains(&word) {
            complaints.push(format!("{}:{line}: the core knows `{word}`", file.path));
        }
    }
    for module in modules.iter().filter(|module| outside_tests.contains(*module)) {
        complaints.push(format!("{}: the core uses {module}", file.path));
    }
    complaints
}

const LINES_MAX: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::sample;

    #[test]
    fn a_long_file_is_found() {
        assert_eq!(length(&sample("a.rs", &"\n".repeat(501))).len(), 1);
        assert!(length(&sample("a.rs", &"\n".repeat(500))).is_empty());
    }

    #[test]
    fn unsafe_code_is_found_outside_its_place_only() {
        let code = &["fn f() { uns", "afe { g() } }"].concat();
        assert_eq!(
            unsafety(&sample("src/a.rs", code)),
            ["src/a.rs:1: unsafe outside engine/src/sys and node/src/sys.rs"]
        );
        assert!(unsafety(&sample("engine/src/sys/a.rs", code)).is_empty());
        assert!(unsafety(&sample("src/a.rs", "#![forbid(unsafe_code)] // unsafe\n\"unsafe\"")).is_empty());
    }

    #[test]
    fn leftovers_are_found_in_comments_and_code() {
        let note = ["// TO", "DO later"].concat();
        assert_eq!(leftovers(&sample("a.rs", &note)).len(), 1);
        assert_eq!(leftovers(&sample("docs/a.md", &note)).len(), 1);
        assert_eq!(leftovers(&sample("a.rs", "fn f() {\n dbg!(1);\n todo!(\"x\") }")).len(), 2);
        assert!(leftovers(&sample("a.rs", "// dbg!(x) is for debugging\nlet s = \"todo!()\";")).is_empty());
    }

    #[test]
    fn machine_paths_are_found() {
        let path = |name: &str| format!("see /{name}/me/notes");
        assert_eq!(machine_paths(&sample("a.md", &path("home"))).len(), 1);
        assert_eq!(machine_paths(&sample("a.rs", &format!("\"{}", path("root")))).len(), 1);
        assert_eq!(machine_paths(&sample("a.sh", &path("tmp"))).len(), 1);
        let address = ["https://example.org", &path("home")[4..], " and src/wo", "rk/x"].concat();
        assert!(machine_paths(&sample("a.md", &address)).is_empty());
    }

    #[test]
    fn a_core_that_knows_the_system_is_found() {
        let clock = "fn now() -> std::time::Instant { Instant::now() }";
        assert_eq!(core_without_system(&sample("proto/src/a.rs", clock)).len(), 2);
        assert_eq!(core_without_system(&sample("proto/src/a.rs", "use std::thread;")).len(), 1);
        assert_eq!(core_without_system(&sample("proto/src/a.rs", "use std::net::TcpStream;")).len(), 1);
        assert!(core_without_system(&sample("fallback/src/a.rs", clock)).is_empty());
        let tests = format!("#[cfg(test)]\nmod tests {{ {clock} }}");
        assert!(core_without_system(&sample("proto/src/a.rs", &tests)).is_empty());
        assert!(core_without_system(&sample("proto/src/a.rs", "use std::net::SocketAddr;")).is_empty());
    }
}
