"""The ledger's schema: made, known for what it is, brought to the newest version.

Migrations are numbered files, applied by whoever owns the schema, in one transaction
under an advisory lock; a replica only looks whether they were.
"""

from __future__ import annotations

from pathlib import Path

from psycopg import sql

from grantledger.adapters.ledger.postgres.connections import Connection, Place
from grantledger.adapters.ledger.postgres.faults import STORAGE_ERRORS, translated
from grantledger.domain.errors import LedgerError, NewerSchema

MIGRATIONS = Path(__file__).parent / "migrations"
ROLES = Path(__file__).parent / "roles.sql"
_SCHEMA = "schema"
COPIED_FROM = "copied_from"
"""In `meta` while a copy goes on: the incarnation of its source."""


def migrations() -> list[tuple[int, str]]:
    """Return (number, SQL) of every migration, in order."""
    return [
        (int(path.name.split("_")[0]), path.read_text(encoding="utf-8"))
        for path in sorted(MIGRATIONS.glob("[0-9]*.sql"))
    ]


def script_for(schema: str, script: str) -> str:
    """Return a migration as it is run in a schema."""
    return script.replace(":schema", f'"{schema}"')


def lock_name(schema: str) -> str:
    """Return what the advisory lock of the schema's migrations is named."""
    return f"grantledger migrate {schema}"


def newest_schema() -> int:
    """Return the number of the newest schema that this program knows."""
    return migrations()[-1][0]


def migrate(place: Place) -> int:
    """Bring the schema to the newest version, made if need be; return the number.

    Several may try at once: one migrates, the others then find nothing to do.

    Raises:
        NewerSchema: a newer version of this program migrated it.
        LedgerReadOnly: this role may not change the schema.
        Unavailable: the server cannot be reached.
    """
    try:
        with place.connect() as connection, place.writing(connection):
            # The wait for another's migration is not cut short by the usual limits.
            connection.execute("SET LOCAL statement_timeout = 0")
            connection.execute("SET LOCAL lock_timeout = 0")
            return _migrated(connection, place)
    except STORAGE_ERRORS as cause:
        raise translated(cause, place.name) from cause


def check(connection: Connection, place: Place) -> None:
    """Refuse a database without a whole ledger that this program knows.

    Raises:
        LedgerError: there is none, or an older one: `grantledger migrate` makes it;
            or the copy of one that is not finished.
        NewerSchema: a newer version of this program migrated it.
    """
    check_version(connection, place)
    if copied_from(connection) is not None:
        raise LedgerError(
            f"{place.name} holds a copy that is not finished; "
            "`grantledger copy` goes on with it"
        )


def copied_from(connection: Connection) -> str | None:
    """Return the source of the copy that is not finished here, None without one."""
    row = connection.execute(
        "SELECT value FROM meta WHERE name = %s", (COPIED_FROM,)
    ).fetchone()
    return None if row is None else str(row[0])


def check_version(connection: Connection, place: Place) -> None:
    """Refuse a schema that was not made by this program's migrations.

    Raises:
        LedgerError, NewerSchema: as `check`.
    """
    version, newest = _version(connection), newest_schema()
    _refuse_newer(version, place)
    if version == 0:
        raise LedgerError(
            f"there is no ledger at {place.name}; `grantledger migrate` makes one"
        )
    if version < newest:
        raise LedgerError(
            f"{place.name} has schema {version} and this program needs {newest}; "
            "`grantledger migrate` brings it there"
        )


def key_checks(connection: Connection) -> dict[str, bytes]:
    """Return the check value of every key that the ledger was written with."""
    found = connection.execute("SELECT key_id, value FROM key_checks").fetchall()
    return {row[0]: row[1] for row in found}


def may_append(connection: Connection) -> bool:
    """Tell whether this login may execute what appends, or only read."""
    row = connection.execute(
        "SELECT has_function_privilege('ledger_lock()', 'EXECUTE')"
    ).fetchone()
    return row is not None and bool(row[0])


def is_unused(connection: Connection) -> bool:
    """Tell whether no ring was ever used here: there is no ledger, or a bare one."""
    if _version(connection) == 0:
        return True
    return copied_from(connection) is None and not key_checks(connection)


def _migrated(connection: Connection, place: Place) -> int:
    connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))",
        (lock_name(place.schema),),
    )
    there = connection.execute(
        "SELECT 1 FROM pg_namespace WHERE nspname = %s", (place.schema,)
    ).fetchone()
    if there is None:
        connection.execute(
            sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(place.schema))
        )
    version = _version(connection)
    _refuse_newer(version, place)
    for number, script in migrations():
        if number > version:
            connection.execute(script_for(place.schema, script).encode())
            connection.execute(
                "INSERT INTO meta VALUES (%s, %s)"
                " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (_SCHEMA, str(number)),
            )
            version = number
    return version


def _version(connection: Connection) -> int:
    """Return the number of the newest migration that was applied, 0 for none."""
    found = connection.execute("SELECT to_regclass('meta')").fetchone()
    if found is None or found[0] is None:
        return 0
    row = connection.execute(
        "SELECT value FROM meta WHERE name = %s", (_SCHEMA,)
    ).fetchone()
    return 0 if row is None else int(row[0])


def _refuse_newer(version: int, place: Place) -> None:
    newest = newest_schema()
    if version > newest:
        raise NewerSchema(
            f"{place.name} has schema {version}; this program knows up to {newest}"
        )
