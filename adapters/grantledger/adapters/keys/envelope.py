"""Sealing under a grant's data key: ciphertext beside the leaf, commitment in it.

A sealed part is AES-256-GCM ciphertext that can be deleted, plus the SHA-256 of
that ciphertext and a commitment to the plaintext, which stay in the leaf for ever.
The commitment is there because AES-GCM alone does not commit to its key: one
ciphertext can be made that opens under two keys.

The bytes, for whoever checks them without this module::

    lp(x)    = length of x in bytes, 4 bytes big-endian, then x
    context  = lp(event id, 16 bytes) lp(entry) lp(grant id, 16 bytes) lp(field)
               where entry is 4 bytes big-endian, or nothing for an event's own
               field, and field is UTF-8
    PRK      = HKDF-Extract(empty salt, data key)              RFC 5869, SHA-256
    key(i)   = HKDF-Expand(PRK, i, 32)
    ct       = nonce (12 bytes) AES-256-GCM(key("seal"), nonce, plaintext, context)
    commit   = HMAC-SHA256(key("commit" context), plaintext)
    state    = nonce AES-256-GCM(key("state"), nonce, row,
                                 lp(grant id) lp(version, 8 bytes big-endian))

Nonces are random and passed in. At 2**32 parts under one data key the chance of a
repeated nonce reaches 2**-33 (NIST SP 800-38D section 8.3): far beyond any grant.
It leaves to others where data keys, ciphertexts and nonces are kept or come from.
Python cannot wipe memory: a data key may outlive its `DataKey` until the memory is
used again.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import NoReturn
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from grantledger.adapters.keys.framing import PREFIX_BYTES, framed
from grantledger.domain.errors import IntegrityError

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16

_ENTRY_BYTES = 4
_VERSION_BYTES = 8
_BLOCK_BYTES = 64
_INNER_PAD = bytes(value ^ 0x36 for value in range(256))
_OUTER_PAD = bytes(value ^ 0x5C for value in range(256))
_INNER_REST = b"\x36" * (_BLOCK_BYTES - KEY_BYTES)
_OUTER_REST = b"\x5c" * (_BLOCK_BYTES - KEY_BYTES)
_EVENT_PREFIX = (16).to_bytes(PREFIX_BYTES, "big")
_ENTRY_PREFIX = _ENTRY_BYTES.to_bytes(PREFIX_BYTES, "big")
_NO_ENTRY = bytes(PREFIX_BYTES)


class SealedPart(msgspec.Struct, frozen=True, gc=False):
    """One sealed field: what is stored, and what the leaf says about it.

    Attributes:
        entry: number of the journal entry within its event, None for an event's field.
        ct: nonce (12 bytes) and ciphertext with its tag; kept outside the leaf.
        ct_sha256: SHA-256 of `ct`; in the leaf.
        commit: key-committing code of the plaintext; in the leaf.
    """

    entry: int | None
    grant_id: UUID
    field: str
    dek_id: str
    ct: bytes
    ct_sha256: bytes
    commit: bytes

    def __repr__(self) -> str:
        """Show where it belongs, and of its bytes only how many there are."""
        return (
            f"SealedPart(entry={self.entry}, grant_id={self.grant_id}, "
            f"field={self.field!r}, dek_id={self.dek_id!r}, ct={len(self.ct)} bytes)"
        )


class DataKey:
    """A grant's data key, ready to seal and open; the key itself is not kept.

    Args:
        dek_id: name of the key, stored beside everything that it seals.
        grant_id: the one grant whose parts it seals.
        key: 32 random bytes.
    """

    __slots__ = ("_expand", "_grant", "_seal", "_state", "dek_id", "grant_id")

    def __init__(self, dek_id: str, grant_id: UUID, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a data key is {KEY_BYTES} bytes, not {len(key)}")
        self.dek_id = dek_id
        self.grant_id = grant_id
        self._grant = framed(grant_id.bytes)
        self._expand = _Expander(key)
        self._seal = AESGCM(self._expand(b"seal"))
        self._state = AESGCM(self._expand(b"state"))

    def __repr__(self) -> str:
        """Show which key it is, not the key."""
        return f"DataKey(dek_id={self.dek_id!r}, grant_id={self.grant_id}, key=***)"

    def __reduce__(self) -> NoReturn:
        """Refuse: a pickle would be the key in the clear."""
        raise TypeError("DataKey is not pickled")

    def seal(
        self,
        event_id: UUID,
        entry: int | None,
        field: str,
        plaintext: bytes,
        nonce: bytes,
    ) -> SealedPart:
        """Return the plaintext sealed for this one place in the log.

        Args:
            event_id: the event that carries the field.
            entry: number of the journal entry, 0 to 2**32 - 1, or None.
            field: name of the field.
            plaintext: what to seal.
            nonce: 12 random bytes, never used before under this key.
        """
        if len(nonce) != NONCE_BYTES:
            raise ValueError(f"a nonce is {NONCE_BYTES} bytes, not {len(nonce)}")
        context = self._context(event_id, entry, field)
        ct = nonce + self._seal.encrypt(nonce, plaintext, context)
        return SealedPart(
            entry,
            self.grant_id,
            field,
            self.dek_id,
            ct,
            hashlib.sha256(ct).digest(),
            _commitment(self._expand(b"commit" + context), plaintext),
        )

    def open(
        self, part: SealedPart, event_id: UUID, entry: int | None, field: str
    ) -> bytes:
        """Return the plaintext, proven to be what was sealed at this very place.

        Raises:
            IntegrityError: the part belongs elsewhere, or its hash, tag or commitment
                does not hold; names grant, event and field.
        """
        if (part.grant_id, part.entry, part.field, part.dek_id) != (
            self.grant_id,
            entry,
            field,
            self.dek_id,
        ):
            raise self._refusal(event_id, entry, field, "belongs elsewhere")
        digest = hashlib.sha256(part.ct).digest()
        if not hmac.compare_digest(digest, part.ct_sha256):
            raise self._refusal(event_id, entry, field, "differs from its hash")
        try:
            context = self._context(event_id, entry, field)
            plaintext = _decrypt(self._seal, part.ct, context)
        except (InvalidTag, OverflowError, UnicodeEncodeError):
            # `from None`: the causes say nothing more, and one carries its input.
            raise self._refusal(
                event_id, entry, field, f"does not open under {self.dek_id}"
            ) from None
        commit = _commitment(self._expand(b"commit" + context), plaintext)
        if not hmac.compare_digest(commit, part.commit):
            raise self._refusal(event_id, entry, field, "contradicts its commitment")
        return plaintext

    def commit_key(self, event_id: UUID, entry: int | None, field: str) -> bytes:
        """Return key("commit" context), 32 bytes: what one field is checked with.

        Whoever gets it with the plaintext can check the leaf's commitment to that one
        field. It opens no ciphertext and tells nothing of another field's key.
        """
        return self._expand(b"commit" + self._context(event_id, entry, field))

    def state_seal(self, version: int, plaintext: bytes, nonce: bytes) -> bytes:
        """Return the grant's row state at `version`, sealed: nonce and ciphertext.

        Args:
            version: of the grant, 0 to 2**64 - 1.
            plaintext: the state.
            nonce: 12 random bytes, never used before under this key.
        """
        if len(nonce) != NONCE_BYTES:
            raise ValueError(f"a nonce is {NONCE_BYTES} bytes, not {len(nonce)}")
        return nonce + self._state.encrypt(nonce, plaintext, self._row(version))

    def state_open(self, version: int, ct: bytes) -> bytes:
        """Return the state that was sealed for this grant at `version`.

        Raises:
            IntegrityError: it was changed, or sealed for another grant or version.
        """
        try:
            return _decrypt(self._state, ct, self._row(version))
        except (InvalidTag, OverflowError):
            raise IntegrityError(
                f"the state of grant {self.grant_id} at version {version} "
                f"does not open under {self.dek_id}"
            ) from None

    def _context(self, event_id: UUID, entry: int | None, field: str) -> bytes:
        # Written out rather than framed(): this runs for every sealed field.
        name = field.encode()
        return b"".join(
            (
                _EVENT_PREFIX,
                event_id.bytes,
                _NO_ENTRY
                if entry is None
                else _ENTRY_PREFIX + entry.to_bytes(_ENTRY_BYTES, "big"),
                self._grant,
                len(name).to_bytes(PREFIX_BYTES, "big"),
                name,
            )
        )

    def _row(self, version: int) -> bytes:
        return self._grant + framed(version.to_bytes(_VERSION_BYTES, "big"))

    def _refusal(
        self, event_id: UUID, entry: int | None, field: str, what: str
    ) -> IntegrityError:
        place = "" if entry is None else f" entry {entry}"
        return IntegrityError(
            f"sealed field {field!r} of event {event_id}{place}, "
            f"grant {self.grant_id}, {what}"
        )


class _Expander:
    """HKDF-SHA256 (RFC 5869) of one key: extracted once, expanded to one block.

    The two hash states after HMAC's pads are kept and copied, which costs a third of
    `hmac.digest`; tests compare it with the standard library's.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        # An empty salt is a block of zeros to HMAC (RFC 5869 section 2.2).
        block = hmac.digest(b"", key, "sha256").ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(block.translate(_INNER_PAD))
        self._outer = hashlib.sha256(block.translate(_OUTER_PAD))

    def __call__(self, info: bytes) -> bytes:
        """Return T(1) = HMAC(PRK, info || 0x01): 32 bytes."""
        inner = self._inner.copy()
        inner.update(info + b"\x01")
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()


def _commitment(key: bytes, plaintext: bytes) -> bytes:
    """Return HMAC-SHA256 of the plaintext under a key of 32 bytes.

    Written out as two hashes, in two thirds of the time of `hmac.digest`, which looks
    its algorithm up anew for each key; tests compare them.
    """
    inner = hashlib.sha256(key.translate(_INNER_PAD) + _INNER_REST + plaintext)
    outer = key.translate(_OUTER_PAD) + _OUTER_REST + inner.digest()
    return hashlib.sha256(outer).digest()


def _decrypt(key: AESGCM, ct: bytes, associated: bytes) -> bytes:
    """Return the plaintext of nonce and ciphertext.

    Raises:
        InvalidTag: it does not open, or is too short to be a ciphertext.
    """
    if len(ct) < NONCE_BYTES + TAG_BYTES:
        raise InvalidTag
    return key.decrypt(ct[:NONCE_BYTES], ct[NONCE_BYTES:], associated)
