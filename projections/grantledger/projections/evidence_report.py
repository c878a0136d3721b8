"""The report of an evidence bundle: one page that a person reads, on its own.

It asks for nothing: no script, no image, no link that loads, and a policy in the page
forbids all of it. Whatever others have written, such as a user agent, a reason or the
name of a user, is text, and what could turn or hide text is shown as a replacement.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from html import escape
from uuid import UUID

from grantledger.domain.audit import OF_EVENT, AuditMark, AuditOutcome, AuditRow
from grantledger.domain.values import ERASED_TEXT, ActorKind, TokenKind
from grantledger.projections.evidence_style import STYLE

MAX_SHOWN = 2_000
"""Rows of the table; all are in `events.ndjson`."""

MAX_TEXT = 600
SHORT = 8
_WORD_START = re.compile(r"(?<=[a-z])(?=[A-Z])")
_LETTERS = {TokenKind.REFRESH: "R", TokenKind.ACCESS: "A"}
_STYLE_HASH = base64.b64encode(sha256(STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
    "form-action 'none'"
)
"""What the page may load (CSP Level 3): its own style, and nothing else."""


@dataclass(frozen=True, slots=True)
class GrantNamed:
    """A grant that the evidence is about."""

    grant_id: UUID
    status: str
    provider: str
    subject: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFacts:
    """What the report says before and after the events.

    Attributes:
        asked: in words, with what was asked for.
        complete: whether a range proves that nothing asked for is missing.
        first, end: of the range, or of the chosen leaves.
        leaves: in the bundle; `pruned` of them without their bytes.
        opened: sealed fields shown; `gone` more were destroyed by an erasure.
        rows: events and journal entries, all of which `events.ndjson` has.
        witnesses: names of those who cosigned the checkpoint.
        version: of the program.
    """

    asked: str
    created_at: datetime
    caller: str
    request_id: str
    complete: bool
    first: int
    end: int
    leaves: int
    pruned: int
    opened: int
    gone: int
    rows: int
    grants: Sequence[GrantNamed]
    origin: str
    size: int
    root: bytes
    keys: Sequence[str]
    witnesses: Sequence[str]
    version: str


def report(facts: ReportFacts, picture: str, rows: Iterable[AuditRow]) -> Iterator[str]:
    """Yield the page, piece by piece.

    Args:
        facts: about the bundle.
        picture: the timeline's SVG, empty for none.
        rows: the first `MAX_SHOWN` of them at most.
    """
    title = _title(facts)
    yield (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>Evidence: {title}</title><style>{STYLE}</style></head>\n<body><main>"
        f'<header><p class="kind">Evidence from the log <code>{shown(facts.origin)}'
        f"</code></p><h1>{title}</h1><p>Asked for: {shown(facts.asked)}.</p></header>\n"
        f"{_verdict(facts)}{_facts(facts)}{_grants(facts.grants)}"
    )
    if picture:
        yield _picture(picture)
    yield (
        "<section><h2>Events</h2>"
        f"{_cut(facts.rows)}<table><thead><tr><th>Leaf</th><th>Time (UTC)</th>"
        "<th>Event</th><th>Who</th><th>Token</th><th>What</th></tr></thead><tbody>\n"
    )
    for row in rows:
        yield _row(row, whose=len(facts.grants) != 1)
    yield f"</tbody></table></section>\n{_checking(facts)}</main></body></html>\n"


def shown(text: object, limit: int = MAX_TEXT) -> str:
    """Return a text for the page: escaped, cut, and without what steers its reader.

    Control characters, line ends and those that turn the direction of writing are
    replaced (Unicode Technical Report 36 section 2.5).
    """
    said = str(text)
    said = said if len(said) <= limit else f"{said[:limit]}…"
    plain = (c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in said)
    return escape("".join(plain), quote=True)


def _title(facts: ReportFacts) -> str:
    if not facts.grants:
        return f"Leaves {facts.first} to {facts.end - 1}"
    if len(facts.grants) == 1:
        return f"Grant {facts.grants[0].grant_id}"
    return f"{len(facts.grants)} grants of one user"


def _verdict(facts: ReportFacts) -> str:
    if facts.complete:
        return (
            '<p class="verdict complete"><strong>Complete.</strong> The bundle has '
            f"every leaf from {facts.first} to {facts.end - 1} of the log, and one "
            "proof for all: nothing that was recorded between is left out. The leaf "
            "before and the one after, where there are any, show where it ends.</p>\n"
        )
    return (
        '<p class="verdict"><strong>A selection.</strong> Each leaf in the bundle is '
        "proven to be in the log. That no other leaf speaks of the same is not proven "
        "by it: for that, make the bundle with <code>--complete</code>. A grant's own "
        "events are numbered, so a gap among them would show.</p>\n"
    )


def _facts(facts: ReportFacts) -> str:
    leaves = f"{facts.leaves} in this bundle"
    if facts.pruned:
        leaves += f", {facts.pruned} of them pruned: their hashes are left"
    opened = f"{facts.opened} opened, each against its commitment in a leaf"
    if facts.gone:
        opened += f"; {facts.gone} were destroyed by an erasure"
    witnessed = ", ".join(facts.witnesses)
    lines = (
        ("Made", f"{facts.created_at:%Y-%m-%d %H:%M:%S} UTC for {facts.caller}"),
        ("Recorded as", f"request {facts.request_id}"),
        ("Leaves", leaves),
        ("Sealed fields", opened),
        ("Checkpoint", f"{facts.size} leaves, root {facts.root.hex()}"),
        (
            "Witnesses",
            witnessed or "none: tamper-evident against anyone without the key",
        ),
    )
    rows = "".join(f"<dt>{name}</dt><dd>{shown(said)}</dd>" for name, said in lines)
    return f'<section><dl class="facts">{rows}</dl></section>\n'


def _grants(grants: Sequence[GrantNamed]) -> str:
    if not grants:
        return ""
    rows = "".join(
        f'<tr><td class="mono">{one.grant_id}</td><td>{shown(one.status)}</td>'
        f"<td>{shown(one.provider)}</td><td>{shown(one.subject or ERASED_TEXT)}</td>"
        f"<td>{shown(one.label or ERASED_TEXT)}</td></tr>"
        for one in grants
    )
    return (
        "<section><h2>About</h2><table><thead><tr><th>Grant</th><th>Status</th>"
        "<th>Provider</th><th>User</th><th>Label</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></section>\n"
    )


def _picture(picture: str) -> str:
    return (
        f'<section><h2>Timeline</h2><figure><div class="scroll">{picture}</div>'
        "<figcaption>Time runs to the right; what came after all else stands at the "
        "edge. A bar is how long a token was held, or good; a shape is an event, one "
        "with a number several close together. What was refused or failed stands on a "
        "corner, what ended something is square. The table below says the same."
        "</figcaption></figure></section>\n"
    )


def _cut(rows: int) -> str:
    if rows <= MAX_SHOWN:
        return ""
    return (
        f"<p>The first {MAX_SHOWN} of {rows}; <code>events.ndjson</code> has all of "
        "them.</p>"
    )


def _row(row: AuditRow, *, whose: bool) -> str:
    """Return a line of the table; with whose grant it is, where there are several."""
    leaf = str(row.at.leaf_index)
    if row.at.entry != OF_EVENT:
        leaf += f".{row.at.entry}"
    outcome = ""
    if row.outcome is not AuditOutcome.SUCCESS:
        outcome = f' <span class="outcome {row.outcome}">{row.outcome}</span>'
    at = row.occurred_at
    when = f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03}"
    return (
        f'<tr><td class="leaf">{leaf}</td><td class="time">{when}</td>'
        f'<td><span class="event">{_event(row.event)}</span>{outcome}</td>'
        f'<td class="who">{_who(row)}</td>'
        f'<td class="token mono">{_token(row.mark)}</td>'
        f'<td class="what">{_what(row)}{_whose(row) if whose else ""}</td></tr>\n'
    )


def _event(name: str) -> str:
    """Return the name, which may break between its words."""
    return _WORD_START.sub("<wbr>", shown(name))


def _who(row: AuditRow) -> str:
    actor = row.actor
    name = row.caller or (actor.id if actor else "")
    if row.actor_kind is ActorKind.SYSTEM and row.caller is None:
        name = "the broker"
    parts = [shown(name or row.node)]
    if actor is None:
        return parts[0]
    parts += [_aside(f"for {other}") for other in actor.act_chain]
    if actor.peer_ip:
        parts.append(_aside(f"from {actor.peer_ip}"))
    if actor.user_agent:
        parts.append(_aside(f"says it is “{actor.user_agent}”"))
    return "".join(parts)


def _what(row: AuditRow) -> str:
    parts = [shown(row.what)]
    if row.detail and row.detail not in row.what:
        parts.append(_aside(f"“{row.detail}”"))
    if row.scopes:
        parts.append(_aside(f"scopes: {' '.join(row.scopes)}"))
    if row.audience:
        parts.append(_aside(f"audience: {row.audience}"))
    return "".join(parts)


def _whose(row: AuditRow) -> str:
    if row.grant_id is None:
        return ""
    user = f" of {row.subject}" if row.subject else ""
    return _aside(f"grant {str(row.grant_id)[:SHORT]}{user} at {row.provider}")


def _aside(text: str) -> str:
    return f'<span class="aside">{shown(text)}</span>'


def _token(mark: AuditMark | None) -> str:
    if mark is None:
        return ""
    digits = mark.fingerprint.rpartition(":")[2][:SHORT]
    return shown(f"{_LETTERS[mark.kind]}:{digits}")


def _checking(facts: ReportFacts) -> str:
    keys = "\n".join(shown(key) for key in facts.keys)
    return (
        "<section><h2>How to check it</h2>"
        "<p>This page is the broker's reading, and proves nothing by itself. What "
        "proves it are the files beside it. On any machine with Python, without the "
        "ledger:</p>"
        "<pre>grantledger-verify bundle THIS-DIRECTORY --key VERIFIER-KEY</pre>"
        "<p>It recomputes each file's SHA-256, each leaf's hash, the root that they "
        "lead to, the signature on the checkpoint, and of each opened field the "
        "commitment in its leaf. Have the verifier key from elsewhere than this "
        "bundle: from whoever runs the log, or from an earlier checkpoint. It names</p>"
        f"<pre>{keys}</pre>"
        "<p>Leaves are hashed as RFC 6962 section 2.1 says, the checkpoint is a C2SP "
        "signed note, and <code>opened.ndjson</code> has for each field the key of its "
        "HMAC-SHA256 commitment. An older checkpoint that somebody else has kept tells "
        "that the log was not rewritten before this bundle was made.</p></section>"
        f"<footer>grantledger {shown(facts.version)}, request {shown(facts.request_id)}"
        "</footer>"
    )
