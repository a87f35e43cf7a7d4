//! The page: everything in one file, nothing from elsewhere.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::canvas::escaped;
use super::headline::{command, headline, load, place, rounds};
use super::picture::{self, Picture};
use super::series::Series;
use super::{style, tables};
use crate::environment::Environment;
use crate::result::ResultFile;

/// The page of some results.
pub(super) fn page(results: &[ResultFile]) -> String {
    let series = Series::of(results);
    let mut number = 0;
    let mut body = String::new();
    let over_all = picture::of_all(results, &series);
    if !over_all.is_empty() {
        let _ = write!(body, "<h2>Latency against load</h2>{}", pictures(&over_all, &mut number));
    }
    for result in results {
        section(&mut body, result, &series, &mut number);
    }
    let names: BTreeSet<_> = results.iter().map(|result| result.scenario.as_str()).collect();
    let names = escaped(&names.into_iter().collect::<Vec<_>>().join(", "));
    let (style, machines) = (style::page(), machines(results));
    let origin: BTreeSet<_> = results.iter().map(origin).collect();
    let origin: String = origin.iter().map(|it| format!("<p class=\"faint\">{}</p>", escaped(it))).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         img-src data:\"><link rel=\"icon\" href=\"data:,\"><title>qwormhole-perf: {names}</title>\
         <style>{style}</style></head><body><main><h1>What was measured: {names}</h1>{origin}{body}\
         <h2>The machine</h2>{machines}</main></body></html>\n"
    )
}

fn section(body: &mut String, result: &ResultFile, series: &Series, number: &mut usize) {
    let _ = write!(body, "<section><h2><code>{}</code></h2>", escaped(&load(result)));
    let params = &result.params;
    let seconds = |name: &str| params[name].as_f64().unwrap_or(0.0);
    let count = rounds(result);
    let plural = if count == 1 { "" } else { "s" };
    let _ = write!(
        body,
        "<p class=\"faint\">{count} round{plural} of {} s after {} s of warm-up; messages of {} bytes; \
         server on {}, client on {}.</p>",
        seconds("duration_s"),
        seconds("warmup_s"),
        params["size"].as_u64().unwrap_or(0),
        place(&params["server_cpus"]),
        place(&params["client_cpus"]),
    );
    if result.is_partial() {
        body.push_str("<p class=\"partial\">Partial: an interrupt ended it early.</p>");
    }
    for reason in params["left_out"].as_array().into_iter().flatten().filter_map(|it| it.as_str()) {
        let _ = write!(body, "<p class=\"faint\">Left out: {}.</p>", escaped(reason));
    }
    body.push_str(&tables::glance(result, &headline(result)));
    body.push_str(&pictures(&picture::of_result(result, series), number));
    let _ = write!(body, "<details><summary>All figures</summary>{}</details>", tables::figures(result));
    if !result.ratios.is_empty() {
        let _ = write!(body, "<details><summary>All ratios</summary>{}</details>", tables::ratios(result));
    }
    let _ = write!(
        body,
        "<p class=\"faint\">The exact command:</p><pre><code>{}</code></pre>",
        escaped(&command(result))
    );
    body.push_str("</section>");
}

fn pictures(pictures: &[Picture], number: &mut usize) -> String {
    let mut text = String::from("<div class=\"pictures\">");
    for picture in pictures {
        *number += 1;
        let (title, note) = (escaped(&picture.title), escaped(picture.note));
        let svg = picture.svg(*number, "");
        let _ = write!(text, "<figure><h4>{title}</h4>{svg}<figcaption>{note}</figcaption></figure>");
    }
    text.push_str("</div>");
    text
}

/// Machine and revision in a line.
fn origin(result: &ResultFile) -> String {
    let Environment { kernel, cpu, cores, versions, .. } = &result.environment;
    let warning =
        if versions.build == "release" { "" } else { " This was a debug build: its figures say nothing." };
    format!(
        "{cpu}, {cores} CPUs, {kernel}; qwormhole {}, revision {}.{warning}",
        versions.qwormhole, result.git_revision
    )
}

/// The machines, revisions and builds that the results come from; usually one.
fn machines(results: &[ResultFile]) -> String {
    let all: BTreeSet<_> = results.iter().map(|it| block(&it.environment, &it.git_revision)).collect();
    all.into_iter().collect()
}

fn block(environment: &Environment, revision: &str) -> String {
    let Environment { kernel, cpu, cores, memory_bytes, limits, mitigations, versions } = environment;
    let mebibytes = |bytes: Option<u64>| {
        bytes.map_or_else(|| String::from("without limit"), |it| format!("{} MiB", it >> 20))
    };
    let mitigated: Vec<_> = mitigations
        .iter()
        .filter(|(_, state)| *state != "Not affected")
        .map(|(name, state)| format!("{name}: {state}"))
        .collect();
    let rows = [
        ("machine", format!("{cpu}, {cores} CPUs usable, {}", mebibytes(Some(*memory_bytes)))),
        ("kernel", kernel.clone()),
        ("lockable memory", mebibytes(limits.memlock_bytes)),
        ("open files", limits.open_files.map_or_else(|| String::from("without limit"), |it| it.to_string())),
        (
            "mitigations",
            if mitigated.is_empty() { String::from("none active") } else { mitigated.join("; ") },
        ),
        ("revision", format!("{revision}, qwormhole {}", versions.qwormhole)),
        ("built by", format!("{}, {} build", versions.rustc, versions.build)),
    ];
    let mut text = String::from("<dl>");
    for (name, value) in rows {
        let _ = write!(text, "<dt>{name}</dt><dd>{}</dd>", escaped(&value));
    }
    text.push_str("</dl>");
    text
}
