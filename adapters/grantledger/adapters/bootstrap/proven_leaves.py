"""Writes the leaves of a bundle, with what proves them and what is opened of them.

Each is checked against the checkpoint's root before the bundle is finished.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from functools import partial
from typing import NamedTuple
from uuid import UUID

import anyio.to_thread
from eventsourcing.persistence import Cursor

from grantledger.adapters.bootstrap.bundle import BundleFile, BundleFiles
from grantledger.adapters.ledger.disclosing import PORTION, Disclosed
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.errors import IntegrityError, Unavailable
from grantledger.projections.checkpoints import Checkpoint, SignedCheckpoint
from grantledger.projections.evidence import (
    LEAVES,
    OPENED,
    PROOFS,
    ProvenRange,
    leaf_line,
    opened_line,
)
from grantledger.projections.portable_proofs import SUFFIX, PortableProof
from grantledger.projections.proofs import inclusion_proof, range_root

MAX_LEAVES = 2**62


class Span(NamedTuple):
    """Leaves that are proven together.

    Attributes:
        start, end: first of those that were asked for, and the one after the last.
        low, high: likewise, with a leaf on either side that shows where it ends.
    """

    start: int
    end: int
    low: int
    high: int


class ProvenLeaves:
    """The leaves of one bundle.

    Args:
        owners: the grants whose sealed fields are opened; None for everybody's.

    Attributes:
        count: of leaves so far; `pruned` of them without their bytes.
        opened: sealed fields that are shown; `gone` were destroyed by an erasure.
    """

    def __init__(
        self, ledger: StoredLedger, files: BundleFiles, owners: Container[UUID] | None
    ) -> None:
        self._disclosing = ledger.disclosing
        self._log = ledger.published
        self._files = files
        self._owners = owners
        self.count = self.pruned = self.opened = self.gone = 0

    async def write(
        self,
        single: list[int],
        span: Span | None,
        signed: SignedCheckpoint,
        note: str,
    ) -> list[ProvenRange]:
        """Write the leaves, those of a range or each by itself; return the ranges.

        Args:
            single: indices, rising.
            span: of a range; None for chosen leaves.
            signed: what they are proven under.
            note: its text.

        Raises:
            IntegrityError: they do not lead to the checkpoint's root.
            Unavailable: some were pruned since the checkpoint was made.
        """
        checkpoint = signed.checkpoint
        ranges: list[ProvenRange] = []
        with self._files.new(LEAVES) as leaves, self._files.new(OPENED) as fields:
            if span is not None:
                low, high = span.low, span.high
                before, after = range(low, span.start), range(span.end, high)
                # What was not asked for is not opened.
                hashed = await self._some(before, leaves, fields, ())
                asked = range(span.start, span.end)
                hashed += await self._some(asked, leaves, fields, self._owners)
                hashed += await self._some(after, leaves, fields, ())
                proof = await self._log.range(low, high, checkpoint.size)
                root = range_root(low, checkpoint.size, hashed, proof)
                _same(root, checkpoint.root, f"leaves {low} to {high - 1}")
                ranges.append(ProvenRange(low, high, proof))
                if self.pruned:
                    ranges += await self._prunings(high, checkpoint, leaves, fields)
            for some in _portions(single):
                hashed = await self._some(some, leaves, fields, self._owners)
                await self._prove(some, hashed, checkpoint.size, note)
        return ranges

    async def _prunings(
        self, end: int, checkpoint: Checkpoint, leaves: BundleFile, fields: BundleFile
    ) -> list[ProvenRange]:
        """Prove the leaves after the range that say what was pruned in it.

        Raises:
            Unavailable: the checkpoint is older than one of them.
        """
        ranges: list[ProvenRange] = []
        size = checkpoint.size
        if await self._disclosing.prunings(size, MAX_LEAVES):
            raise Unavailable(
                f"leaves were pruned after the checkpoint of {size}: ask again"
            )
        for index in await self._disclosing.prunings(end, size):
            hashed = await self._some([index], leaves, fields, self._owners)
            proof = await self._log.range(index, index + 1, size)
            root = range_root(index, size, hashed, proof)
            _same(root, checkpoint.root, f"leaf {index}")
            ranges.append(ProvenRange(index, index + 1, proof))
        return ranges

    async def _some(
        self,
        indices: Sequence[int],
        leaves: BundleFile,
        fields: BundleFile,
        owners: Container[UUID] | None,
    ) -> list[bytes]:
        """Write leaves and what is opened of them; return their hashes."""
        hashes: list[bytes] = []
        for some in _portions(indices):
            found = await self._disclosing.leaves(some, owners)
            await anyio.to_thread.run_sync(partial(_write_some, found, leaves, fields))
            hashes += [leaf.hashed for leaf in found]
            self.count += len(found)
            self.pruned += sum(not leaf.state for leaf in found)
            self.opened += sum(len(leaf.opened) for leaf in found)
            self.gone += sum(leaf.gone for leaf in found)
        return hashes

    async def _prove(
        self, indices: Sequence[int], hashed: Sequence[bytes], size: int, note: str
    ) -> None:
        def proofs(c: Cursor) -> list[list[bytes]]:
            hashes = self._log.hashes(c, size)
            return [inclusion_proof(index, size, hashes) for index in indices]

        def write(found: list[list[bytes]]) -> None:
            for index, leaf, proof in zip(indices, hashed, found, strict=True):
                made = PortableProof(index, tuple(proof), note)
                try:
                    made.check(leaf)
                except ValueError as cause:
                    raise IntegrityError(str(cause)) from cause
                self._files.add(f"{PROOFS}/{index}{SUFFIX}", made.text())

        await self._log.complete()
        found = await self._log.in_one_state(proofs)
        await anyio.to_thread.run_sync(write, found)


def _write_some(
    found: Sequence[Disclosed], leaves: BundleFile, fields: BundleFile
) -> None:
    leaves.write(leaf_line(leaf.index, leaf.state, leaf.hashed) for leaf in found)
    fields.write(
        opened_line(
            one.index, one.entry, one.field, one.grant_id, one.plain, one.commit_key
        )
        for leaf in found
        for one in leaf.opened
    )


def _same(root: bytes, said: bytes, what: str) -> None:
    if root != said:
        raise IntegrityError(f"{what} do not lead to the checkpoint's root")


def _portions(indices: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(indices), PORTION):
        yield indices[start : start + PORTION]
