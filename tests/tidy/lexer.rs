//! Rust source without its comments and literals.

/// Replaces comments, strings and characters by spaces; lines stay where they are.
pub(crate) fn code_only(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let len = hidden_len(rest, code.chars().next_back());
        let (hidden, after) = rest.split_at(len);
        if hidden.is_empty() {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(hidden.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = after;
        }
    }
    code
}

/// The words of code: runs of letters, digits and underscores, with their line.
pub(crate) fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.lines().enumerate().flat_map(|(number, line)| {
        let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.filter(|word| !word.is_empty()).map(move |word| (number + 1, word))
    })
}

/// How many bytes at the start of `rest` are a comment or a literal.
fn hidden_len(rest: &str, before: Option<char>) -> usize {
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment_len(rest);
    }
    if rest.starts_with('"') {
        return string_len(rest);
    }
    if rest.starts_with('\'') {
        return character_len(rest);
    }
    if in_word {
        return 0;
    }
    for prefix in ["b", "c"] {
        if let Some(string) = rest.strip_prefix(prefix).filter(|string| string.starts_with('"')) {
            return prefix.len() + string_len(string);
        }
    }
    for prefix in ["r", "br", "cr"] {
        if let Some(raw) = rest.strip_prefix(prefix)
            && let Some(len) = raw_string_len(raw)
        {
            return prefix.len() + len;
        }
    }
    0
}

fn block_comment_len(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if here.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn string_len(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// `raw` begins behind the `r`.
fn raw_string_len(raw: &str) -> Option<usize> {
    let hashes = raw.len() - raw.trim_start_matches('#').len();
    let body = raw[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(hashes + 1 + body.find(&end).map_or(body.len(), |at| at + end.len()))
}

/// Zero for a lifetime.
fn character_len(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => {
            // The escaped character may be a quote itself.
            chars.next();
            chars.find(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1)
        }
        Some(_) => match chars.next() {
            Some((at, '\'')) => at + 1,
            _ => 0,
        },
        None => 0,
    }
}

#[test]
fn comments_and_literals_are_hidden_and_code_is_not() {
    let cases = [
        ("a // b\nc", "a\nc"),
        ("a /* b /* c */ d */ e", "a e"),
        (r#"a "b \" c" d"#, "a d"),
        (r##"a r#"b " c"# d"##, "a d"),
        (r#"a b"x" c"y" br"z" d"#, "a d"),
        ("a 'b' c", "a c"),
        (r"a '\'' c '\u{41}' d", "a c d"),
        ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
        ("raw r bar\"x\"", "raw r bar"),
        ("unfinished \"...", "unfinished"),
    ];
    for (source, expected) in cases {
        let hidden = code_only(source);
        assert_eq!(hidden.len(), source.len(), "{source}");
        let squeezed = hidden.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        assert_eq!(squeezed.collect::<Vec<_>>().join("\n"), expected, "{source}");
    }
}
