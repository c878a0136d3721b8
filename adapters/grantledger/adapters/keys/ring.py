"""The key ring: named keys, one use each, in a 0600 file or a variable.

One key has one use (`KeyUse`); of each use exactly one key is active and makes new
codes, the others still open and check what they once made.

The bytes (lp and AES-256-GCM as in `envelope`)::

    wrapped  = nonce AES-256-GCM(kek, nonce, data key, lp(data key id) lp(grant id))
    spooled  = lp(key id) nonce AES-256-GCM(spool, nonce, plaintext, aad)
    code     = lp(key id) HMAC-SHA256(mac, lp(part) ...)
    digest   = HMAC-SHA256(subject, lp(provider) lp(subject) lp(label))
    term     = HMAC-SHA256(subject, "audit-term/v1" 0x00 lp(part) ...)[:16]
    derived  = HMAC-SHA256(mac, "derived/v1" 0x00 purpose)

The text is in `ringtext`, its file in `ringfile`. It leaves to others where wrapped
keys, codes and check values are stored.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import NoReturn, Self
from uuid import UUID

from cryptography.exceptions import InvalidTag

from grantledger.adapters.keys import ringfile
from grantledger.adapters.keys.envelope import KEY_BYTES, NONCE_BYTES, TAG_BYTES
from grantledger.adapters.keys.followed import RingSource
from grantledger.adapters.keys.framing import first_part, framed
from grantledger.adapters.keys.ringtext import (
    Key,
    KeyUse,
    Random,
    checked,
    fresh,
    key_id_of,
    read,
    written,
)
from grantledger.adapters.keys.signing import RingSigner
from grantledger.adapters.keys.sorted_keys import SortedKeys
from grantledger.domain.errors import ConfigurationError, IntegrityError, WrongKey

NOTHING_REPLACED: Mapping[str, datetime] = {}

__all__ = ["KeyRing", "KeyUse", "Random"]

TERM_BYTES = 16


class KeyRing:
    """Every key of one deployment; made by `generate`, `load` or `parse`.

    One that was loaded follows its file: `refresh` takes up what stands there now, and
    so does meeting the id of a key that it lacks.
    """

    __slots__ = ("_in", "_random", "_source")

    def __init__(self, keys: Sequence[Key], random: Random) -> None:
        self._random = random
        self._source: RingSource | None = None
        self._in = SortedKeys.of(keys)

    def __repr__(self) -> str:
        """Show which keys there are, not the keys."""
        return f"KeyRing({', '.join(f'{key.use}:{key.id}' for key in self._in.keys)})"

    def __reduce__(self) -> NoReturn:
        """Refuse: a pickle would be every key in the clear."""
        raise TypeError("KeyRing is not pickled")

    # -- making and keeping a ring

    @classmethod
    def generate(cls, random: Random, now: datetime) -> Self:
        """Return a ring with one fresh active key of every use.

        Args:
            random: the source of the keys; kept for nonces.
            now: aware UTC.
        """
        keys: list[Key] = []
        for use in KeyUse:
            keys.append(fresh(use, random, now, keys))
        return cls(checked(keys, "the new key ring"), random)

    @classmethod
    def parse(cls, text: str, origin: str, random: Random = os.urandom) -> Self:
        """Return the ring that `text` holds.

        Args:
            text: the JSON.
            origin: where it came from, for messages: a variable's or a file's name.
            random: the source of nonces.

        Raises:
            ConfigurationError: it is no usable ring; `field` names the place.
        """
        return cls(read(text, origin), random)

    @classmethod
    def load(cls, path: Path | str, random: Random = os.urandom) -> Self:
        """Return the ring in the file.

        Raises:
            ConfigurationError: there is no such file, anyone but its owner may read or
                write it, or it is no usable ring; `field` names the place.
        """
        source = RingSource(Path(path))
        # Before it is read: one that replaces it meanwhile is seen as another.
        source.took(source.now())
        ring = cls.parse(ringfile.read(Path(path)), str(path), random)
        ring._source = source  # noqa: SLF001 - its own
        return ring

    def refresh(self) -> bool:
        """Take up the file's keys, if it was replaced; tell whether it was.

        Raises:
            ConfigurationError: it is no usable ring; the keys stay as they are, and the
                next call looks again.
        """
        source = self._source
        if source is None:
            return False
        with source.lock:
            status = source.now()
            if not source.is_new(status):
                return False
            path = source.path
            self._in = SortedKeys.of(read(ringfile.read(path), str(path)))
            source.took(status)
        return True

    def met(self, use: KeyUse, key_id: str) -> bool:
        """Tell whether the ring has the key, once its file was looked at."""
        if key_id not in self._in.of_use[use]:
            with suppress(ConfigurationError):
                self.refresh()
        return key_id in self._in.of_use[use]

    def save(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Make the file hold this ring: all of it or nothing, mode 0600, on disk.

        Args:
            path: the file; its directory must exist.
            overwrite: replace a file that is there; it keeps its owner.

        Raises:
            ConfigurationError: the file exists, or cannot be written.
        """
        ringfile.write(Path(path), self.reveal(), overwrite=overwrite)

    def reveal(self) -> str:
        """Return the ring as JSON, keys and all: for storing it, nothing else."""
        return written(self._in.keys)

    def rotated(self, use: KeyUse, now: datetime, random: Random | None = None) -> Self:
        """Return a ring whose active key of `use` is new; the old ones are kept.

        Args:
            use: which key to replace.
            now: aware UTC.
            random: the source of the key; this ring's own when left out.
        """
        random = random or self._random
        kept = [
            replace(key, active=False) if key.use is use else key
            for key in self._in.keys
        ]
        newest = fresh(use, random, now, kept)
        return type(self)(checked([*kept, newest], "the new key ring"), random)

    def remade(self, keys: Sequence[Key]) -> Self:
        """Return a ring of these keys; see `changing`."""
        return type(self)(checked(keys, "the new key ring"), self._random)

    def key(self, key_id: str) -> Key:
        """Return a key by its id; whoever shows it shows its id and use alone.

        Raises:
            ConfigurationError: there is no such key.
        """
        for key in self._in.keys:
            if key.id == key_id:
                return key
        raise ConfigurationError(f"the key ring has no key {key_id!r}", "key")

    @property
    def keys(self) -> tuple[Key, ...]:
        """Every key, in the order of the file."""
        return self._in.keys

    def completed(self, now: datetime, random: Random | None = None) -> Self:
        """Return a ring that has a key of every use; itself if it has.

        Args:
            now: aware UTC.
            random: the source of the keys; this ring's own when left out.
        """
        keys = list(self._in.keys)
        for use in KeyUse:
            if use not in self._in.active:
                keys.append(fresh(use, random or self._random, now, keys))
        if len(keys) == len(self._in.keys):
            return self
        return type(self)(checked(keys, "the new key ring"), self._random)

    def active_id(self, use: KeyUse) -> str:
        """Return the id of the key that makes new codes or ciphertexts of `use`."""
        return self._in.active[use].id

    def ids(self, use: KeyUse) -> tuple[str, ...]:
        """Return the ids of every key of `use`, the active one first."""
        return tuple(self._in.of_use[use])

    # -- knowing the ring again

    def check_values(self) -> dict[str, bytes]:
        """Return a value per key id that tells the key again and reveals nothing."""
        return {key.id: key.check_value() for key in self._in.keys}

    def verify_check_values(self, stored: Mapping[str, bytes]) -> None:
        """Prove that this ring holds every key that `stored` was taken from.

        Keys of the ring that `stored` does not know are fine: they are newer. An empty
        value stands for a key that was retired: nobody needs it.

        Raises:
            WrongKey: names the ids that are missing or belong to another key.
        """
        known = {key_id for key_id, value in stored.items() if value}
        if not known <= {key.id for key in self._in.keys}:
            with suppress(ConfigurationError):
                self.refresh()
        own = self.check_values()
        missing = sorted(known - own.keys())
        differing = sorted(
            key_id
            for key_id in known & own.keys()
            if not hmac.compare_digest(own[key_id], stored[key_id])
        )
        found: list[str] = []
        if missing:
            found.append(f"it lacks {', '.join(missing)}")
        if differing:
            found.append(f"it holds other keys under {', '.join(differing)}")
        if found:
            raise WrongKey(
                f"this key ring is not the ledger's: {' and '.join(found)}; "
                "restore the ring that this ledger was written with"
            )

    # -- data keys

    def wrap(self, dek_id: str, grant_id: UUID, dek: bytes) -> tuple[str, bytes]:
        """Return (wrapping key id, wrapped data key), bound to its id and grant."""
        if len(dek) != KEY_BYTES:
            raise ValueError(f"a data key is {KEY_BYTES} bytes, not {len(dek)}")
        kek_id = self.active_id(KeyUse.KEK)
        associated = framed(dek_id.encode(), grant_id.bytes)
        return kek_id, self._encrypt(kek_id, dek, associated)

    def unwrap(self, kek_id: str, dek_id: str, grant_id: UUID, wrapped: bytes) -> bytes:
        """Return the data key.

        Raises:
            WrongKey: the ring lacks the wrapping key, or it does not open this.
        """
        if not self.met(KeyUse.KEK, kek_id):
            raise WrongKey(
                f"data key {dek_id} of grant {grant_id} is wrapped with {kek_id!r}, "
                f"which this key ring lacks; it has {', '.join(self.ids(KeyUse.KEK))}"
            )
        try:
            associated = framed(dek_id.encode(), grant_id.bytes)
            return self._decrypt(kek_id, wrapped, associated)
        except InvalidTag:
            raise WrongKey(
                f"data key {dek_id} of grant {grant_id} does not open with {kek_id}: "
                "another key had that id, or the wrapped key was changed"
            ) from None

    # -- codes and digests

    def mac(self, parts: Sequence[bytes]) -> bytes:
        """Return a code over the parts: the key's id and HMAC-SHA256."""
        key = self._in.active[KeyUse.MAC]
        code = hmac.digest(key.secret, framed(*parts), "sha256")
        return framed(key.id.encode()) + code

    def is_current(self, use: KeyUse, framed_code: bytes) -> bool:
        """Tell whether what `mac` or `seal_spool` gave names the active key."""
        split = first_part(framed_code)
        return split is not None and split[0] == self.active_id(use).encode()

    def check_mac(self, code: bytes, parts: Sequence[bytes]) -> bool:
        """Tell whether `code` was made over these parts, in constant time.

        Raises:
            WrongKey: it names a key that the ring lacks: one newer than this ring, or
                no key at all.
        """
        split = first_part(code)
        key_id = None if split is None else key_id_of(split[0])
        if split is None or key_id is None:
            return False
        if not self.met(KeyUse.MAC, key_id):
            raise WrongKey(f"this key ring lacks the mac key {key_id}")
        secret = self._in.of_use[KeyUse.MAC][key_id]
        expected = hmac.digest(secret, framed(*parts), "sha256")
        return hmac.compare_digest(expected, split[1])

    def subject_digest(self, provider: str, subject: str, label: str) -> bytes:
        """Return what a grant is looked up by: 32 bytes that name nobody.

        The parts are framed, not joined: no user's subject can end in another's label.
        """
        parts = [
            text.encode("utf-8", "surrogatepass") for text in (provider, subject, label)
        ]
        secret = self._in.active[KeyUse.SUBJECT].secret
        return hmac.digest(secret, framed(*parts), "sha256")

    def audit_term(self, said: Sequence[str]) -> bytes:
        """Return what rows of the audit trail are found by: 16 bytes that name nobody.

        No digest of a subject is one of these: a frame never begins as this does.
        """
        parts = [text.encode("utf-8", "surrogatepass") for text in said]
        secret = self._in.active[KeyUse.SUBJECT].secret
        message = b"audit-term/v1\0" + framed(*parts)
        return hmac.digest(secret, message, "sha256")[:TERM_BYTES]

    def fingerprint_code(self, message: bytes) -> tuple[str, bytes]:
        """Return (key id, HMAC-SHA256) of the message under the current key."""
        key = self._in.active[KeyUse.FINGERPRINT]
        return key.id, hmac.digest(key.secret, message, "sha256")

    def fingerprint_codes(self, message: bytes) -> list[tuple[str, bytes]]:
        """Return (key id, HMAC-SHA256) under every key, the current one first."""
        return [
            (key_id, hmac.digest(secret, message, "sha256"))
            for key_id, secret in self._in.of_use[KeyUse.FINGERPRINT].items()
        ]

    # -- keys made from others

    def derived(self, purpose: bytes) -> list[tuple[str, bytes]]:
        """Return (key id, 32 bytes) for a purpose, from each mac key, the active first.

        No code over parts is one of these: a frame never begins as the message does.
        """
        return [
            (key_id, hmac.digest(secret, b"derived/v1\0" + purpose, "sha256"))
            for key_id, secret in self._in.of_use[KeyUse.MAC].items()
        ]

    # -- checkpoints

    def signer(self) -> RingSigner | None:
        """Return what signs checkpoints, None where the ring has no key for it."""
        key = self._in.active.get(KeyUse.SIGN)
        return None if key is None else RingSigner(key.secret)

    def signers(
        self,
        now: datetime,
        overlap: timedelta,
        replaced: Mapping[str, datetime] = NOTHING_REPLACED,
    ) -> tuple[RingSigner, ...]:
        """Return what signs checkpoints now, the active key first.

        Args:
            now: aware UTC.
            overlap: how long a key signs after another took over.
            replaced: when one did, by the key's id; where that is not said, when its
                successor was made. A key that was never active signs nothing.
        """
        active = self._in.active.get(KeyUse.SIGN)
        if active is None:
            return ()
        older = [
            key
            for key in self._in.keys
            if key.use is KeyUse.SIGN
            and key is not active
            and (key.id in replaced or key.created_at <= active.created_at)
        ]
        older.sort(key=lambda key: key.created_at, reverse=True)
        kept = [
            old
            for new, old in pairwise([active, *older])
            if now < replaced.get(old.id, new.created_at) + overlap
        ]
        return tuple(RingSigner(key.secret) for key in (active, *kept))

    def public_keys(self) -> tuple[bytes, ...]:
        """Return the public key of every signing key, the active one first."""
        return tuple(
            RingSigner(secret).public_key
            for secret in self._in.of_use[KeyUse.SIGN].values()
        )

    # -- the spool

    def seal_spool(self, plaintext: bytes, aad: bytes) -> bytes:
        """Return the plaintext sealed for local disk, bound to `aad`."""
        key_id = self.active_id(KeyUse.SPOOL)
        return framed(key_id.encode()) + self._encrypt(key_id, plaintext, aad)

    def open_spool(self, sealed: bytes, aad: bytes) -> bytes:
        """Return what was sealed with this `aad`.

        Raises:
            WrongKey: the ring lacks the key that it names.
            IntegrityError: it was changed, cut short, or sealed with another `aad`.
        """
        split = first_part(sealed)
        key_id = None if split is None else key_id_of(split[0])
        if split is None or key_id is None:
            raise IntegrityError("a spooled answer is cut short or changed")
        if not self.met(KeyUse.SPOOL, key_id):
            raise WrongKey(f"this key ring lacks the spool key {key_id}")
        try:
            return self._decrypt(key_id, split[1], aad)
        except InvalidTag:
            raise IntegrityError(
                f"a spooled answer does not open with {key_id}: it was changed, "
                "cut short, or put in another's place"
            ) from None

    def _encrypt(self, key_id: str, plaintext: bytes, associated: bytes) -> bytes:
        nonce = self._random(NONCE_BYTES)
        return nonce + self._in.ciphers[key_id].encrypt(nonce, plaintext, associated)

    def _decrypt(self, key_id: str, ct: bytes, associated: bytes) -> bytes:
        if len(ct) < NONCE_BYTES + TAG_BYTES:
            raise InvalidTag
        nonce = ct[:NONCE_BYTES]
        return self._in.ciphers[key_id].decrypt(nonce, ct[NONCE_BYTES:], associated)
