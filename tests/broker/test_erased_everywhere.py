"""After an erasure nothing of the grant is anywhere, and nothing still opens to it."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from grantledger.adapters.bootstrap.audit_reading import admitted
from grantledger.adapters.bootstrap.ledgers import GUARD_SUFFIX
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger.access_file import AccessFile, read_accesses
from grantledger.domain.audit import AuditFilter
from grantledger.domain.audit_access import AuditUse
from grantledger.domain.broker import Broker
from grantledger.domain.errors import GrantledgerError
from grantledger.domain.requests import Caller, TokenRequest
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import (
    AccessToken,
    ErasureReason,
    GrantKey,
    RevocationReason,
)
from tests.broker.conftest import Start
from tests.broker.erased_places import (
    FILES,
    FOLDERS,
    NOT_FILLED,
    TABLES,
    answers,
    forms,
    opened,
    rows_of,
    tables_of,
)
from tests.broker.scene import Life, Scene
from tests.broker.stores import both_stores
from tests.contract.stores import PostgresStore, SqliteStore, Store
from tests.support.pg_scene import PgHome

KEY = GrantKey("cloud", "subject-canary-7f3a", "label-canary-7f3a")
BY = Caller(
    "scanner",
    act_chain=("chain-canary-7f3a",),
    peer_ip="203.0.113.201",
    user_agent="agent-canary-7f3a",
    correlation_id="correlation-canary-7f3a",
    forwarded_for="198.51.100.77",
    traceparent="00-c0ffee00c0ffee00c0ffee00c0ffee00-c0ffee00c0ffee00-01",
    auth_method="method-canary-7f3a",
)
REASON, TICKET, ASKED, NOTE = (f"{n}-canary-7f3a" for n in ("why", "T", "what", "note"))
PERSONAL = (
    KEY.subject,
    KEY.label,
    *(value for value in (*BY.act_chain, BY.peer_ip, BY.user_agent) if value),
    *(v for v in (BY.correlation_id, BY.forwarded_for, BY.traceparent) if v),
    "method-canary-7f3a",
    REASON,
    TICKET,
    ASKED,
    NOTE,
)
OPERATOR = Caller("operator")
STATE_EVERY = 64
WHO_KNEW = {
    "wrapped key": "SELECT wrapped FROM data_keys WHERE grant_id=?",
    "ciphertext": "SELECT ct FROM sealed WHERE grant_id=?",
    "state": "SELECT state FROM current_grants WHERE grant_id=?",
    "earlier state": "SELECT state FROM grant_states WHERE grant_id=?",
    "digest": "SELECT subject_digest FROM current_grants WHERE grant_id=?",
    "fingerprint": "SELECT fingerprint FROM token_index WHERE grant_id=?",
    "search digest": "SELECT t.term FROM audit_terms t JOIN audit_rows r"
    " USING (side, leaf_index, entry) WHERE r.grant_id=?",
}


def store_of(scene: Scene) -> Store:
    home = scene.home
    ring = KeyRing.load(home.path / "keyring.json")
    if isinstance(home, PgHome):
        return PostgresStore(home.url, ring, home.schema)
    return SqliteStore(home.ledger_path, ring)


async def lived(life: Life) -> tuple[UserGrant, list[str]]:
    """Have a grant with a trace in every table; return it, and its tokens."""
    broker, ledger = life.broker, life.opened.ledger
    consent = replace(life.scene.consent(key=KEY), metadata=((NOTE, NOTE),))
    grant = await broker.provision(BY, consent)
    tokens = [consent.refresh_token.reveal()]
    await ledger.duties.look("receiver", 10)
    asked = TokenRequest(KEY, reason=REASON)
    while grant.version < STATE_EVERY:
        grant = await broker.rotate(BY, KEY)
        assert grant.state.refresh is not None
        tokens.append(grant.state.refresh.token.reveal())
        handed = await broker.hand_out(BY, asked)
        tokens.append(handed.access_token.reveal())
    await broker.give_back(BY, AccessToken(tokens[-1]))
    with pytest.raises(GrantledgerError):
        await broker.hand_out(BY, replace(asked, audience=ASKED))
    await broker.audit_access.record(BY, AuditUse.HISTORY, ASKED, key=KEY)
    wanted = AuditFilter(provider="cloud", subject=KEY.subject, label=KEY.label)
    await admitted(broker, BY, AuditUse.READ, wanted, "json")
    hold = await broker.holding.hold(
        OPERATOR, user=("cloud", KEY.subject), reason="matter 7"
    )
    await broker.holding.release(OPERATOR, hold.id, reason="over")
    await broker.revoke(
        BY, KEY, reason=RevocationReason.USER, reason_text=REASON, ticket=TICKET
    )
    await broker.provision(BY, life.scene.consent(key=KEY))
    now = life.env.clock.now()
    await ledger.duties.look("receiver", 1000)
    await ledger.duties.claim(grant.id, uuid4(), now, 600)
    await ledger.duties.take("state", uuid4().bytes, now, 600)
    await life.opened.publisher.publish()
    await ledger.published.complete()
    await ledger.complete_audit()
    return grant, tokens


def values_of(store: Store, grant: UserGrant) -> list[tuple[str, bytes]]:
    """Return what opens the grant, or finds it, as it is stored."""
    return [
        (name, value.encode() if isinstance(value, str) else bytes(value))
        for name, query in WHO_KNEW.items()
        for (value,) in store.sql(query, grant.id.hex)
    ]


def check_files(
    folder: Path, words: dict[str, list[bytes]], before: list[tuple[str, bytes]]
) -> None:
    """See that every file is known, and that nothing of the grant is in it."""
    for path in folder.rglob("*"):
        if path.is_dir():
            assert path.name in FOLDERS, "say why nothing of a grant stays in it"
            continue
        # An open broker has a note of its own beside the guard, and makes both anew.
        known = path.name in FILES or GUARD_SUFFIX in path.name
        assert known, f"say why nothing of a grant stays in {path.name}"
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue  # one that has just been replaced
        found = [t for t, written in words.items() if any(w in data for w in written)]
        assert found == [], path.name
        assert {name for name, value in before if value in data} == set(), path.name


@both_stores
async def test_no_table_no_file_and_nothing_that_opens_holds_anything_of_the_grant(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    scene = start(preset="generic")
    store = store_of(scene)
    async with scene.open(provision=False) as life:
        await life.broker.provision(OPERATOR, scene.consent())
        grant, tokens = await lived(life)
        tables = tables_of(store)
        assert tables <= TABLES.keys(), "say why nothing of a grant stays in it"
        empty = {t for t in tables if not store.sql(f"SELECT 1 FROM {t} LIMIT 1")}  # noqa: S608 - names of the schema
        assert empty <= NOT_FILLED, "nothing was tried there"
        before = values_of(store, grant)
        assert {name for name, _ in before} == WHO_KNEW.keys()
        told = b"\0".join(one.plain for one in opened(store, store.ring))
        assert [p for p in (*PERSONAL, *tokens) if p.encode() not in told] == []

        await life.broker.erase(OPERATOR, KEY, reason=ErasureReason.USER_REQUEST)
        await life.opened.ledger.complete_audit()

        words = {text: forms(text) for text in (*PERSONAL, *tokens)}
        for table in sorted(tables_of(store)):
            data = rows_of(store, table)
            found = [
                t for t, written in words.items() if any(w in data for w in written)
            ]
            assert found == [], table
            kept = {name for name, value in before if value in data}
            assert kept == set(), table
        for one in (*opened(store, store.ring), *answers(scene.home.path, store.ring)):
            assert [t for t in words if t.encode() in one.plain] == [], one.where
        check_files(scene.home.path, words, before)
    check_files(scene.home.path, words, before)
    assert [text for text in words if text in caplog.text] == []


async def test_what_is_recorded_outside_the_ledger_names_nobody(start: Start) -> None:
    """By a login that may only read: no erasure reaches that file."""
    scene = start(preset="generic")
    async with scene.open() as life:
        path = scene.home.path / "grantledger.readings"
        file = AccessFile(path, life.env.clock.monotonic)
        broker = Broker(replace(life.env, elsewhere=file))
        wanted = AuditFilter(
            provider="cloud", subject="alice", actor=NOTE, address=BY.peer_ip
        )
        await admitted(broker, OPERATOR, AuditUse.READ, wanted, "json")
        written = path.read_bytes()
        (line,) = read_accesses(written)
        grant = await life.grant()
        assert line.grant_id == grant.id
        named = ("alice", NOTE, str(BY.peer_ip))
        assert [text for text in named if text.encode() in written] == []
