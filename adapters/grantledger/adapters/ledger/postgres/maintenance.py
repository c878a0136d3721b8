"""What the maintenance role does on PostgreSQL, on short connections of its own."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from time import sleep
from uuid import UUID

import psycopg
from psycopg import errors, sql

from grantledger.adapters.ledger.audit_table import AuditBatch
from grantledger.adapters.ledger.postgres.audit_columns import (
    FILL_AUDIT,
    audit_columns,
)
from grantledger.adapters.ledger.postgres.columns import MEND_TOKENS, token_columns
from grantledger.adapters.ledger.postgres.connections import Connection, Place
from grantledger.adapters.ledger.postgres.faults import translated
from grantledger.adapters.ledger.rekeyed import Recoded, Rewrapped
from grantledger.adapters.ledger.token_rows import TokenRow
from grantledger.domain.errors import LedgerError, LedgerReadOnly, LegalHoldInForce

KEYS = "data_keys"
OF_GRANTS = (
    KEYS,
    "sealed",
    "current_grants",
    "grant_states",
    "token_index",
    "audit_terms",
)
OF_JOURNAL = ("stored_events", "journal_index", "audit_rows")
REWRITTEN_BYTES = 64 * 1024 * 1024
"""A table up to this size is written anew at once; the others wait that long."""
LOCK_MILLISECONDS = 1_000
MAINTAIN_SINCE = 170_000
REWRITES = 5
PAUSE_SECONDS = 0.2
_NUMBER = re.compile(r"[0-9]+")
_FUNCTIONS = ("ledger_erase(text)", "ledger_prune(bigint, bigint, integer)")


class PostgresMaintenance:
    """Destroys what the log says is to be; safe in threads.

    Args:
        place: the ledger's schema, as the maintenance role.
        rewritten_bytes: tables up to this size are written anew.
    """

    def __init__(self, place: Place, rewritten_bytes: int = REWRITTEN_BYTES) -> None:
        self._place = place
        self._rewritten_bytes = rewritten_bytes

    def ready(self) -> None:
        """See that this role may.

        Raises:
            LedgerReadOnly: it may not.
        """
        with self._connected() as connection:
            for function in _FUNCTIONS:
                found = connection.execute(
                    "SELECT has_function_privilege(%s, 'EXECUTE')", (function,)
                ).fetchone()
                if found is None or not found[0]:
                    raise LedgerReadOnly(
                        f"{self._place.name} lets this role not execute {function}: "
                        "ledger.maintenance_url names one that may"
                    )

    def erase(self, grant_id: UUID) -> int:
        """Destroy an erased grant's key and parts; return how many parts."""
        return self._called("SELECT ledger_erase(%s)", grant_id.hex)

    def prune(self, version: int, start: int, count: int) -> int:
        """Destroy what a Pruned event covers of so many leaves; return how many."""
        return self._called("SELECT ledger_prune(%s, %s, %s)", version, start, count)

    def rewrap(self, keys: Sequence[Rewrapped]) -> int:
        """Store wrappings of data keys; see `Rekeyed`."""
        columns = ([k.grant_id for k in keys], [k.old for k in keys])
        others = ([k.kek_id for k in keys], [k.new for k in keys])
        return self._called("SELECT ledger_rewrap(%s, %b, %s, %b)", *columns, *others)

    def recode(self, rows: Sequence[Recoded]) -> int:
        """Store codes of grants' rows; see `Rekeyed`."""
        return self._called(
            "SELECT ledger_recode(%s, %b, %b)",
            [row.grant_id for row in rows],
            [row.old for row in rows],
            [row.new for row in rows],
        )

    def reseal_client(self, provider: str, old: bytes, new: bytes) -> bool:
        """Store a client as sealed anew; see `Rekeyed`."""
        return bool(
            self._called(
                "SELECT ledger_reseal_client(%s, %b, %b)::integer", provider, old, new
            )
        )

    def retire_key(self, key_id: str) -> None:
        """Keep in mind that a key is retired; see `Rekeyed`."""
        self._called("SELECT count(ledger_retire_key(%s))", key_id)

    def fill_audit(self, side: int, batch: AuditBatch) -> None:
        """Store rows of the audit trail in the side that is not live."""
        values = (side, batch.start, batch.end, *audit_columns(batch))
        self._called(FILL_AUDIT, *values)

    def moved_audit(self, side: int, start: int, end: int) -> bool:
        """Set the position of the side that is not live, if it is `start`."""
        return (
            self._called("SELECT ledger_audit_move(%s, %s, %s)", side, start, end) > 0
        )

    def clear_audit(self, side: int, leaves: int) -> bool:
        """Empty so many leaves of the side that is not live; tell if any is left."""
        return self._called("SELECT ledger_audit_clear(%s, %s)", side, leaves) > 0

    def swap_audit(self, side: int) -> bool:
        """Make the side live, unless it is behind the one that is."""
        return self._called("SELECT ledger_audit_swap(%s)", side) > 0

    def mend_tokens(self, start: int, end: int, rows: Sequence[TokenRow]) -> None:
        """Make these the rows of the index of tokens for the leaves."""
        self._called(MEND_TOKENS, start, end, *token_columns(rows))

    def vacuum(self, *, journal: bool, thorough: bool) -> bool:
        """Free what was destroyed, where this role may; tell whether all of it was.

        VACUUM gives the space of a row free without clearing it; only a table that is
        written anew is certain to hold nothing. The data keys always are: what else is
        left of an erased grant then cannot be opened.
        """
        tables = (*OF_GRANTS, *OF_JOURNAL) if journal else OF_GRANTS
        done = True
        with self._connected() as connection:
            # Whoever comes after waits as long as this does.
            connection.execute(f"SET lock_timeout = {LOCK_MILLISECONDS}".encode())
            for name in tables:
                if not _may_vacuum(connection, name):
                    done = False
                    continue
                whole = thorough or name == KEYS or self._is_small(connection, name)
                try:
                    if whole:
                        whole = _rewritten(connection, name)
                    else:
                        connection.execute(
                            sql.SQL("VACUUM {}").format(sql.Identifier(name))
                        )
                except (errors.LockNotAvailable, errors.DiskFull):
                    whole = False
                done = done and whole
        return done

    def _is_small(self, connection: Connection, table: str) -> bool:
        found = connection.execute(
            "SELECT pg_total_relation_size(%s::regclass)", (table,)
        ).fetchone()
        return found is not None and int(found[0]) <= self._rewritten_bytes

    def _called(self, statement: str, *values: object) -> int:
        with self._connected() as connection:
            found = connection.execute(statement.encode(), values).fetchone()
        return 0 if found is None else int(found[0] or 0)

    @contextmanager
    def _connected(self) -> Generator[Connection]:
        if self._place.pooled:
            raise LedgerReadOnly(
                "a pooler shares its sessions: ledger.maintenance_url names the server"
            )
        try:
            with self._place.connect() as connection:
                # All of a large ledger may have to be gone through.
                connection.execute("SET statement_timeout = 0")
                yield connection
        except errors.ObjectNotInPrerequisiteState as cause:
            raise LedgerError(
                f"{self._place.name}: {cause.diag.message_primary}"
            ) from (cause)
        except errors.ObjectInUse as cause:
            raise LegalHoldInForce(str(cause.diag.message_primary)) from cause
        except psycopg.Error as cause:
            raise translated(cause, self._place.name) from cause


def _rewritten(connection: Connection, table: str) -> bool:
    """Write the table anew; tell whether nothing of what was deleted is left in it.

    What some other transaction may still see, such as that of an ANALYZE, is copied
    along; the server then says of how many rows.
    """
    left: list[int] = []

    def noticed(said: errors.Diagnostic) -> None:
        found = _NUMBER.search(said.message_detail or "")
        if found is not None:
            left.append(int(found[0]))

    connection.add_notice_handler(noticed)
    try:
        for _ in range(REWRITES):
            left.clear()
            connection.execute(
                sql.SQL("VACUUM (FULL, VERBOSE) {}").format(sql.Identifier(table))
            )
            if left[:1] == [0]:
                return True
            sleep(PAUSE_SECONDS)
    finally:
        connection.remove_notice_handler(noticed)
    return False


def _may_vacuum(connection: Connection, table: str) -> bool:
    if connection.info.server_version >= MAINTAIN_SINCE:
        query = "SELECT has_table_privilege(%s::regclass, 'MAINTAIN')"
    else:
        query = (
            "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class"
            " WHERE oid = %s::regclass"
        )
    found = connection.execute(query.encode(), (table,)).fetchone()
    return found is not None and bool(found[0])
