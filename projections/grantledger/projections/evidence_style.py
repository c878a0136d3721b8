"""How the evidence report looks: on light and dark screens, on a phone, on paper."""

from __future__ import annotations

STYLE = """
:root{--ink:#1b2126;--dim:#5b6670;--paper:#fff;--band:#f4f6f8;--line:#d9dfe4;
--consent:#2d7d46;--refresh:#1f6fb2;--access:#6b57c9;--handed:#0d8a8a;--failed:#c0392b;
--ended:#a04a00;--record:#6c757d;--good:#1e6b3a;--good-paper:#e7f4eb;--warn:#7a4b00;
--warn-paper:#fdf3df;color-scheme:light dark}
@media (prefers-color-scheme:dark){:root{--ink:#e7eaed;--dim:#9aa5af;--paper:#14181b;
--band:#1c2227;--line:#343d45;--consent:#5cc17d;--refresh:#62b0f0;--access:#a697f5;
--handed:#4fc7c7;--failed:#ff7b6b;--ended:#f0a35c;--record:#9aa5af;--good:#8fdba7;
--good-paper:#16301f;--warn:#f0c674;--warn-paper:#352a12}}
*{box-sizing:border-box}
html{background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,"Segoe UI",
"Liberation Sans",Arial,sans-serif;-webkit-text-size-adjust:100%}
body{margin:0}
main{max-width:1120px;margin:0 auto;padding:32px 24px 64px}
h1{font-size:26px;line-height:1.25;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:18px;margin:36px 0 10px}
p{margin:0 0 10px;max-width:78ch}
.kind{color:var(--dim);font-size:13px;margin:0 0 4px}
.verdict{border-left:4px solid var(--warn);background:var(--warn-paper);
color:var(--warn);padding:10px 14px;margin:20px 0;max-width:none;
border-radius:0 4px 4px 0}
.verdict.complete{border-color:var(--good);background:var(--good-paper);
color:var(--good)}
.facts{display:grid;grid-template-columns:minmax(120px,max-content) 1fr;gap:4px 20px;
margin:0}
dt{color:var(--dim)}
dd{margin:0;overflow-wrap:anywhere}
code,.mono{font-family:ui-monospace,"Cascadia Mono","Liberation Mono",Menlo,monospace;
font-size:.9em;overflow-wrap:anywhere}
pre{background:var(--band);border:1px solid var(--line);border-radius:4px;
padding:12px 14px;margin:0 0 12px;white-space:pre-wrap;overflow-wrap:anywhere;
font:13px/1.5 ui-monospace,"Cascadia Mono","Liberation Mono",Menlo,monospace}
figure{margin:0}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:4px}
svg{display:block;width:100%;min-width:760px;height:auto}
figcaption{color:var(--dim);font-size:13px;margin:8px 0 0;max-width:90ch}
.lane{fill:var(--paper)}.lane.odd{fill:var(--band)}
.tick{stroke:var(--line);stroke-dasharray:2 3}
svg text{fill:var(--ink);font-size:12.5px}
svg .count,svg .date,svg .time{fill:var(--dim);font-size:11.5px}
svg .time,svg .date,svg .number{text-anchor:middle}
svg .number{fill:var(--paper);font-size:10.5px;font-weight:700}
svg .number.small{font-size:9px}
.mark{stroke:var(--paper);stroke-width:1.5}
.bar{opacity:.38}
.consent{fill:var(--consent)}.refresh{fill:var(--refresh)}.access{fill:var(--access)}
.handed{fill:var(--handed)}.failed{fill:var(--failed)}.ended{fill:var(--ended)}
.record{fill:var(--record)}
table{border-collapse:collapse;width:100%;font-size:13.5px}
th{text-align:left;color:var(--dim);font-weight:600;border-bottom:2px solid var(--line);
padding:6px 14px 6px 0;white-space:nowrap}
td{vertical-align:top;border-bottom:1px solid var(--line);padding:7px 14px 7px 0;
overflow-wrap:anywhere}
td.leaf,td.time,td.token{white-space:nowrap}
td.leaf,td.time{font-variant-numeric:tabular-nums}
td.leaf,.aside{color:var(--dim)}
td.who{width:20%}
td.what{width:36%}
.event{font-weight:600;overflow-wrap:normal}
.outcome{display:inline-block;font-size:12px;padding:0 7px;border-radius:9px;
border:1px solid currentColor;white-space:nowrap}
.outcome.denied,.outcome.failed{color:var(--failed);fill:none}
.outcome.unknown{color:var(--ended)}
.aside{display:block;font-size:12.5px}
footer{color:var(--dim);font-size:13px;margin-top:40px;border-top:1px solid var(--line);
padding-top:12px}
@media (max-width:720px){main{padding:20px 14px 48px}h1{font-size:21px}
.facts{grid-template-columns:1fr;gap:0}dd{margin:0 0 8px}
table,tbody,tr,td{display:block;width:100%}thead{display:none}
tr{border-bottom:1px solid var(--line);padding:8px 0}
td,td.who,td.what{border:0;padding:1px 0;width:100%;white-space:normal}
td.leaf,td.time{display:inline;width:auto}td.leaf{padding-right:10px}
td.leaf::before{content:"leaf "}td:empty{display:none}}
@media print{:root{--ink:#000;--dim:#444;--paper:#fff;--band:#f3f3f3;--line:#bbb;
--good:#0b4d22;--good-paper:#fff;--warn:#5c3900;--warn-paper:#fff;color-scheme:light}
html{font-size:10pt}main{max-width:none;padding:0}svg{min-width:0}
.scroll{overflow:visible}table{font-size:8.5pt}thead{display:table-header-group}
tr,figure,.verdict,pre{break-inside:avoid}h2{break-after:avoid}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
