//! Rules about documents and what they refer to.

use crate::Complaint;
use crate::crates::Package;
use crate::tree::{File, Tree};

/// All rules about one document.
pub(crate) fn check(file: &File, tree: &Tree, packages: &[Package]) -> Vec<Complaint> {
    if !file.is_markdown() {
        return Vec::new();
    }
    let mut complaints = links(file, tree);
    complaints.extend(named_files(file, tree));
    complaints.extend(commands(file, tree, packages));
    complaints
}

/// Every relative link leads to a file, and its anchor to a heading.
fn links(file: &File, tree: &Tree) -> Vec<Complaint> {
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut complaints = Vec::new();
    for piece in file.text.split("](").skip(1) {
        let Some((target, _)) = piece.split_once(')') else { continue };
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
        let path = if path.is_empty() { file.path.clone() } else { join(folder, path) };
        if !tree.has(&path) {
            complaints.push(format!("{}: the link to {target} leads nowhere", file.path));
        } else if !anchor.is_empty()
            && !tree.file(&path).is_some_and(|file| anchors(&file.text).contains(&anchor.into()))
        {
            complaints.push(format!("{}: {path} has no heading for #{anchor}", file.path));
        }
    }
    complaints
}

/// The anchors of a document's headings, as the usual renderers make them.
fn anchors(markdown: &str) -> Vec<String> {
    let headings = markdown.lines().filter(|line| line.starts_with('#'));
    let slug = |heading: &str| {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(slug).collect()
}

/// Every file named in code style exists.
fn named_files(file: &File, tree: &Tree) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for code in inline_code(&file.text) {
        let path = code.split_whitespace().next().unwrap_or_default().trim_end_matches([',', '.', ':', ';']);
        let Some((top, _)) = path.split_once('/') else { continue };
        let plain = path.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
        let shouted =
            path.split('/').any(|part| part.len() > 1 && part.chars().all(|c| c.is_ascii_uppercase()));
        if tree.has(top) && plain && !shouted && !is_made_by_running(path) && !tree.has(path) {
            complaints.push(format!("{}: `{path}` does not exist", file.path));
        }
    }
    complaints
}

fn is_made_by_running(path: &str) -> bool {
    path.starts_with("fuzz/artifacts") || path.starts_with("fuzz/corpus")
}

/// Every command in a document names packages, examples and scripts that exist.
fn commands(file: &File, tree: &Tree, packages: &[Package]) -> Vec<Complaint> {
    let fenced = file.text.split("```").skip(1).step_by(2).flat_map(str::lines).map(str::to_string);
    let complain = |what: String| format!("{}: {what}", file.path);
    let mut complaints = Vec::new();
    for line in fenced.chain(inline_code(&file.text)) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let argument = |flag: &str| {
            let cargo = words.iter().take_while(|word| **word != "--");
            cargo.skip_while(|word| **word != flag).nth(1).copied()
        };
        if let Some(script) = words.iter().find(|word| word.starts_with("scripts/"))
            && !tree.has(script.trim_end_matches(['.', ',']))
        {
            complaints.push(complain(format!("{script} does not exist")));
        }
        if words.first() != Some(&"cargo") {
            continue;
        }
        let package = argument("-p").or_else(|| argument("--package"));
        let named = packages.iter().find(|other| Some(other.name.as_str()) == package);
        if let Some(package) = package.filter(|_| named.is_none()) {
            complaints.push(complain(format!("there is no package {package}")));
        }
        let all_examples: Vec<&String> = packages.iter().flat_map(|package| &package.examples).collect();
        if let Some(example) =
            argument("--example").filter(|name| !all_examples.iter().any(|known| known == name))
        {
            complaints.push(complain(format!("there is no example {example}")));
        }
        let runs = words.get(1) == Some(&"run") && argument("--example").is_none();
        if runs && named.is_some_and(|package| package.binaries.is_empty()) {
            complaints.push(complain(format!("{} has nothing to run", package.unwrap_or_default())));
        }
    }
    complaints
}

/// Code style inside lines, outside fences.
fn inline_code(markdown: &str) -> impl Iterator<Item = String> {
    let prose = markdown.split("```").step_by(2);
    prose.flat_map(|prose| prose.split('`').skip(1).step_by(2)).map(str::to_string)
}

/// The changelog has a place for what comes next.
pub(crate) fn check_changelog(tree: &Tree) -> Vec<Complaint> {
    let unreleased = |file: &File| file.text.lines().any(|line| line.starts_with("## [Unreleased]"));
    let kept = tree.file("CHANGELOG.md").is_some_and(unreleased);
    if kept { Vec::new() } else { vec!["CHANGELOG.md: no section `## [Unreleased]`".into()] }
}

/// Scripts can be run as they are and stop at the first failure.
pub(crate) fn check_scripts(tree: &Tree) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let is_script = |file: &&File| file.path.starts_with("scripts/") && file.text.starts_with("#!");
    for script in tree.files.iter().filter(is_script) {
        if !script.executable {
            complaints.push(format!("{}: not executable", script.path));
        }
        if script.text.contains("bash") && !script.text.contains("set -euo pipefail") {
            complaints.push(format!("{}: set -euo pipefail is missing", script.path));
        }
    }
    complaints
}

/// Every fuzz target is built.
pub(crate) fn check_fuzz_targets(tree: &Tree) -> Vec<Complaint> {
    let manifest = tree.file("fuzz/Cargo.toml").map_or("", |file| &file.text);
    let targets = tree.files.iter().filter_map(|file| file.path.strip_prefix("fuzz/targets/"));
    let unnamed = targets.filter(|target| !manifest.contains(&format!("path = \"targets/{target}\"")));
    unnamed.map(|target| format!("fuzz/Cargo.toml: no [[bin]] for targets/{target}")).collect()
}

/// `path` as seen from `folder`, without `.` and `..`.
fn join(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::sample;

    fn tree() -> Tree {
        let files = ["README.md", "docs/a.md", "scripts/test", "src/lib.rs"];
        Tree { files: files.map(|path| sample(path, "# One `heading`\n")).into() }
    }

    #[test]
    fn a_dead_link_is_found() {
        let text = "[x](a.md) [y](../README.md#one-heading) [z](https://a.b/c) [w](#here)\n## Here";
        let mut whole = tree();
        whole.files.push(sample("docs/b.md", text));
        assert!(links(&whole.files[4], &whole).is_empty());
        assert_eq!(links(&sample("docs/b.md", "[x](gone.md)"), &tree()).len(), 1);
        assert_eq!(links(&sample("README.md", "[x](docs/a.md#gone)"), &tree()).len(), 1);
    }

    #[test]
    fn a_named_file_that_is_gone_is_found() {
        let text = "`src/lib.rs`, `src/{a,b}.rs`, `docs/NAME`, `a/b`, `docs/`";
        assert!(named_files(&sample("README.md", text), &tree()).is_empty());
        assert_eq!(named_files(&sample("README.md", "see `src/gone.rs`."), &tree()).len(), 1);
    }

    #[test]
    fn a_command_that_cannot_work_is_found() {
        let packages = crate::crates::packages();
        let complaints = |text: &str| commands(&sample("README.md", text), &tree(), &packages).len();
        assert_eq!(
            complaints("```sh\ncargo run --release -p qwormhole-perf -- -p gone\nscripts/test\n```"),
            0
        );
        assert_eq!(complaints("```sh\ncargo run -p qwormhole-gone\n```"), 1);
        assert_eq!(complaints("`cargo run -p qwormhole-proto`"), 1);
        assert_eq!(complaints("`cargo run --example gone`"), 1);
        assert_eq!(complaints("`scripts/gone 60`"), 1);
    }

    #[test]
    fn missing_sections_flags_and_targets_are_found() {
        assert_eq!(check_changelog(&tree()).len(), 1);
        let script = sample("scripts/x", "#!/usr/bin/env bash\necho");
        assert_eq!(check_scripts(&Tree { files: vec![script] }).len(), 2);
        let target = sample("fuzz/targets/x.rs", "");
        assert_eq!(check_fuzz_targets(&Tree { files: vec![target] }).len(), 1);
    }
}
