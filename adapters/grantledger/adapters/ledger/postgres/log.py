"""The published log of one schema of a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Sequence

from grantledger.adapters.ledger.doing import InThread, Reads
from grantledger.adapters.ledger.postgres.columns import only_row
from grantledger.adapters.ledger.postgres.connections import Place
from grantledger.adapters.ledger.published_log import Published, PublishedLog
from grantledger.adapters.ledger.reading import LogSql
from grantledger.adapters.ledger.rows import micros
from grantledger.projections.cosigning import Cosignature


class PostgresLog(PublishedLog):
    """See `PublishedLog`; it writes on a connection for each write."""

    def __init__(
        self, place: Place, read: Reads, in_thread: InThread, sql: LogSql
    ) -> None:
        super().__init__(read, in_thread, sql)
        self._place = place

    def _add_nodes(self, level: int, first: int, hashes: Sequence[bytes]) -> None:
        self._call(
            b"SELECT ledger_log_nodes(%s, %s, %s::bytea[])",
            [level, first, list(hashes)],
        )

    def _publish(self, new: Published, gap: int, leaves: int) -> bool:
        return self._call(
            b"SELECT ledger_publish(%s, %s, %s, %s, %s, %s, %s)",
            [
                *(new.origin, new.size, new.root, micros(new.at), new.note),
                *(gap, leaves),
            ],
        )

    def _cosigned(self, of: Published, said: Cosignature) -> None:
        self._call(
            b"SELECT ledger_cosigned(%s, %s, %s, %s, %s)",
            [of.origin, of.size, said.cosigner.key, said.time, said.line],
        )

    def _call(self, statement: bytes, values: list[object]) -> bool:
        place = self._place
        with place.connect() as connection, place.writing(connection):
            return bool(only_row(connection.execute(statement, values).fetchone())[0])
