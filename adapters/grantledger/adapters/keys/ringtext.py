"""The keys of a ring and the JSON text that they are written in.

The text::

    {"v": 1, "keys": [{"id": "k-0a1b2c3d", "use": "kek", "key": <base64url, 32 bytes>,
                       "created_at": <RFC 3339>, "active": true}, ...]}

A key's check value is
HMAC-SHA256(key, "grantledger/key-check/v1" 0x00 use 0x00 key id).
Messages name places and ids, never what stands at `key`. It leaves to others what
the keys do.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec

from grantledger.adapters.keys.envelope import KEY_BYTES
from grantledger.domain.errors import ConfigurationError

VERSION = 1

# Too short for a key, so that one pasted in the wrong place is never shown as an id.
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,32}")
_KEY_TEXT = re.compile(r"[A-Za-z0-9_-]+={0,2}")
_ID_BYTES = 4
_ID_TRIES = 8

Random = Callable[[int], bytes]
"""Returns that many bytes nobody can predict, such as `os.urandom`."""


class KeyUse(StrEnum):
    """What a key is for; no key has two uses."""

    KEK = "kek"
    FINGERPRINT = "fingerprint"
    MAC = "mac"
    SUBJECT = "subject"
    SPOOL = "spool"
    SIGN = "sign"


OPTIONAL = frozenset({KeyUse.SIGN})
"""Uses that a ring may have no key of: those made before the use was known."""


class _KeyText(msgspec.Struct):
    """A key as it is written."""

    id: str
    use: str
    key: str
    created_at: Annotated[datetime, msgspec.Meta(tz=True)]
    active: bool


class _RingText(msgspec.Struct):
    """A ring as it is written."""

    v: int
    keys: list[_KeyText]


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the ring."""

    id: str
    use: KeyUse
    secret: bytes = field(repr=False)
    created_at: datetime
    active: bool

    def check_value(self) -> bytes:
        """Return 32 bytes that tell the key again and reveal nothing of it."""
        message = b"\0".join(
            (b"grantledger/key-check/v1", self.use.value.encode(), self.id.encode())
        )
        return hmac.digest(self.secret, message, "sha256")


def read(text: str, origin: str) -> Sequence[Key]:
    """Return the keys in the text, proven to be a whole ring.

    Raises:
        ConfigurationError: it is no usable ring; `field` names the place.
    """
    try:
        ring = msgspec.json.decode(text, type=_RingText)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        # Only msgspec's own words are passed on: they name a place and a type, never
        # the text itself, which the other causes may carry.
        words = str(error) if isinstance(error, msgspec.DecodeError) else "not JSON"
        raise ConfigurationError(
            f"{origin} is no key ring: {words}", "key_ring"
        ) from None
    if ring.v != VERSION:
        raise ConfigurationError(
            f"{origin} is a key ring of version {ring.v}; "
            f"this program reads version {VERSION}",
            "v",
        )
    keys = [
        _key_of(key, f"keys[{index}]", origin) for index, key in enumerate(ring.keys)
    ]
    return checked(keys, origin)


def written(keys: Sequence[Key]) -> str:
    """Return the keys as text, in the clear."""
    texts = [
        _KeyText(
            key.id,
            key.use.value,
            base64.urlsafe_b64encode(key.secret).decode().rstrip("="),
            key.created_at,
            key.active,
        )
        for key in keys
    ]
    text = msgspec.json.encode(_RingText(VERSION, texts))
    return msgspec.json.format(text, indent=2).decode() + "\n"


def fresh(use: KeyUse, random: Random, now: datetime, others: Iterable[Key]) -> Key:
    """Return a new active key whose id no other has, if the source allows it."""
    if now.tzinfo is None:
        raise ValueError("`now` is naive; an aware time is needed")
    taken = {key.id for key in others}
    candidates = (f"k-{random(_ID_BYTES).hex()}" for _ in range(_ID_TRIES))
    key_id = next((each for each in candidates if each not in taken), "")
    if not key_id:
        raise ConfigurationError("the source of randomness repeats itself", "random")
    secret = random(KEY_BYTES)
    if len(secret) != KEY_BYTES:
        raise ConfigurationError(
            f"the source of randomness gave {len(secret)} bytes for {KEY_BYTES}",
            "random",
        )
    return Key(key_id, use, secret, now, active=True)


def _key_of(text: _KeyText, place: str, origin: str) -> Key:
    """Return the key that was written at `place`; messages never quote it."""
    if not _KEY_ID.fullmatch(text.id):
        raise ConfigurationError(
            f"{origin}: {place}.id is not 1 to 32 of A-Z a-z 0-9 . _ -", f"{place}.id"
        )
    if text.use not in set(KeyUse):
        raise ConfigurationError(
            f"{origin}: {place}.use is none of {', '.join(KeyUse)}", f"{place}.use"
        )
    if not _KEY_TEXT.fullmatch(text.key):
        raise ConfigurationError(
            f"{origin}: {place}.key is not base64url", f"{place}.key"
        )
    bare = text.key.rstrip("=")
    try:
        secret = base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
    except binascii.Error:
        raise ConfigurationError(
            f"{origin}: {place}.key is not base64url", f"{place}.key"
        ) from None
    if len(secret) != KEY_BYTES:
        raise ConfigurationError(
            f"{origin}: {place}.key is {len(secret)} bytes; a key is {KEY_BYTES}",
            f"{place}.key",
        )
    return Key(text.id, KeyUse(text.use), secret, text.created_at, text.active)


def checked(keys: Sequence[Key], origin: str) -> Sequence[Key]:
    """Return the keys, proven to be a whole ring."""
    seen: dict[str, int] = {}
    for index, key in enumerate(keys):
        if key.id in seen:
            raise ConfigurationError(
                f"{origin}: keys[{index}] and keys[{seen[key.id]}] are both {key.id}",
                f"keys[{index}].id",
            )
        seen[key.id] = index
    # One key, one use: the same bytes twice would let one use open another's.
    owners: dict[bytes, str] = {}
    for index, key in enumerate(keys):
        if key.secret in owners:
            raise ConfigurationError(
                f"{origin}: {key.id} and {owners[key.secret]} are the same key",
                f"keys[{index}].key",
            )
        owners[key.secret] = key.id
    active = Counter(key.use for key in keys if key.active)
    used = {key.use for key in keys}
    for use in KeyUse:
        if use in OPTIONAL - used:
            continue
        if active[use] != 1:
            raise ConfigurationError(
                f"{origin}: {active[use]} active keys of use {use}; there must be one",
                f"keys[use={use}].active",
            )
    return keys


def key_id_of(raw: bytes) -> str | None:
    """Return the bytes as a key id, None where they cannot be one."""
    text = raw.decode("latin-1")
    return text if _KEY_ID.fullmatch(text) else None
