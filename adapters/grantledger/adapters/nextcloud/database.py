"""The drop-in's ledger in PostgreSQL: what is there, and bringing it up to date."""

from __future__ import annotations

from grantledger.adapters.ledger.postgres import schema
from grantledger.adapters.ledger.postgres.connections import Place
from grantledger.adapters.ledger.postgres.faults import STORAGE_ERRORS, translated
from grantledger.adapters.nextcloud import earlier
from grantledger.domain.errors import LedgerError, LedgerReadOnly

_EARLIER = """
SELECT count(*) FROM pg_attribute
WHERE attrelid = (SELECT c.oid FROM pg_class c JOIN pg_namespace n
                  ON n.oid = c.relnamespace
                  WHERE n.nspname = 'public' AND c.relname = %s)
AND attname = ANY(%s) AND NOT attisdropped
"""


def is_unused(place: Place) -> bool:
    """Tell whether no key ring has ever opened the ledger, or none is there.

    Raises:
        LedgerError: this role may not look.
        Unavailable: the server cannot be reached.
    """
    try:
        with place.connect() as connection:
            return schema.is_unused(connection)
    except STORAGE_ERRORS as cause:
        raise translated(cause, place.name) from cause


def refuse_earlier(place: Place) -> None:
    """Refuse a database that holds the earlier broker's tokens.

    They are taken over from an SQLite file only; starting would leave their users
    without a grant, and say so to nobody.

    Raises:
        LedgerError: its table is there.
        Unavailable: the server cannot be reached.
    """
    try:
        with place.connect() as connection:
            row = connection.execute(
                _EARLIER, (earlier.TABLE, list(earlier.NEEDED))
            ).fetchone()
    except STORAGE_ERRORS as cause:
        raise translated(cause, place.name) from cause
    if row == (len(earlier.NEEDED),):
        raise LedgerError(
            f"the earlier broker's table public.{earlier.TABLE} stands in the database "
            f"of {place.name}: write it to an SQLite file at TOKEN_STORAGE_DB to take "
            "its users over, or rename it to start without them"
        )


def migrate(place: Place) -> None:
    """Bring the ledger to the newest schema, made if need be (see `schema.migrate`).

    Raises:
        LedgerReadOnly: this role may not.
        NewerSchema: a newer version of this program migrated it.
        Unavailable: the server cannot be reached.
    """
    try:
        schema.migrate(place)
    except LedgerReadOnly as cause:
        raise LedgerReadOnly(
            f"{cause}; `grantledger migrate`, run as the schema's owner, makes the "
            "ledger or brings it up to date"
        ) from cause
