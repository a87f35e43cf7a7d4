//! What the environment says.

use std::ffi::OsString;
use std::time::Duration;

use serde_json::Value;

use crate::error::SelectionError;
use crate::rpc::{Rpc, RpcOptions};
use crate::selection::Selection;
use crate::spawn::SpawnOptions;

/// The selection that `lookup` describes; `None` if it names no adapter.
pub(crate) fn read(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Option<Selection>, SelectionError> {
    let lookup = |name: &str| lookup(name).filter(|value| !value.is_empty());
    let Some(adapter) = lookup(ADAPTER) else { return Ok(None) };
    Ok(Some(match adapter.to_str() {
        Some("qworm_torch") => Selection::default(),
        Some("noop") => Selection::Noop,
        Some("rpc") => Selection::Rpc(rpc(lookup)?),
        Some("spawn") => Selection::Spawn(spawn(lookup)?),
        _ => {
            let value = adapter.to_string_lossy().into_owned();
            let expected = "one of qworm_torch, noop, rpc, spawn";
            return Err(SelectionError::Variable { name: ADAPTER, value, expected });
        }
    }))
}

fn rpc(lookup: impl Fn(&str) -> Option<OsString>) -> Result<RpcOptions, SelectionError> {
    const EXPECTED: &str = "an http:// or https:// address";
    let secret = |name, expected| SelectionError::SecretVariable { name, expected };
    let missing = SelectionError::Missing { name: RPC_URL, adapter: "rpc", expected: EXPECTED };
    let url = lookup(RPC_URL).ok_or(missing)?.into_string().map_err(|_| secret(RPC_URL, EXPECTED))?;
    let mut options = RpcOptions::new(url);
    if let Some(text) = lookup(RPC_HEADERS) {
        let headers = text.to_str().and_then(headers);
        options.headers = headers.ok_or_else(|| secret(RPC_HEADERS, HEADERS))?;
    }
    if let Some(text) = lookup(RPC_TIMEOUT) {
        let ms =
            text.to_str().and_then(|text| text.trim().parse().ok()).filter(|ms| (1..=3_600_000).contains(ms));
        let value = || text.to_string_lossy().into_owned();
        let expected = "milliseconds between 1 and 3600000";
        options.timeout = ms.map(Duration::from_millis).ok_or_else(|| SelectionError::Variable {
            name: RPC_TIMEOUT,
            value: value(),
            expected,
        })?;
    }
    // Who set a variable wants to read its name, not that of an option.
    Rpc::new(options.clone()).map_err(|error| match error {
        SelectionError::Option { option: "url", fix } => secret(RPC_URL, fix.trim_start_matches("must be ")),
        SelectionError::Option { option: "headers", .. } => secret(RPC_HEADERS, HEADERS),
        other => other,
    })?;
    Ok(options)
}

/// A JSON object of strings, or `name:value,name:value`.
fn headers(text: &str) -> Option<Vec<(String, String)>> {
    if text.trim_start().starts_with('{') {
        let Ok(Value::Object(entries)) = serde_json::from_str(text) else { return None };
        return entries
            .into_iter()
            .map(|(name, value)| match value {
                Value::String(value) => Some((name, value)),
                _ => None,
            })
            .collect();
    }
    let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
    pairs
        .map(|pair| {
            pair.split_once(':').map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        })
        .collect()
}

fn spawn(lookup: impl Fn(&str) -> Option<OsString>) -> Result<SpawnOptions, SelectionError> {
    let text = |name, expected| match lookup(name).map(OsString::into_string) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(value)) => {
            let value = value.to_string_lossy().into_owned();
            Err(SelectionError::Variable { name, value, expected })
        }
    };
    const EXPECTED: &str = "the name or the path of a program";
    let missing = SelectionError::Missing { name: SPAWN_CMD, adapter: "spawn", expected: EXPECTED };
    let mut options = SpawnOptions::new(text(SPAWN_CMD, EXPECTED)?.ok_or(missing)?);
    let args = text(SPAWN_ARGS, "arguments separated by spaces, in UTF-8")?.unwrap_or_default();
    options.args = args.split_ascii_whitespace().map(str::to_owned).collect();
    Ok(options)
}

const ADAPTER: &str = "QWORMHOLE_ML_ADAPTER";
const RPC_URL: &str = "QWORMHOLE_ML_RPC_URL";
const RPC_HEADERS: &str = "QWORMHOLE_ML_RPC_HEADERS";
const RPC_TIMEOUT: &str = "QWORMHOLE_ML_RPC_TIMEOUT";
const SPAWN_CMD: &str = "QWORMHOLE_ML_SPAWN_CMD";
const SPAWN_ARGS: &str = "QWORMHOLE_ML_SPAWN_ARGS";
const HEADERS: &str = "a JSON object of strings or `name:value,name:value`, all fit for headers";

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Result<Option<Selection>, SelectionError> {
        read(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
    }

    fn refused(variables: &[(&str, &str)]) -> String {
        with(variables).expect_err("refused").to_string()
    }

    #[test]
    fn nothing_set_says_nothing() {
        assert!(with(&[]).unwrap().is_none());
        assert!(with(&[(ADAPTER, "")]).unwrap().is_none());
        // What belongs to an adapter that is not selected is not looked at.
        assert!(with(&[(RPC_TIMEOUT, "soon")]).unwrap().is_none());
        assert!(matches!(with(&[(ADAPTER, "noop"), (RPC_TIMEOUT, "soon")]).unwrap(), Some(Selection::Noop)));
        assert!(matches!(with(&[(ADAPTER, "qworm_torch")]).unwrap(), Some(Selection::QwormTorch(_))));
    }

    #[test]
    fn unknown_adapters_are_refused_by_name_with_the_choices() {
        assert_eq!(
            refused(&[(ADAPTER, "Torch")]),
            "environment variable QWORMHOLE_ML_ADAPTER=\"Torch\": must be one of qworm_torch, noop, rpc, spawn"
        );
    }

    #[test]
    fn every_variable_of_rpc_is_honoured() {
        let rpc = |variables: &[(&str, &str)]| match with(variables).unwrap() {
            Some(Selection::Rpc(options)) => options,
            other => panic!("{other:?}"),
        };
        let base = [(ADAPTER, "rpc"), (RPC_URL, "http://h:1/p")];
        assert_eq!(rpc(&base), RpcOptions::new("http://h:1/p"));
        let timeout = rpc(&[&base[..], &[(RPC_TIMEOUT, "250")]].concat()).timeout;
        assert_eq!(timeout, Duration::from_millis(250));
        for text in [r#"{"a":"b","c":"d:e"}"#, "a:b,c:d:e", " a : b , c:d:e ,"] {
            let headers = rpc(&[&base[..], &[(RPC_HEADERS, text)]].concat()).headers;
            assert_eq!(headers, [("a".into(), "b".into()), ("c".into(), "d:e".into())], "{text}");
        }
    }

    #[test]
    fn rpc_variables_that_mean_nothing_are_named_and_secrets_are_not_shown() {
        let base = [(ADAPTER, "rpc"), (RPC_URL, "http://h/")];
        assert!(refused(&base[..1]).starts_with("environment variable QWORMHOLE_ML_RPC_URL is not set"));
        for (name, value) in [
            (RPC_URL, "secret"),
            (RPC_URL, "ftp://secret/"),
            (RPC_HEADERS, "secret"),
            (RPC_HEADERS, "{\"secret\":1}"),
            (RPC_HEADERS, "{\"secret\""),
            (RPC_HEADERS, "two words:secret"),
            (RPC_HEADERS, "a:secret\u{1}"),
            (RPC_TIMEOUT, "0"),
            (RPC_TIMEOUT, "5s"),
            (RPC_TIMEOUT, "3600001"),
        ] {
            let error = refused(&[(name, value), base[0], base[1]]);
            assert!(error.contains(&format!("environment variable {name}")), "{value:?}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn every_variable_of_spawn_is_honoured() {
        let base = [(ADAPTER, "spawn"), (SPAWN_CMD, "model"), (SPAWN_ARGS, "-a  --level 3 ")];
        let Some(Selection::Spawn(options)) = with(&base).unwrap() else { panic!("not spawn") };
        assert_eq!((options.command.as_str(), options.args.join("|")), ("model", "-a|--level|3".into()));
        assert!(refused(&base[..1]).starts_with("environment variable QWORMHOLE_ML_SPAWN_CMD is not set"));
    }
}
