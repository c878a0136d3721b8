"""What was published before binds what is signed next: the log must begin with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from grantledger.adapters.keys.signing import is_signed
from grantledger.adapters.ledger.published_log import Published, PublishedLog
from grantledger.domain.errors import IntegrityError, WrongKey
from grantledger.projections.checkpoints import Checkpoint, key_id, read_note
from grantledger.projections.proofs import check_consistency


class PublishedBefore:
    """The newest published checkpoint, as a condition of every signature.

    Args:
        log: where published checkpoints and proofs are.
        keys: returns the public keys that checkpoints may be signed with.
    """

    def __init__(self, log: PublishedLog, keys: Callable[[], Sequence[bytes]]) -> None:
        self._log = log
        self._keys = keys

    async def admit(self, checkpoint: Checkpoint) -> None:
        """Return where the newest published tree and this one are of one log.

        Raises:
            IntegrityError: they are not, or what is stored of it was changed.
            WrongKey: this ring lacks the key that has signed it.
        """
        newest = await self._log.newest(checkpoint.origin)
        if newest is None:
            return
        self.vouch(newest)
        sides = sorted((side.size, side.root) for side in (newest, checkpoint))
        (old, old_root), (size, root) = sides
        proof = await self._log.consistency(old, size)
        try:
            check_consistency(old, old_root, size, root, proof)
        except ValueError as cause:
            raise IntegrityError(
                f"the log of {checkpoint.size} leaves does not begin with the "
                f"{newest.size} that were published: {cause}"
            ) from cause

    def vouch(self, newest: Published) -> None:
        """Return where a key of the ring has signed what stands in the store.

        Raises:
            IntegrityError: it is no checkpoint, or not rightly signed.
            WrongKey: this ring lacks the key that has signed it.
        """
        where = f"the published checkpoint of {newest.size} leaves"
        try:
            note = read_note(newest.note.encode())
        except ValueError as cause:
            raise IntegrityError(f"{where} is no checkpoint: {cause}") from cause
        said = note.checkpoint
        if (said.origin, said.size, said.root) != (
            newest.origin,
            newest.size,
            newest.root,
        ):
            raise IntegrityError(f"{where} says something else than its row")
        ours = [
            is_signed(key, note.signed, line.signature)
            for key in self._keys()
            for line in note.signatures
            if line.key_id == key_id(newest.origin, key)
        ]
        if not ours:
            # Its successor signed alone, and this process does not know it yet.
            raise WrongKey(f"this key ring lacks the key that has signed {where}")
        if not any(ours):
            raise IntegrityError(f"{where} is not rightly signed: it was changed")
