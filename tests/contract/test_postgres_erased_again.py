"""A restored dump brings an erased grant back: it is erased again, by its receipt."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from grantledger.adapters.bootstrap.ledgers import ERASURES
from grantledger.domain.errors import NotProvisioned, ReauthorizationRequired
from grantledger.domain.grant_events import Erased
from grantledger.domain.requests import TokenRequest
from grantledger.domain.values import GrantKey, GrantStatus, ReauthorizationReason
from tests.broker.scene import CALLER, Scene
from tests.contract.pg_restoring import RESTORED, Command, bring_back, dump
from tests.contract.stores import PostgresStore, proven
from tests.contract.test_postgres_roles import APP, MAINTENANCE, login, roles
from tests.support.pg_scene import PgHome, pg_scene

__all__ = ["roles"]

READ_ONLY = 55
VARIABLE = "GRANTLEDGER_MAINTENANCE"
CONTINUE = ("continue", "--reason", "a disk died", "--ticket", "T-1")
BOB = GrantKey("cloud", "bob")


@dataclass
class Back:
    """A ledger in which an erased grant is alive again.

    Attributes:
        erased: what `erase` said of it at the time.
    """

    store: PostgresStore
    scene: Scene
    grant_id: UUID
    erased: Any
    redeemed: list[str]

    def held(self) -> tuple[int, int]:
        """How many data keys and sealed parts of the grant the server holds."""
        ((keys, parts),) = self.store.sql(
            "SELECT (SELECT count(*) FROM data_keys WHERE grant_id = ?),"
            " (SELECT count(*) FROM sealed WHERE grant_id = ?)",
            self.grant_id.hex,
            self.grant_id.hex,
        )
        return keys, parts

    async def is_gone_again(self, command: Command) -> None:
        """See that nothing opens it, the other one asks for consent, and all proves."""
        assert self.held() == (0, 0)
        async with self.scene.open(provision=False) as life:
            grant = await life.opened.ledger.get(self.grant_id)
            assert grant is not None
            assert grant.state.status is GrantStatus.ERASED
            replayed = await life.opened.ledger.replay(self.grant_id)
            assert replayed is not None
            assert replayed.fork() == grant.fork()
            events = [event for _, event in await life.history(self.grant_id)]
            (last,) = [event for event in events if isinstance(event, Erased)]
            assert last.receipt == self.erased["receipt"]
            with pytest.raises(NotProvisioned):
                await life.token()
            with pytest.raises(ReauthorizationRequired) as caught:
                await life.broker.hand_out(CALLER, TokenRequest(BOB))
            assert caught.value.reason is ReauthorizationReason.RESTORED
        assert self.scene.presented() == self.redeemed
        said = command.json("verify")
        assert (said["ok"], said["erased_grants"]) == (True, 1)
        assert said["leaves"] == proven(self.store)


async def brought_back(scene: Scene, store: PostgresStore, command: Command) -> Back:
    """Dump a ledger of two grants, erase one of them, and restore the dump."""
    kept = scene.home.path / "kept.dump"
    async with scene.open() as life:
        await life.provision(scene.consent(key=BOB))
        await life.token()
        grant_id = (await life.grant()).id
    dump(store, kept)
    erased = command.json("erase", "cloud", "alice")
    back = Back(store, scene, grant_id, erased, scene.presented())
    assert erased["grant_id"] == str(grant_id)
    assert back.held() == (0, 0)
    bring_back(store, kept)
    keys, parts = back.held()
    assert (keys, parts > 0) == (1, True)
    return back


@contextmanager
def by_app(folder: Path, roles: PostgresStore) -> Generator[tuple[Scene, PgHome, str]]:
    """Yield a scene whose broker may not erase, and a login that may."""
    with (
        login(roles, APP) as app,
        login(roles, MAINTENANCE) as keeper,
        pg_scene(folder, app) as scene,
    ):
        assert isinstance(scene.home, PgHome)
        roles.ring = app.ring
        yield scene, scene.home, keeper.conninfo


async def test_continue_erases_again_what_a_dump_brought_back(
    tmp_path: Path, postgres: PostgresStore
) -> None:
    with pg_scene(tmp_path, postgres) as scene:
        command = Command(scene)
        back = await brought_back(scene, postgres, command)
        listed = (tmp_path / ERASURES).read_bytes()
        done = command.json(*CONTINUE)
        assert (done["quarantined"], done["erased"]) == (2, 1)
        assert done["known_size"] > done["found_size"]
        await back.is_gone_again(command)
        assert (tmp_path / ERASURES).read_bytes() == listed
        again = command.json("erase", "--from-list")
        assert (again["done"], again["erased_again"], again["finished"]) == (1, 0, 0)


async def test_a_broker_that_may_not_erase_does_it_as_the_maintenance_login(
    tmp_path: Path, roles: PostgresStore
) -> None:
    with by_app(tmp_path, roles) as (scene, home, keeper):
        home.maintenance_url = keeper
        command = Command(scene)
        back = await brought_back(scene, roles, command)
        done = command.json(*CONTINUE)
        assert (done["quarantined"], done["erased"]) == (2, 1)
        await back.is_gone_again(command)


async def test_a_continuation_that_may_not_erase_stays_unfinished_until_it_may(
    tmp_path: Path, roles: PostgresStore
) -> None:
    """Nothing is handed out until the environment, here, names who may."""
    with by_app(tmp_path, roles) as (scene, home, keeper):
        home.maintenance_url = keeper
        command = Command(scene)
        back = await brought_back(scene, roles, command)
        home.maintenance_url = ""
        error = command.json(*CONTINUE, code=READ_ONLY)
        assert "ledger.maintenance_url" in error["message"]
        assert all(back.held())
        command.json("token", "cloud", "bob", code=RESTORED)
        done = Command(scene, {VARIABLE: keeper}).json(*CONTINUE)
        assert (done["resumed"], done["quarantined"], done["erased"]) == (True, 0, 1)
        await back.is_gone_again(command)
