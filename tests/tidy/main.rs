//! House rules that no compiler checks. Each rule is a function from text to complaints, so that a test beside
//! it shows a sample on which it is red; then all rules run over the whole tree.

#![forbid(unsafe_code)]

mod code;
mod crates;
mod docs;
mod lexer;
mod options;
mod tree;
mod vectors;

use tree::Tree;

/// One violation, in words that say where.
pub(crate) type Complaint = String;

#[test]
fn the_tree_keeps_the_house_rules() {
    let tree = Tree::read();
    let packages = crates::packages();
    let mut complaints: Vec<Complaint> = Vec::new();
    for file in &tree.files {
        complaints.extend(code::check(file));
        complaints.extend(docs::check(file, &tree, &packages));
    }
    complaints.extend(crates::check(&packages));
    complaints.extend(crates::check_roots(&tree));
    complaints.extend(docs::check_changelog(&tree));
    complaints.extend(docs::check_scripts(&tree));
    complaints.extend(docs::check_fuzz_targets(&tree));
    complaints.extend(options::check(&tree));
    complaints.extend(vectors::check(&tree));
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

#[test]
fn the_tree_is_really_read() {
    let tree = Tree::read();
    for path in [
        "Cargo.toml",
        "README.md",
        "proto/src/lib.rs",
        "engine/src/sys/mod.rs",
        "fuzz/targets/canary.rs",
        "scripts/test",
    ] {
        assert!(tree.file(path).is_some_and(|file| !file.text.is_empty()), "{path} is missing from the tree");
    }
    assert!(tree.files.len() > 150, "{} files", tree.files.len());
}
