"""Makes an evidence bundle: what was asked for, as leaves that prove themselves.

That it was asked for is on the record before anything of it leaves. Every leaf is
checked against the signed checkpoint before the bundle is finished: a ledger that does
not prove itself gives none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from uuid import UUID

import anyio.to_thread

from grantledger.adapters.bootstrap.bundle import BundleFiles
from grantledger.adapters.bootstrap.opened import OpenBroker
from grantledger.adapters.bootstrap.proven_leaves import ProvenLeaves, Span
from grantledger.domain.audit import AuditFilter, AuditPosition, AuditRow
from grantledger.domain.audit_access import AuditUse
from grantledger.domain.errors import InvalidRequest, NotProvisioned
from grantledger.domain.evidence import LIMITS, EvidenceAsked, EvidenceLimits
from grantledger.domain.fleet import GrantFilter
from grantledger.domain.grant_state import GrantState
from grantledger.domain.requests import Caller
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import GrantStatus
from grantledger.projections.checkpoints import (
    SignedCheckpoint,
    read_note,
    verifier_key,
)
from grantledger.projections.evidence import (
    CHECKPOINT,
    EVENTS,
    KEYS,
    MANIFEST,
    RANGES,
    REPORT,
    Manifest,
    event_line,
    ranges_text,
)
from grantledger.projections.evidence_report import (
    MAX_SHOWN,
    GrantNamed,
    ReportFacts,
    report,
)
from grantledger.projections.timeline import Timeline

ROWS = 500
_TICK = timedelta(microseconds=1)
_LAST_ENTRY = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a bundle holds.

    Attributes:
        leaves: all of them; `opened` sealed fields are shown beside them.
        rows: events and journal entries in words.
    """

    manifest: Manifest
    grants: tuple[UUID, ...]
    leaves: int
    opened: int
    rows: int


async def make_evidence(
    opened: OpenBroker,
    caller: Caller,
    asked: EvidenceAsked,
    directory: Path,
    may: Callable[[GrantState], bool] = lambda _: True,
    limits: EvidenceLimits = LIMITS,
) -> Evidence:
    """Write what was asked for into an empty directory; return what it is.

    Args:
        opened: whose ledger is asked.
        caller: who asks; that it may is checked before.
        asked: what for.
        directory: there, and empty.
        may: whether the caller may see a grant; others are as if they were not there.
        limits: how much it may hold.

    Raises:
        ConfigurationError: the key ring has no signing key.
        InvalidRequest: there are too many leaves, or none.
        NotProvisioned: there is no such grant, token or user.
        IntegrityError: what is stored does not lead to the checkpoint's root.
        Unavailable: that it was asked for cannot be recorded, or the ledger not read.
    """
    opened.guard.signer()
    grants = await _grants(opened, asked, may, limits.grants)
    access = opened.broker.audit_access
    request_id = ""
    named: list[UUID | None] = [grant.id for grant in grants]
    for grant_id in named or [None]:
        request_id = await access.record(
            caller, AuditUse.EVIDENCE, asked.words, grant_id=grant_id
        )
    made = _Making(opened, asked, grants, BundleFiles(directory), limits)
    return await made.run(caller.id, request_id)


async def _grants(
    opened: OpenBroker,
    asked: EvidenceAsked,
    may: Callable[[GrantState], bool],
    limit: int,
) -> list[UserGrant]:
    ledger = opened.ledger
    found: list[UserGrant] = []
    if asked.subject is not None:
        wanted = GrantFilter(provider=asked.provider, subject=asked.subject)
        async for grant in ledger.each(wanted):
            found.append(grant)
            if len(found) > limit:
                raise InvalidRequest(
                    f"the user has more than {limit} grants: ask for them by id",
                    "subject",
                )
    else:
        for grant_id in await _named(opened, asked):
            one = await ledger.get(grant_id)
            if one is not None:
                found.append(one)
    found = [grant for grant in found if may(grant.state)]
    if asked.narrowed and not found:
        raise NotProvisioned("the ledger knows no such grant, token or user")
    if asked.erasure is not None:
        await _erased(opened, found[0])
    return found


async def _erased(opened: OpenBroker, grant: UserGrant) -> None:
    """See that nothing of an erased grant is left to be destroyed.

    Raises:
        InvalidRequest: it is not erased, or not all of it.
    """
    if grant.state.status is not GrantStatus.ERASED:
        raise InvalidRequest(f"grant {grant.id} is not erased", "erasure")
    left = await opened.ledger.disclosing.remains(grant.id)
    if left:
        raise InvalidRequest(
            f"the erasure of grant {grant.id} is not finished: {left} keys and sealed "
            "parts are left; erase it again",
            "erasure",
        )


async def _named(opened: OpenBroker, asked: EvidenceAsked) -> Sequence[UUID]:
    if asked.token is None:
        return [one for one in (asked.grant_id, asked.erasure) if one is not None]
    places = [
        place
        for mark in await opened.ledger.fingerprints(asked.token.reveal())
        for place in await opened.ledger.find_fingerprint(mark)
    ]
    return list(dict.fromkeys(place.grant_id for place in places))


class _Making:
    """One bundle, from its checkpoint to its manifest."""

    def __init__(
        self,
        opened: OpenBroker,
        asked: EvidenceAsked,
        grants: Sequence[UserGrant],
        files: BundleFiles,
        limits: EvidenceLimits,
    ) -> None:
        self._opened = opened
        self._limits = limits
        self._log = opened.ledger.published
        self._asked = asked
        self._grants = grants
        self._owners = frozenset(g.id for g in grants) if asked.narrowed else None
        self._files = files

    async def run(self, caller: str, request_id: str) -> Evidence:
        """Write everything; return what it is."""
        note = await self._checkpoint()
        signed = read_note(note.encode())
        size = signed.checkpoint.size
        start, end = await self._window(size)
        single, span = await self._chosen(start, end, size)
        created_at = self._opened.clock.now()
        self._files.add(CHECKPOINT, note)
        keys = [
            verifier_key(signed.checkpoint.origin, key)
            for key in self._opened.guard.public_keys()
        ]
        self._files.add(KEYS, "".join(f"{key}\n" for key in keys))
        leaves = ProvenLeaves(self._opened.ledger, self._files, self._owners)
        ranges = await leaves.write(single, span, signed, note)
        self._files.add(RANGES, ranges_text(ranges))
        picture, rows, few = await self._write_rows(start, end)
        facts = ReportFacts(
            asked=self._asked.words,
            created_at=created_at,
            caller=caller,
            request_id=request_id,
            complete=span is not None,
            first=span.start if span else single[0],
            end=span.end if span else single[-1] + 1,
            leaves=leaves.count,
            pruned=leaves.pruned,
            opened=leaves.opened,
            gone=leaves.gone,
            rows=rows,
            grants=[_name(grant) for grant in self._grants],
            origin=signed.checkpoint.origin,
            size=size,
            root=signed.checkpoint.root,
            keys=keys,
            witnesses=_witnesses(signed),
            version=version("grantledger"),
        )
        with self._files.new(REPORT) as file:
            pieces = partial(file.write, report(facts, picture.svg(), few))
            await anyio.to_thread.run_sync(pieces)
        ids = tuple(grant.id for grant in self._grants)
        manifest = Manifest(
            created_at=created_at,
            checkpoint=signed.checkpoint,
            asked={**self._asked.fields, "grants": [str(one) for one in ids]},
            complete=span is not None,
            ranges=ranges,
            single=single,
            files=self._files.written,
        )
        self._files.add(MANIFEST, manifest.text())
        return Evidence(manifest, ids, leaves.count, leaves.opened, rows)

    # -- what is proven

    async def _checkpoint(self) -> str:
        """Return the checkpoint under which everything is proven.

        Of what is past the newest published one that witnesses have signed, else one
        of the log as it is now.
        """
        until = self._asked.recorded_until
        if until is not None and not until > self._opened.clock.now():
            view = await self._opened.ledger.log()
            newest = await self._log.newest(self._opened.guard.known(view).origin)
            if newest is not None and newest.cosignatures:
                end = await self._opened.ledger.size_at(until - _TICK)
                if newest.size >= end:
                    self._opened.guard.vouch(newest)
                    return newest.text
        return await self._opened.guard.checkpoint()

    async def _window(self, size: int) -> tuple[int, int]:
        """Return the leaves [start, end) that the log gained in the time asked for."""
        start, end = 0, size
        if self._asked.recorded_from is not None:
            at = self._asked.recorded_from - _TICK
            start = min(size, await self._opened.ledger.size_at(at))
        if self._asked.recorded_until is not None:
            at = self._asked.recorded_until - _TICK
            end = min(size, await self._opened.ledger.size_at(at))
        return start, end

    async def _chosen(
        self, start: int, end: int, size: int
    ) -> tuple[list[int], Span | None]:
        """Return the leaves to be proven one by one, or the range [start, end)."""
        single: set[int] = set()
        limits, found = self._limits, self._opened.ledger.disclosing
        for grant in self._grants:
            few = await found.of_grant(grant.id, start, end, limits.chosen)
            single.update(few)
        if self._asked.narrowed and single and not self._asked.complete:
            if len(single) > limits.chosen:
                raise InvalidRequest(
                    f"more than {limits.chosen} leaves speak of it: narrow it by time, "
                    "or ask for all that lies between with complete",
                    "complete",
                )
            return sorted(single), None
        if self._asked.narrowed and self._asked.recorded_from is None:
            start = min(single, default=end)
        if start >= end or (self._asked.narrowed and not single):
            raise InvalidRequest(
                "nothing that was asked for was recorded in that time", "recorded_from"
            )
        if end - start > limits.ranged:
            raise InvalidRequest(
                f"the range has {end - start} leaves; the limit is {limits.ranged}: "
                "narrow it by time",
                "recorded_from",
            )
        return [], Span(start, end, max(start - 1, 0), min(end + 1, size))

    # -- what it says

    async def _write_rows(
        self, start: int, end: int
    ) -> tuple[Timeline, int, list[AuditRow]]:
        """Write the rows in words; return the picture, how many, and the first."""
        picture = Timeline()
        few: list[AuditRow] = []
        count = 0
        with self._files.new(EVENTS) as file:
            async for rows in self._rows(start, end):
                for row in rows:
                    picture.add(row)
                few += rows[: MAX_SHOWN - len(few)]
                count += len(rows)
                lines = map(event_line, rows)
                await anyio.to_thread.run_sync(file.write, lines)
        return picture, count, few

    async def _rows(self, start: int, end: int) -> AsyncIterator[list[AuditRow]]:
        """Yield the rows of the leaves [start, end), in the order of the log."""
        ids = [grant.id for grant in self._grants]
        if len(ids) <= 1:
            wanted = AuditFilter(below=end, grant_id=ids[0] if ids else None)
            async for rows in self._pages(wanted, start):
                yield rows
            return
        found: list[AuditRow] = []
        for grant_id in ids:
            wanted = AuditFilter(below=end, grant_id=grant_id)
            async for rows in self._pages(wanted, start):
                found += rows
        yield sorted(found, key=lambda row: row.at)

    async def _pages(
        self, wanted: AuditFilter, start: int
    ) -> AsyncIterator[list[AuditRow]]:
        after: AuditPosition | None = AuditPosition(start - 1, _LAST_ENTRY)
        while after is not None:
            page = await self._opened.ledger.audit(wanted, after=after, limit=ROWS)
            yield list(page.rows)
            after = page.after


def _name(grant: UserGrant) -> GrantNamed:
    state = grant.state
    return GrantNamed(
        grant.id, str(state.status), state.provider, state.subject, state.label
    )


def _witnesses(signed: SignedCheckpoint) -> list[str]:
    """Return the names of those who signed beside the log itself."""
    own = signed.checkpoint.origin
    return sorted({one.name for one in signed.signatures if one.name != own})
