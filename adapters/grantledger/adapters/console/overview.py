"""The first page: is all well, what is owed, and what has happened in the last hour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from anyio import to_thread
from markupsafe import Markup
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.bootstrap.ledgers import readings_of, spool_of
from grantledger.adapters.bootstrap.sampling import Owed, owed_of, owing, spooled
from grantledger.adapters.console.asking import past_of, said
from grantledger.adapters.console.visitors import ROOT, Console, Visit, visited
from grantledger.adapters.keys.signing import is_signed
from grantledger.adapters.ledger.log_memory import LogView
from grantledger.adapters.ledger.published_log import Published
from grantledger.adapters.ledger.tallying import Activity
from grantledger.domain.audit import AuditFilter, AuditOutcome, AuditRow
from grantledger.domain.audit_access import AuditUse
from grantledger.domain.errors import Unavailable
from grantledger.domain.policy import Operation
from grantledger.domain.values import GrantStatus
from grantledger.projections.charts import Column, columns
from grantledger.projections.checkpoints import key_id, read_note

WINDOW = timedelta(hours=1)
INTERVAL = timedelta(minutes=1)
LATE = timedelta(minutes=5)
STANDS_FOR = timedelta(minutes=15)
_STATUS = tuple(str(status) for status in GrantStatus)


def routes(console: Console) -> Sequence[BaseRoute]:
    """Return the route."""
    page = partial(overview, Watched())
    return [Route(ROOT, visited(console, page), methods=["GET"])]


@dataclass(frozen=True, slots=True)
class _Standing:
    """How the ledger stands, or stood.

    Attributes:
        statuses: grants by (provider, status); None: too long ago to tell, and so is
            `owed`.
    """

    size: int
    root: bytes
    checkpoint: Published | None
    statuses: dict[tuple[str, str], int] | None
    owed: Owed | None


class Watched:
    """Who looks at the overview, and until when that is on the record.

    A page that is kept fresh asks every few seconds: an entry for each would bury the
    others. Opening it is recorded, with how long that stands for; what asks again in
    that time has been recorded, and what asks later, or elsewhere, is anew.
    """

    def __init__(self) -> None:
        self._until: dict[bytes, datetime] = {}

    async def recorded(self, visit: Visit, *, again: bool) -> None:
        """See that what is about to be shown is on the record.

        Args:
            visit: who looks.
            again: the page asks by itself.

        Raises:
            Unavailable: it could not be recorded; nothing may be shown.
        """
        now, session = visit.console.opened.clock.now(), visit.session.digest
        if again and now < self._until.get(session, now):
            return
        until = now + STANDS_FOR
        await visit.record(
            AuditUse.READ, f"overview, kept fresh until {until:%Y-%m-%dT%H:%M:%SZ}"
        )
        live = {who: end for who, end in self._until.items() if now < end}
        self._until = {**live, session: until}


async def overview(watched: Watched, visit: Visit) -> Response:
    """Answer `GET /console?at=…`; with `fresh`, the page has asked by itself."""
    opened = visit.console.opened
    query = visit.request.query_params
    at = past_of(said(query, "at"), "at", opened.clock.now())
    await visit.must(Operation.LIST)
    if at is None:
        await watched.recorded(visit, again=said(query, "fresh") is not None)
    else:
        await visit.record(AuditUse.READ, f"overview as of {at.isoformat()}")
    now = at or opened.clock.now()
    refusal = opened.ledger.memory.refusal
    behind: str | None = None
    begun: Sequence[AuditRow] = ()
    try:
        # This brings the trail up to the log, if that is not long.
        begun = (await opened.ledger.audit(AuditFilter(), limit=1)).rows
    except Unavailable as error:
        behind = str(error)
    whole = visit.sees_all(Operation.LIST)
    view = await opened.ledger.log()
    origin = opened.guard.known(view).origin
    stands = await (
        _now(opened, view, origin) if at is None else _then(opened, origin, at)
    )
    activity = await opened.ledger.activity(now - WINDOW, now, INTERVAL)
    return visit.page(
        "overview.html",
        "Overview",
        at=at,
        now=now,
        here=opened.clock.now(),
        first_at=begun[0].recorded_at if begun else None,
        ledger=opened.ledger.name,
        stands=stands,
        appends=opened.ledger.appends,
        readings=readings_of(visit.console.settings).name,
        refusal=None if refusal is None else str(refusal),
        checkpoint=_checkpoint(opened, stands, origin, now),
        # What is owed, and how long the log is, is of everybody's grants.
        whole=whole,
        spooled=await to_thread.run_sync(spooled, spool_of(visit.console.settings)),
        statuses=_STATUS,
        by_provider=[
            one
            for one in _by_provider(stands.statuses or {})
            if visit.sees_whole(Operation.LIST, one[0])
        ],
        behind=behind,
        since=activity.since if activity.since > now - WINDOW else None,
        charts=_charts(
            [
                one
                for one in activity.counts
                if visit.sees_whole(Operation.LIST, one.provider)
            ],
            now,
        ),
    )


async def _now(opened: OpenBroker, view: LogView, origin: str) -> _Standing:
    grants = [grant async for grant in owing(opened)]
    return _Standing(
        view.tree.size,
        view.tree.root(),
        await opened.ledger.published.newest(origin),
        await opened.ledger.grants_by_status(),
        owed_of(grants, opened.clock.now()),
    )


async def _then(opened: OpenBroker, origin: str, at: datetime) -> _Standing:
    ledger = opened.ledger
    size = await ledger.size_at(at)
    fleet = await ledger.fleet_then(size)
    owed: Owed | None = None
    if fleet is not None:
        grants = [one async for one in owing(opened) if one.id not in fleet.changed]
        grants += [one for one in fleet.changed.values() if one is not None]
        owed = owed_of(grants, at)
    return _Standing(
        size,
        await ledger.published.root(size),
        await ledger.published.newest_at(origin, size, at),
        None if fleet is None else fleet.by_status,
        owed,
    )


def _checkpoint(
    opened: OpenBroker, stands: _Standing, origin: str, at: datetime
) -> dict[str, object] | None:
    """Return the newest published checkpoint, checked; None where there is none."""
    newest = stands.checkpoint
    if newest is None:
        return None
    note = read_note(newest.text.encode())
    signed = any(
        one.key_id == key_id(origin, public)
        and is_signed(public, note.signed, one.signature)
        for public in opened.guard.public_keys()
        for one in note.signatures
        if one.name == origin
    )
    return {
        "size": newest.size,
        "at": newest.at,
        "signed": signed,
        "late": stands.size > newest.size and at - newest.at > LATE,
        "cosigned": len(newest.cosignatures),
        "behind": max(0, stands.size - newest.size),
    }


def _by_provider(
    counts: dict[tuple[str, str], int],
) -> list[tuple[str, list[int], int]]:
    """Return (provider, number for each status, sum), by name."""
    providers = sorted({provider for provider, _ in counts})
    found: list[tuple[str, list[int], int]] = []
    for provider in providers:
        numbers = [counts.get((provider, status), 0) for status in _STATUS]
        found.append((provider, numbers, sum(numbers)))
    return found


def _charts(counts: Sequence[Activity], now: datetime) -> list[dict[str, object]]:
    """Return the pictures, each with its numbers for a table."""
    handed: Counter[datetime] = Counter()
    failed: dict[str, Counter[datetime]] = {}
    for one in counts:
        if one.event == "HandedOut":
            handed[one.at] += one.count
        if one.outcome in {AuditOutcome.FAILED, AuditOutcome.UNKNOWN}:
            failed.setdefault(one.provider or "the ledger", Counter())[one.at] += (
                one.count
            )
    first = (now - WINDOW).replace(second=0, microsecond=0)
    minutes = [first + number * INTERVAL for number in range(61)]
    charts = [_chart("Hand-outs per minute", handed, minutes, "column")]
    for provider in sorted(failed):
        title = f"Failures per minute, {provider}"
        charts.append(_chart(title, failed[provider], minutes, "column failed"))
    if not failed:
        title = "Failures per minute, all providers"
        charts.append(_chart(title, Counter(), minutes, "column failed"))
    return charts


def _chart(
    title: str, counts: Counter[datetime], minutes: Sequence[datetime], kind: str
) -> dict[str, object]:
    data = [Column(at, counts[at], f"{at:%H:%M} UTC: {counts[at]}") for at in minutes]
    return {
        "title": title,
        "sum": sum(counts.values()),
        # Made by us of numbers; the title is escaped. Of none there is none.
        "picture": Markup(columns(title, data, kind)) if any(counts.values()) else "",  # noqa: S704 - see above
        "rows": [(at, counts[at]) for at in minutes if counts[at]],
    }
