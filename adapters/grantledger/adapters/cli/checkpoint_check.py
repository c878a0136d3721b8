"""A checkpoint that somebody kept, against the ledger as it is now."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.cli.leaf_check import LeafReport
from grantledger.adapters.keys.signing import is_signed
from grantledger.domain.errors import IntegrityError, InvalidRequest, LedgerRestored
from grantledger.domain.log_identity import Continuation
from grantledger.projections.checkpoints import (
    MAX_NOTE_BYTES,
    Checkpoint,
    SignedCheckpoint,
    key_id,
    read_note,
    read_verifier_key,
)

FIELD = "checkpoint"


@dataclass(frozen=True, slots=True)
class KeptCheckpoint:
    """A checkpoint whose signature was checked.

    Attributes:
        ended: the continuation after which its origin was used no more, if one.
    """

    checkpoint: Checkpoint
    ended: Continuation | None


async def kept_checkpoint(
    opened: OpenBroker, path: Path, key: str | None
) -> KeptCheckpoint:
    """Return the checkpoint in a file, signed by the key for one of the log's origins.

    Args:
        opened: the ledger that it is to be compared with.
        path: of the signed note.
        key: a verifier key, None for the signing keys of the key ring.

    Raises:
        InvalidRequest: the file or the key is none.
        IntegrityError: it is not signed by the key, or is of another log.
    """
    note = _read(path)
    checkpoint = note.checkpoint
    if not any(_holds(note, name, public) for name, public in _keys(opened, note, key)):
        raise IntegrityError(f"{path} is not signed by the key of {checkpoint.origin}")
    origins = opened.guard.origins(await opened.ledger.log())
    if checkpoint.origin not in origins:
        raise IntegrityError(
            f"{path} is of the log {checkpoint.origin}; this ledger's are "
            f"{', '.join(origins)}"
        )
    return KeptCheckpoint(checkpoint, origins[checkpoint.origin])


def compare(kept: KeptCheckpoint, report: LeafReport) -> None:
    """See that the ledger begins with exactly what the checkpoint covers.

    Raises:
        LedgerRestored: it has lost what the checkpoint covers; names the sizes.
        IntegrityError: it holds something else: a fork, or a rewrite.
    """
    checkpoint, ended = kept.checkpoint, kept.ended
    if report.root_at == checkpoint.root:
        return
    size = checkpoint.size
    if ended is not None and size > ended.found_size:
        raise LedgerRestored(
            f"the checkpoint covers {size} leaves, and the log was continued at "
            f"{ended.found_size}: leaves {ended.found_size} to {size - 1} are lost"
        )
    if size > report.leaves:
        raise LedgerRestored(
            f"the checkpoint covers {size} leaves and the ledger has "
            f"{report.leaves}: it is an older state, or has lost the rest"
        )
    found = "" if report.root_at is None else report.root_at.hex()
    raise IntegrityError(
        f"the first {size} of {report.leaves} leaves are not those of the checkpoint: "
        f"their root is {found} and should be {checkpoint.root.hex()}; the log is a "
        "fork, or was rewritten"
    )


def _read(path: Path) -> SignedCheckpoint:
    try:
        with path.open("rb") as file:
            return read_note(file.read(MAX_NOTE_BYTES + 1))
    except OSError as cause:
        raise InvalidRequest(f"cannot read {path}: {cause.strerror}", FIELD) from cause
    except ValueError as cause:
        raise InvalidRequest(f"{path}: {cause}", FIELD) from cause


def _keys(
    opened: OpenBroker, note: SignedCheckpoint, key: str | None
) -> list[tuple[str, bytes]]:
    if key is None:
        origin = note.checkpoint.origin
        return [(origin, public) for public in opened.guard.public_keys()]
    try:
        return [read_verifier_key(key)]
    except ValueError as cause:
        raise InvalidRequest(str(cause), "key") from cause


def _holds(note: SignedCheckpoint, name: str, public: bytes) -> bool:
    # A log signs under its own name (C2SP tlog-checkpoint); others may cosign.
    return name == note.checkpoint.origin and any(
        (s.name, s.key_id) == (name, key_id(name, public))
        and is_signed(public, note.signed, s.signature)
        for s in note.signatures
    )
