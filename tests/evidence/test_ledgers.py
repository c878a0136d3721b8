"""What of a ledger goes into a bundle: witnessed checkpoints, and nothing unproven."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from grantledger.adapters.bootstrap.bundle import BundleFiles, placed
from grantledger.adapters.bootstrap.evidence import Evidence, make_evidence
from grantledger.adapters.bootstrap.proven_leaves import ProvenLeaves, Span
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.keys.signing import RingSigner
from grantledger.domain.errors import (
    GrantledgerError,
    IntegrityError,
    InvalidRequest,
    Unavailable,
)
from grantledger.domain.evidence import LIMITS, EvidenceAsked, EvidenceLimits
from grantledger.domain.journal import AccessEntry
from grantledger.domain.ports import Recorded
from grantledger.domain.pruning import prune
from grantledger.domain.requests import Caller
from grantledger.domain.values import Outcome
from grantledger.projections.checkpoints import read_note
from grantledger.projections.cosigning import Cosignature, Cosigner, cosigned
from grantledger.projections.verify.command import main
from tests.broker.between import LedgerBetween
from tests.broker.scene import Life, Scene
from tests.evidence.story import AUDITOR, sqlite_scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with sqlite_scene(tmp_path) as made:
        yield made


def left(folder: Path) -> list[str]:
    """Return what there is of a bundle, half of one included."""
    return [path.name for path in folder.iterdir() if "out" in path.name]


async def make(
    life: Life, out: Path, asked: EvidenceAsked, limits: EvidenceLimits = LIMITS
) -> Evidence:
    with placed(out, life.opened.clock.now()) as directory:
        return await make_evidence(
            life.opened, AUDITOR, asked, directory, limits=limits
        )


def witness() -> tuple[Cosigner, RingSigner]:
    signer = KeyRing.generate(os.urandom, datetime.now(UTC)).signer()
    assert signer is not None
    return Cosigner("witness.example", signer.public_key), signer


async def witnessed(life: Life) -> str:
    """Publish a checkpoint and have it cosigned; return the witness's name."""
    published = await life.opened.publisher.publish()
    assert published is not None
    cosigner, signer = witness()
    time = int(life.opened.clock.now().timestamp())
    signed = read_note(published.note.encode()).signed
    line = cosigned(cosigner.name, signed, time, signer)
    log = life.opened.ledger.published
    await log.cosigned(published, Cosignature(cosigner, time, line))
    return cosigner.name


async def test_what_is_past_is_proven_under_what_witnesses_have_signed(
    scene: Scene, tmp_path: Path
) -> None:
    async with scene.open() as life:
        await life.token()
        until = life.opened.clock.now()
        name = await witnessed(life)
        await life.rotate()
        start = until - timedelta(minutes=1)
        asked = EvidenceAsked(recorded_from=start, recorded_until=until)
        out = tmp_path / "out"
        made = await make(life, out, asked)
        key = await life.opened.guard.verifier_key()
        now = await make(life, tmp_path / "now", replace(asked, recorded_until=None))
    assert made.manifest.checkpoint.size < now.manifest.checkpoint.size
    assert name in (out / "checkpoint").read_text()
    assert name in (out / "report.html").read_text()
    assert main(["bundle", str(out), "--key", key]) == 0
    assert "none: tamper-evident" in (tmp_path / "now" / "report.html").read_text()


async def test_a_published_checkpoint_that_was_changed_gives_no_bundle(
    scene: Scene, tmp_path: Path
) -> None:
    """It would verify nowhere: its signature is of another text."""
    async with scene.open() as life:
        await life.token()
        until = life.opened.clock.now()
        await witnessed(life)
        start = until - timedelta(minutes=1)
        asked = EvidenceAsked(recorded_from=start, recorded_until=until)
        scene.home.sql("UPDATE checkpoints SET note = note || 'further\n'")
        with pytest.raises(IntegrityError, match="is no checkpoint"):
            await make(life, tmp_path / "out", asked)
        assert left(tmp_path) == []


CHANGED = (
    "UPDATE stored_events SET state = state || ' ' WHERE rowid = 2",
    "UPDATE stored_events SET leaf_hash = zeroblob(32) WHERE rowid = 2",
    "UPDATE sealed SET ct = zeroblob(60) WHERE leaf_index = 2",
    "DELETE FROM sealed WHERE leaf_index = 2 AND field = 'by'",
)


@pytest.mark.parametrize("statement", CHANGED)
async def test_a_ledger_that_does_not_prove_itself_gives_no_bundle(
    scene: Scene, tmp_path: Path, statement: str
) -> None:
    async with scene.open() as life:
        await life.token()
        grant = await life.grant()
        start = life.opened.clock.now() - timedelta(minutes=1)
        scene.home.sql(statement)
        out = tmp_path / "out"
        for asked in (
            EvidenceAsked(grant_id=grant.id),
            EvidenceAsked(recorded_from=start),
        ):
            with pytest.raises(IntegrityError):
                await make(life, out, asked)
            assert left(tmp_path) == []


async def test_what_cannot_be_recorded_is_not_made(
    scene: Scene, tmp_path: Path
) -> None:
    async with scene.open() as life:
        grant = await life.grant()

        class Full(LedgerBetween):
            async def record(self, entry: AccessEntry) -> Recorded:
                raise Unavailable(f"the disk is full: {entry.outcome}")

        broken = life.over(Full(life.env.ledger))
        opened = replace(life.opened, broker=broken.broker)
        out = tmp_path / "out"
        with pytest.raises(Unavailable):
            await make(
                replace(life, opened=opened), out, EvidenceAsked(grant_id=grant.id)
            )
        assert not out.exists()


async def test_a_bundle_has_limits_and_says_which(scene: Scene, tmp_path: Path) -> None:
    async with scene.open() as life:
        await life.token()
        grant = await life.grant()
        start = life.opened.clock.now() - timedelta(minutes=1)
        out = tmp_path / "out"
        one = EvidenceAsked(grant_id=grant.id)
        user = EvidenceAsked(provider="cloud", subject="alice")
        for asked, limits, said in (
            (one, EvidenceLimits(chosen=2), "more than 2 leaves speak of it"),
            (replace(one, complete=True), EvidenceLimits(ranged=3), "limit is 3"),
            (
                EvidenceAsked(recorded_from=start),
                EvidenceLimits(ranged=3),
                "limit is 3",
            ),
            (user, EvidenceLimits(grants=0), "more than 0 grants"),
        ):
            with pytest.raises(InvalidRequest, match=said):
                await make(life, out, asked, limits)
        assert not out.exists()


async def test_an_erasure_that_is_not_finished_is_no_evidence_yet(
    scene: Scene, tmp_path: Path
) -> None:
    async with scene.open() as life:
        grant = await life.grant()
        asked = EvidenceAsked(erasure=grant.id)
        with pytest.raises(InvalidRequest, match="is not erased"):
            await make(life, tmp_path / "out", asked)
        await life.broker.erase(AUDITOR, scene.key, abandon=True)
        scene.home.sql(
            "INSERT INTO data_keys SELECT 'd-left', grant_id, 'k', zeroblob(8) FROM"
            " current_grants"
        )
        with pytest.raises(InvalidRequest, match="1 keys and sealed parts are left"):
            await make(life, tmp_path / "out", asked)
        scene.home.sql("DELETE FROM data_keys WHERE dek_id = 'd-left'")
        assert (await make(life, tmp_path / "out", asked)).leaves


async def test_what_is_pruned_while_a_bundle_is_made_is_asked_for_again(
    scene: Scene, tmp_path: Path
) -> None:
    """Its checkpoint does not cover the event that would explain what is gone."""
    async with scene.open() as life:
        with suppress(GrantledgerError):
            await life.token(scopes=("admin",))
        opened = life.opened
        note = await opened.guard.checkpoint()
        size = read_note(note.encode()).checkpoint.size
        done = await prune(
            opened.ledger,
            opened.ledger,
            lambda: life.env.context(Caller("ops").actor, "prune-1"),
            before=opened.clock.now(),
            outcomes=(Outcome.DENIED,),
            reason="too old",
        )
        assert done.leaves
        folder = tmp_path / "half"
        folder.mkdir()
        leaves = ProvenLeaves(opened.ledger, BundleFiles(folder), None)
        with pytest.raises(Unavailable, match="ask again"):
            await leaves.write(
                [], Span(0, size, 0, size), read_note(note.encode()), note
            )
