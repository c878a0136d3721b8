"""The earlier broker's SQLite database: read, never written.

Its table `refresh_tokens` has grown over time; a column that is missing counts as
empty. Values are taken as they come, text or numbers, and what cannot be
understood is kept as it was rather than guessed.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from cryptography.fernet import Fernet, InvalidToken

from grantledger.domain.errors import ConfigurationError, LedgerError, NotALedger
from grantledger.domain.values import (
    RefreshToken,
    Scopes,
    Secret,
    parse_scopes,
)

TABLE = "refresh_tokens"
NEEDED = ("user_id", "encrypted_token")
FACTS = (
    "created_at",
    "updated_at",
    "expires_at",
    "flow_type",
    "token_audience",
    "provisioned_at",
    "provisioning_client_id",
    "scopes",
    "user_profile",
)
MAX_FACT_LENGTH = 16_384

_MAGIC = b"SQLite format 3\0"
_LOCK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class EarlierRow:
    """One row: a user's refresh token and what was recorded with it.

    Attributes:
        token: None where the key does not open it.
        facts: the other columns as text, those that are filled.
    """

    user_id: str
    token: RefreshToken | None
    facts: Mapping[str, str] = field(repr=False)

    def time(self, column: str) -> datetime | None:
        """Return a time as aware UTC, None where there is none to be understood."""
        text = self.facts.get(column)
        if text is None:
            return None
        try:
            return datetime.fromtimestamp(float(text), UTC)
        except (ValueError, OverflowError, OSError):
            pass
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            return None
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)

    @property
    def scopes(self) -> Scopes:
        """The scopes, a JSON list or a space-delimited text; () where unknown."""
        text = self.facts.get("scopes", "")
        try:
            value: object = json.loads(text)
        except (ValueError, RecursionError):
            value = text.replace(",", " ").split()
        if isinstance(value, str):
            value = value.split()
        listed = cast("list[object]", value) if isinstance(value, list) else []
        try:
            return parse_scopes([scope for scope in listed if isinstance(scope, str)])
        except ValueError:
            return ()


def is_database(path: Path) -> bool:
    """Tell whether the file is a database of the earlier broker."""
    try:
        if not _is_sqlite(path):
            return False
        with closing(_connect(path)) as connection:
            return set(NEEDED) <= _columns(connection)
    except (OSError, sqlite3.Error):
        return False


def read(path: Path, fernet_key: Secret) -> list[EarlierRow]:
    """Return every row, by user id; one that the key does not open has no token.

    Raises:
        ConfigurationError: the text is no Fernet key.
        LedgerError: there is no such file, or it cannot be read.
        NotALedger: it is not the earlier broker's database.
    """
    try:
        fernet = Fernet(fernet_key.reveal().strip())
    except ValueError:
        # Without its cause, which may quote the key.
        raise ConfigurationError(
            "the Fernet key is not 32 bytes in URL-safe base64", "fernet_key"
        ) from None
    try:
        if not _is_sqlite(path):
            raise NotALedger(f"{path} is no SQLite database")
        with closing(_connect(path)) as connection:
            columns = _columns(connection)
            if not set(NEEDED) <= columns:
                raise NotALedger(
                    f"{path} is not the earlier broker's database: it has no table "
                    f"{TABLE} with {' and '.join(NEEDED)}"
                )
            names = [*NEEDED, *(fact for fact in FACTS if fact in columns)]
            found = connection.execute(
                f"SELECT {', '.join(names)} FROM {TABLE} ORDER BY user_id"  # noqa: S608 - our own names
            ).fetchall()
    except (OSError, sqlite3.Error) as cause:
        raise LedgerError(f"cannot read {path}: {cause}") from cause
    return [_row(fernet, dict(zip(names, values, strict=True))) for values in found]


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def _connect(path: Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=_LOCK_SECONDS)
    # A damaged text must not hide the rows beside it.
    connection.text_factory = bytes
    return connection


def _columns(connection: sqlite3.Connection) -> set[str]:
    rows = connection.execute(f"PRAGMA table_info({TABLE})").fetchall()
    return {bytes(row[1]).decode() for row in rows}


def _row(fernet: Fernet, values: Mapping[str, object]) -> EarlierRow:
    facts = {
        name: text
        for name in FACTS
        if (text := _as_text(values.get(name))) is not None
        and 0 < len(text) <= MAX_FACT_LENGTH
    }
    return EarlierRow(
        user_id=_as_text(values["user_id"], "backslashreplace") or "",
        token=_opened(fernet, values["encrypted_token"]),
        facts=facts,
    )


def _opened(fernet: Fernet, sealed: object) -> RefreshToken | None:
    if not isinstance(sealed, bytes):
        return None
    try:
        text = fernet.decrypt(sealed).decode()
    except (InvalidToken, UnicodeDecodeError):
        return None
    return RefreshToken(text) if text else None


def _as_text(value: object, errors: str = "replace") -> str | None:
    """Return what a column says; a damaged text is no reason to lose the row."""
    if value is None:
        return None
    return value.decode("utf-8", errors) if isinstance(value, bytes) else str(value)
