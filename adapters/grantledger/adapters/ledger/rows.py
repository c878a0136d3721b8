"""The rows of `current_grants`: written with the events, proven when read.

The state is sealed under the grant's data key; a keyed code covers every column,
so that a row changed by hand, or taken from another grant or another time, is seen. An
erased grant has no key; its state holds nothing personal and stands in the clear.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from eventsourcing.persistence import Cursor

from grantledger.adapters.keys.envelope import NONCE_BYTES, DataKey
from grantledger.adapters.keys.fingerprints import KeyedFingerprinter
from grantledger.adapters.keys.ring import KeyRing, KeyUse, Random
from grantledger.adapters.ledger.data_keys import DataKeys
from grantledger.adapters.ledger.issued_tokens import IssuedTokens
from grantledger.adapters.ledger.states import (
    decode_state,
    encode_erased,
    encode_state,
)
from grantledger.domain.errors import IntegrityError
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import GrantKey, GrantStatus
from grantledger.projections.current_grants import row_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DIGEST_BYTES = 32


def selecting(stream_of: str) -> str:
    """Return the query for rows of grants, as `GrantRows.read` reads them.

    Args:
        stream_of: the SQL for the stream of grant `g`, as `stored_events` has it.
    """
    return (
        "SELECT g.grant_id, g.version, g.leaf_index, g.provider, g.subject_digest,"  # noqa: S608 - constants only
        " g.status, g.generation, g.due_at, g.modified_at, g.state, g.code,"
        " (SELECT max(e.originator_version) FROM stored_events e"
        f" WHERE e.originator_id = {stream_of}) AS newest FROM current_grants g "
    )


SELECT = selecting("g.grant_id")


def micros(at: datetime) -> int:
    """Return microseconds since 1970 of an aware time."""
    since = at - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def from_micros(value: int) -> datetime:
    """Return the aware UTC time of microseconds since 1970."""
    return EPOCH + timedelta(microseconds=value)


class GrantRows:
    """Reads and writes rows of current grants.

    Attributes:
        fingerprints: of tokens, under the same ring.
        issued: what the audit trail's rows say of tokens, as far as remembered.
    """

    def __init__(self, ring: KeyRing, keys: DataKeys, random: Random) -> None:
        self._ring = ring
        self._keys = keys
        self._random = random
        self.fingerprints = KeyedFingerprinter(ring)
        self.issued = IssuedTokens()

    def digest(self, key: GrantKey) -> bytes:
        """Return what the row of this grant is looked up by."""
        return self._ring.subject_digest(key.provider, key.subject, key.label)

    def term(self, said: Sequence[str]) -> bytes:
        """Return what rows of the audit trail are found by: 16 bytes, keyed."""
        return self._ring.audit_term(said)

    def sealed(
        self, grant: UserGrant, leaf_index: int, key: DataKey
    ) -> tuple[object, ...]:
        """Return the columns for a grant whose newest event is that leaf."""
        row = row_of(grant)
        state = grant.state
        if state.status is GrantStatus.ERASED:
            # Nobody is looked up by it, and no key is left: there is nothing to seal.
            digest, sealed = self._random(DIGEST_BYTES), encode_erased(state)
        else:
            digest = self.digest(GrantKey(state.provider, state.subject, state.label))
            sealed = key.state_seal(
                row.version, encode_state(state), self._random(NONCE_BYTES)
            )
        values = (
            row.grant_id.hex,
            row.version,
            leaf_index,
            row.provider,
            digest,
            str(row.status),
            row.generation,
            micros(row.due_at) if row.due_at else None,
            micros(row.modified_at),
            sealed,
        )
        return (*values, self._ring.mac(_parts(values)))

    def user_digest(self, provider: str, subject: str) -> str:
        """Return what stands for a user in a legal hold: 16 bytes, in hexadecimal."""
        return self._ring.audit_term(("legal-hold", provider, subject)).hex()

    def recoded(self, row: Sequence[Any]) -> bytes | None:
        """Return another code for a row, None where the active key made the one it has.

        Raises:
            IntegrityError: the code that it has does not match.
        """
        values = tuple(row)
        code = bytes(values[10])
        if self._ring.is_current(KeyUse.MAC, code):
            return None
        if not self._ring.check_mac(code, _parts(values[:10])):
            raise IntegrityError(f"the row of grant {values[0]} was changed")
        return self._ring.mac(_parts(values[:10]))

    def rewrapped(self, row: Sequence[Any]) -> tuple[str, bytes]:
        """Return (wrapping key id, wrapped) of a row of `data_keys`, wrapped anew.

        Raises:
            WrongKey: the ring does not open it.
        """
        dek_id, owner, kek_id, wrapped = row
        grant_id = UUID(hex=owner)
        plain = self._ring.unwrap(kek_id, dek_id, grant_id, bytes(wrapped))
        return self._ring.wrap(dek_id, grant_id, plain)

    @property
    def wrapping(self) -> str:
        """The id of the key that wraps data keys now."""
        return self._ring.active_id(KeyUse.KEK)

    def forget(self, grant_id: UUID) -> None:
        """Drop from memory what the store has destroyed of a grant."""
        self._keys.forget(grant_id)
        self.issued.forget(grant_id)

    @staticmethod
    def write(c: Cursor, columns: tuple[object, ...]) -> None:
        """Store the row that `sealed` returned."""
        c.execute(
            "INSERT INTO current_grants VALUES (?,?,?,?,?,?,?,?,?,?,?)"
            " ON CONFLICT (grant_id) DO UPDATE SET version=excluded.version,"
            " leaf_index=excluded.leaf_index, status=excluded.status,"
            " subject_digest=excluded.subject_digest,"
            " generation=excluded.generation, due_at=excluded.due_at,"
            " modified_at=excluded.modified_at, state=excluded.state,"
            " code=excluded.code",
            columns,
        )

    def expect(self, c: Cursor, rows: Iterable[Sequence[Any]]) -> None:
        """Look up at once what `read` needs to open these rows.

        What is wrong with one is said when it is read.
        """
        named: list[UUID] = []
        for row in rows:
            if row[5] != GrantStatus.ERASED:
                with suppress(ValueError, TypeError, AttributeError):
                    named.append(UUID(hex=row[0]))
        self._keys.load_all(c, named)

    def read(self, c: Cursor, row: Sequence[Any]) -> UserGrant:
        """Return the grant that the row describes.

        Raises:
            IntegrityError: it names no grant, the code does not match, or the row is
                not its stream's newest version.
        """
        values = tuple(row)
        version, code, newest = values[1], values[10], values[11]
        try:
            grant_id = UUID(hex=values[0])
        except (ValueError, TypeError, AttributeError) as cause:
            raise IntegrityError("a row of a grant names none") from cause
        if not self._ring.check_mac(code, _parts(values[:10])):
            raise IntegrityError(f"the row of grant {grant_id} was changed")
        if version != newest:
            raise IntegrityError(
                f"the row of grant {grant_id} is at version {version}; "
                f"its newest event is {newest}"
            )
        if values[5] == GrantStatus.ERASED:
            self.forget(grant_id)
            erased = decode_state(values[9])
            return UserGrant.from_state(erased, version, from_micros(values[8]))
        key = self._keys.load(c, grant_id)
        state = decode_state(key.state_open(version, values[9]))
        return UserGrant.from_state(state, version, from_micros(values[8]))


def _parts(values: tuple[object, ...]) -> list[bytes]:
    """Return each column as bytes that tell its kind, for the code."""
    return [b"\1" + v if isinstance(v, bytes) else repr(v).encode() for v in values]
