"""TLS as the URL says it: with the right authority, with a wrong one, and without.

The server that the test dependency ships is built without TLS; pgbouncer has it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from grantledger.adapters.ledger.postgres.connections import Place
from grantledger.adapters.ledger.postgres.schema import migrate
from grantledger.domain.errors import Unavailable
from tests.contract.cut import Cut
from tests.contract.living import live
from tests.contract.stores import PostgresStore, proven
from tests.support.certificates import Authority
from tests.support.pg_bouncer import PgBouncer
from tests.support.pg_server import PgServer

CANARY = "canary-s3cret"


@dataclass
class Secured:
    """A pooler that takes TLS alone, its authority, and another one."""

    bouncer: PgBouncer
    right: Path
    wrong: Path

    def place(
        self, store: PostgresStore, said: Mapping[str, object], host: str = "127.0.0.1"
    ) -> Place:
        url = self.bouncer.conninfo.replace(":any@127.0.0.1", f":{CANARY}@{host}")
        query = "&".join(f"{name}={value}" for name, value in said.items())
        return Place(f"{url}?{query}", store.name, pooled=True)


@pytest.fixture(scope="module")
def secured(server: PgServer) -> Iterator[Secured]:
    # Where the pooler's account may read.
    folder = Path(tempfile.mkdtemp(prefix="gl-tls-"))
    folder.chmod(0o755)
    authority = Authority(folder, "authority")
    files = authority.issue("127.0.0.1")
    settings = {
        "client_tls_sslmode": "require",
        "client_tls_key_file": files["key"],
        "client_tls_cert_file": files["cert"],
    }
    try:
        with PgBouncer(server.conninfo, settings) as bouncer:
            yield Secured(bouncer, authority.file, Authority(folder, "other").file)
    finally:
        shutil.rmtree(folder)


async def test_a_ledger_lives_behind_a_certificate_that_is_verified(
    direct: PostgresStore, secured: Secured
) -> None:
    place = secured.place(
        direct, {"sslmode": "verify-full", "sslrootcert": secured.right}
    )
    with place.connect() as connection:
        assert connection.pgconn.ssl_in_use
    assert migrate(place) > 0
    direct.through, direct.pooled = place.conninfo, True
    await live(direct, 3)
    proven(direct)


def test_a_certificate_of_another_authority_is_refused(
    direct: PostgresStore, secured: Secured
) -> None:
    said = {"sslmode": "verify-full", "sslrootcert": secured.wrong}
    _refused(direct, secured.place(direct, said), "certificate verify failed")


def test_a_certificate_of_another_host_is_refused(
    direct: PostgresStore, secured: Secured
) -> None:

    def place(mode: str) -> Place:
        said = {"sslmode": mode, "sslrootcert": secured.right, "hostaddr": "127.0.0.1"}
        return secured.place(direct, said, "db.example.org")

    _refused(direct, place("verify-full"), "does not match host name")
    with place("verify-ca").connect() as connection:
        assert connection.pgconn.ssl_in_use


def test_a_server_that_wants_tls_is_not_spoken_to_without(
    direct: PostgresStore, secured: Secured
) -> None:
    _refused(direct, secured.place(direct, {"sslmode": "disable"}), "SSL required")


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_a_server_without_tls_is_refused_where_tls_is_asked_for(
    server: PgServer, direct: PostgresStore, mode: str
) -> None:
    with Cut(server.conninfo) as plain:
        said = make_conninfo(plain.conninfo, sslmode=mode, password=CANARY)
        _refused(direct, Place(said, direct.name), "does not support SSL")


def _refused(store: PostgresStore, place: Place, words: str) -> None:
    """It is said why and where, and without the password."""
    for attempt in (lambda: store.open(place=place), lambda: migrate(place)):
        with pytest.raises(Unavailable) as caught:
            attempt()
        assert words in str(caught.value)
        assert place.name in str(caught.value)
        assert store.name in place.name
        assert CANARY not in f"{caught.value!r} {caught.value.__cause__!r}"
