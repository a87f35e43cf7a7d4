//! The first message between two machines: whether both ends are the same version and belong together.

/// What a client with a token sends first, as an ordinary message; a server with the same token sends it back,
/// any other server of this program refuses in words and closes.
pub(crate) fn hello(token: &str) -> String {
    format!("{GREETING} {} {token}", env!("CARGO_PKG_VERSION"))
}

/// What a server with a token answers to a first message.
///
/// # Errors
///
/// The refusal in words, to be sent before closing.
pub(crate) fn check_hello(message: &[u8], token: &str) -> Result<(), String> {
    let text = std::str::from_utf8(message).unwrap_or_default();
    let Some(rest) = text.strip_prefix(GREETING).and_then(|rest| rest.strip_prefix(' ')) else {
        return Err(refusal("this server wants a token (--token)"));
    };
    let (version, shown) = rest.split_once(' ').unwrap_or((rest, ""));
    if version != env!("CARGO_PKG_VERSION") {
        let own = env!("CARGO_PKG_VERSION");
        return Err(refusal(&format!("the server is version {own}, the client {version}")));
    }
    if shown != token {
        return Err(refusal("the token is not the server's"));
    }
    Ok(())
}

/// Why a server did not accept `token`, judged by its first answer.
///
/// # Errors
///
/// One line.
pub(crate) fn check_answer(answer: &[u8], token: &str) -> Result<(), String> {
    if answer == hello(token).as_bytes() {
        return Ok(());
    }
    let text = std::str::from_utf8(answer).unwrap_or_default();
    match text.strip_prefix(REFUSAL) {
        Some(reason) => Err(format!("refused: {}", reason.trim())),
        None => Err(String::from("the peer does not answer as an echo server would")),
    }
}

fn refusal(reason: &str) -> String {
    format!("{REFUSAL} {reason}")
}

const GREETING: &str = "qwormhole-perf hello";
const REFUSAL: &str = "qwormhole-perf refused:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_version_with_the_same_token_is_accepted() {
        assert_eq!(check_hello(hello("a b").as_bytes(), "a b"), Ok(()));
        assert_eq!(check_answer(hello("a b").as_bytes(), "a b"), Ok(()));
    }

    #[test]
    fn others_are_refused_in_words_that_arrive() {
        let told = |message: &[u8]| {
            let refusal = check_hello(message, "right").unwrap_err();
            check_answer(refusal.as_bytes(), "right").unwrap_err()
        };
        assert!(told(hello("wrong").as_bytes()).contains("token"));
        assert!(told(b"qwormhole-perf hello 0.0.0 right").contains("version"));
        assert!(told(b"\xff\x00").contains("--token"));
        assert!(told(b"").contains("--token"));
        assert!(check_answer(b"HTTP/1.1 400", "right").unwrap_err().contains("echo"));
    }
}
