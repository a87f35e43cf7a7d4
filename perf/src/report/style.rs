//! Colours and type.

/// For a picture on its own: the same rules, with the colours where no page gives them.
pub(super) fn picture() -> String {
    format!("svg{{{LIGHT}}}@media (prefers-color-scheme:dark){{svg{{{DARK}}}}}{PICTURES}")
}

/// For the page.
pub(super) fn page() -> String {
    format!(
        ":root{{color-scheme:light dark;{LIGHT}}}@media (prefers-color-scheme:dark){{:root{{{DARK}}}}}{PAGE}{PICTURES}"
    )
}

/// Nine colours that stay apart for colour-blind eyes (Okabe and Ito's, darkened or lightened for the ground).
const LIGHT: &str = "--ground:#ffffff;--card:#f7f8fa;--ink:#1a1d21;--faint:#5b636e;--rule:#dfe3e8;--good:#00714f;\
                     --bad:#b23c00;--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#b5568f;--c4:#b87f00;--c5:#3a9bd6;\
                     --c6:#6a51a3;--c7:#7a6a2f;--c8:#6b7280;";
const DARK: &str = "--ground:#101317;--card:#181c22;--ink:#e8ebef;--faint:#9aa4b0;--rule:#2c333c;--good:#4fd1a5;\
                    --bad:#ff9a66;--c0:#4db1f0;--c1:#ff8a4c;--c2:#3dcfa5;--c3:#ee9fca;--c4:#ffc04d;--c5:#9bd8ff;\
                    --c6:#b9a3ea;--c7:#d3bf73;--c8:#aab2bd;";

const PICTURES: &str = "\
text{font:15px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:var(--ink)}\
.tick,.axis{font-size:13px;fill:var(--faint)}.title{font-size:17px;font-weight:600}.value{font-weight:600}\
.ground{fill:var(--ground)}.grid{stroke:var(--rule);stroke-width:1}\
.whisker{stroke:var(--ink);stroke-width:1.4}.curve{fill:none;stroke-width:2.4;stroke-linejoin:round}\
.thin{stroke-width:1.2;opacity:.75}.second{opacity:.55}\
.curve.s0{stroke:var(--c0);stroke-width:3}.curve.s0.thin{stroke-width:1.2}.curve.s1{stroke:var(--c1)}\
.curve.s2{stroke:var(--c2)}.curve.s3{stroke:var(--c3)}.curve.s4{stroke:var(--c4)}.curve.s5{stroke:var(--c5)}\
.curve.s6{stroke:var(--c6)}.curve.s7{stroke:var(--c7)}.curve.s8{stroke:var(--c8)}\
.bar.s0{fill:var(--c0)}.bar.s1{fill:var(--c1)}.bar.s2{fill:var(--c2)}.bar.s3{fill:var(--c3)}\
.bar.s4{fill:var(--c4)}.bar.s5{fill:var(--c5)}.bar.s6{fill:var(--c6)}.bar.s7{fill:var(--c7)}\
.bar.s8{fill:var(--c8)}";

const PAGE: &str = "\
*{box-sizing:border-box}body{margin:0;background:var(--ground);color:var(--ink);\
font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}\
main{max-width:76rem;margin:0 auto;padding:1.5rem clamp(.9rem,3vw,2.5rem) 4rem}\
h1{font-size:1.7rem;line-height:1.2;margin:.4rem 0}h2{font-size:1.3rem;margin:2.6rem 0 .3rem;padding-top:1.2rem;\
border-top:1px solid var(--rule)}h3{font-size:1.05rem;margin:1.6rem 0 .4rem}p{margin:.4rem 0}.faint{color:var(--faint)}\
.pictures{columns:2 25rem;column-gap:1.1rem;margin:1rem 0}\
figure{margin:0 0 1.1rem;padding:1rem;break-inside:avoid;background:var(--card);border:1px solid var(--rule);border-radius:.6rem}\
figure svg{display:block;width:100%;height:auto}figure h4{margin:0 0 .6rem;font-size:1rem}\
figcaption{color:var(--faint);font-size:.87rem;margin-top:.5rem}\
.wide{overflow-x:auto;margin:.6rem 0}table{border-collapse:collapse;font-size:.9rem;min-width:100%}\
caption{text-align:left;color:var(--faint);padding:.2rem 0}\
th,td{padding:.34rem .8rem .34rem 0;border-bottom:1px solid var(--rule);text-align:right;white-space:nowrap;\
font-variant-numeric:tabular-nums}th:first-child,td:first-child{text-align:left}thead th{color:var(--faint);\
font-weight:500}tbody th{font-weight:500}td small{color:var(--faint);margin-left:.35rem}\
.better{color:var(--good);font-weight:600}.worse{color:var(--bad);font-weight:600}.open{color:var(--faint)}\
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--card);border:1px solid var(--rule);border-radius:.5rem;padding:.7rem .9rem;\
font-size:.85rem}code{font-family:ui-monospace,'DejaVu Sans Mono',Menlo,monospace}\
dl{display:grid;grid-template-columns:minmax(7rem,max-content) 1fr;gap:.2rem 1.1rem;font-size:.9rem;margin:.5rem 0}\
dt{color:var(--faint)}dd{margin:0;overflow-wrap:anywhere}summary{cursor:pointer;padding:.4rem 0}\
.partial{border-left:4px solid var(--bad);padding:.3rem .8rem;background:var(--card)}";
