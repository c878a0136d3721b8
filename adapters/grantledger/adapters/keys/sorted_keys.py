"""The keys of a ring, sorted once for those who look them up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from grantledger.adapters.keys.ringtext import Key, KeyUse


class SortedKeys(NamedTuple):
    """The keys, sorted once; replaced whole, so that no reader sees half of a ring."""

    keys: tuple[Key, ...]
    of_use: Mapping[KeyUse, Mapping[str, bytes]]
    active: Mapping[KeyUse, Key]
    ciphers: Mapping[str, AESGCM]

    @classmethod
    def of(cls, keys: Sequence[Key]) -> SortedKeys:
        """Return the keys sorted: the active one first, then from newest to oldest."""
        ranked = sorted(keys, key=lambda key: key.created_at, reverse=True)
        ranked.sort(key=lambda key: not key.active)
        return cls(
            tuple(keys),
            {
                use: {key.id: key.secret for key in ranked if key.use is use}
                for use in KeyUse
            },
            {key.use: key for key in keys if key.active},
            {
                key.id: AESGCM(key.secret)
                for key in keys
                if key.use in {KeyUse.KEK, KeyUse.SPOOL}
            },
        )
