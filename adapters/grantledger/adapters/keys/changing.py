"""How the keys of a ring change: one is prepared, then active; an old one retires.

Between preparing and activating, every copy of the ring can be given the new key, so
that nobody ever meets one that he lacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from grantledger.adapters.keys.ringtext import Key, KeyUse, Random, fresh


def waiting(keys: Sequence[Key], use: KeyUse) -> str | None:
    """Return the id of the key that was prepared after the active one, or None."""
    since = [key.created_at for key in keys if key.use is use and key.active]
    newer = [
        key
        for key in keys
        if key.use is use and not key.active and since and key.created_at > since[0]
    ]
    return max(newer, key=lambda key: key.created_at).id if newer else None


def prepared(
    keys: Sequence[Key], use: KeyUse, random: Random, now: datetime
) -> tuple[Sequence[Key], str]:
    """Return the keys with a newer one of `use`, not active yet, and its id.

    One that waits already is kept.
    """
    there = waiting(keys, use)
    if there is not None:
        return keys, there
    newest = replace(fresh(use, random, now, keys), active=False)
    return [*keys, newest], newest.id


def activated(keys: Sequence[Key], key: Key) -> Sequence[Key]:
    """Return the keys with this one the active one of its use."""
    return [
        replace(one, active=one.id == key.id) if one.use is key.use else one
        for one in keys
    ]


def without(keys: Sequence[Key], key: Key) -> Sequence[Key]:
    """Return the keys but this one."""
    return [one for one in keys if one.id != key.id]
