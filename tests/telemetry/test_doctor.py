"""`grantledger doctor`, with each thing really broken."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import threading
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from grantledger.adapters.bootstrap.ledgers import spool_of
from grantledger.adapters.cli.doctor import ledgers, places, providers, service
from grantledger.adapters.cli.doctor.examining import examine
from grantledger.adapters.cli.doctor.findings import Finding, Level
from grantledger.adapters.cli.entry import run
from grantledger.adapters.devserver import DevServer, DevSettings
from grantledger.adapters.keys.clock import SystemClock
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger.postgres.clock import DatabaseClock
from grantledger.domain.policy import CallerRule
from tests.broker.scene import CALLER, Home, Scene
from tests.http.scene import rules
from tests.support.certificates import Authority
from tests.support.fault_proxy import FaultProxy
from tests.support.faults import Fault
from tests.upstream.signing import JWKS, RSA, jwk
from tests.upstream.support import CannedServer, reply

METADATA = "/.well-known/openid-configuration"
DAY = timedelta(days=1)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """A whole installation: settings, keys, a ledger with alice's grant, servers."""
    said = DevSettings(refresh_token_seconds=30 * 86_400)
    async with CannedServer() as issuer:
        issuer.describe()
        issuer.on(JWKS, reply({"keys": [jwk(RSA)]}))
        with DevServer("B", said) as server, FaultProxy(server.issuer) as proxy:
            made = Scene(Home(tmp_path, callers=rules(issuer.url)), server, proxy)
            made.configure()
            async with made.open():
                pass
            (tmp_path / "cloud.secret").chmod(0o600)
            yield made


async def found(scene: Scene) -> dict[str, list[Finding]]:
    """Return what is not well, by the check's name."""
    config = scene.home.write()
    config.chmod(0o600)
    bad: dict[str, list[Finding]] = {}
    for one in await examine(config):
        if one.level is not Level.OK:
            bad.setdefault(one.check, []).append(one)
    return bad


async def only(scene: Scene, check: str, level: Level = Level.WARNING) -> Finding:
    """Return the one finding, where nothing else is wrong."""
    bad = await found(scene)
    assert set(bad) == {check}, bad
    (one,) = bad[check]
    assert one.level is level
    assert one.todo
    return one


async def test_all_is_well(scene: Scene) -> None:
    assert await found(scene) == {}


def test_people_get_a_table_and_programs_a_document_with_the_first_errors_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Home(tmp_path)
    config = str(home.write())
    assert run(["doctor", "-c", config]) == 0
    assert "0 wrong" in capsys.readouterr().out
    (tmp_path / "keyring.json").chmod(0o644)
    assert run(["doctor", "-c", config, "--json"]) == 60
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] is False
    (bad,) = [one for one in said["findings"] if one["level"] == "error"]
    assert (bad["check"], bad["error"]) == ("keys", "configuration")


async def test_settings_that_cannot_be_read(scene: Scene) -> None:
    scene.home.callers += "\n[nonsense]\n"
    one = await only(scene, "settings", Level.ERROR)
    assert (one.error, one.exit_code) == ("configuration", 60)


async def test_a_key_ring_of_another_ledger(scene: Scene) -> None:
    other = KeyRing.generate(os.urandom, datetime.now(UTC))
    other.save(scene.home.path / "keyring.json", overwrite=True)
    assert (await only(scene, "ledger", Level.ERROR)).error == "wrong_key"


async def test_no_ledger(scene: Scene) -> None:
    scene.home.ledger_path.unlink()
    assert (await only(scene, "ledger", Level.ERROR)).exit_code == 50


async def test_a_schema_that_is_older_is_told_and_not_migrated(scene: Scene) -> None:
    scene.home.sql("PRAGMA user_version=1")
    one = await only(scene, "schema", Level.ERROR)
    assert one.todo == "grantledger migrate"
    assert (await only(scene, "schema", Level.ERROR)).said == one.said


async def test_a_schema_that_is_newer(scene: Scene) -> None:
    scene.home.sql("PRAGMA user_version=999")
    assert (await only(scene, "ledger", Level.ERROR)).error == "newer_schema"


async def test_a_ledger_that_was_moved(scene: Scene) -> None:
    scene.home.sql("UPDATE log_head SET closed = 'it was moved'")
    assert (await only(scene, "ledger", Level.ERROR)).error == "ledger_closed"


async def test_a_ledger_that_was_restored(scene: Scene) -> None:
    copies = {
        path: path.read_bytes()
        for path in scene.home.path.iterdir()
        if path.name.startswith("grantledger.db")
        and "guard" not in path.name
        and path.is_file()
    }
    async with scene.open(provision=False) as life:
        await life.token()
    for path in scene.home.path.glob("grantledger.db-*"):
        path.unlink()
    for path, content in copies.items():
        path.write_bytes(content)
    assert (await only(scene, "ledger", Level.ERROR)).error == "ledger_restored"


@pytest.mark.parametrize(
    ("free", "level"),
    [(1 << 40, Level.OK), (1 << 29, Level.WARNING), (1 << 20, Level.ERROR)],
)
def test_a_disk_that_is_nearly_full(tmp_path: Path, free: int, level: Level) -> None:
    (one,) = places.check_disk(Home(tmp_path).settings(), lambda _path: free)
    assert one.level is level
    assert places.free_bytes(tmp_path / "not" / "there") > 0


async def test_an_answer_that_waits_on_disk(scene: Scene) -> None:
    spool = spool_of(scene.home.settings())
    spool.mkdir(exist_ok=True)
    (spool / "x.answer").write_bytes(b"")
    assert "1 answers wait" in (await only(scene, "spool")).said


async def test_files_that_others_can_read(scene: Scene) -> None:
    (scene.home.path / "cloud.secret").chmod(0o644)
    scene.home.ledger_path.chmod(0o640)
    bad = await found(scene)
    assert set(bad) == {"file_modes"}
    assert [one.todo.split()[1] for one in bad["file_modes"]] == ["600", "600"]


def test_a_clock_that_is_far_from_the_databases() -> None:
    local = SystemClock()
    clock = DatabaseClock(local)
    clock.told(local.now())
    assert ledgers.check_clock(clock, local)[0].level is Level.OK
    clock.told(local.now() - timedelta(seconds=30))
    (one,) = ledgers.check_clock(clock, local)
    assert (one.level, "30.0 s" in one.said) == (Level.WARNING, True)
    assert ledgers.check_clock(local, local)[0].level is Level.OK


async def test_checkpoints_that_are_late(scene: Scene) -> None:
    async with scene.open(provision=False) as life:
        said = await life.opened.ledger.life()
        ctx = life.broker.env.system()
        said.checkpoint_failed(ctx, cause="late", published=0, size=1)
        await life.opened.ledger.append_life(said)
    assert "not published in time" in (await only(scene, "checkpoints")).said


async def test_revocations_that_nobody_tries_again(scene: Scene) -> None:
    scene.proxy.plan("/revoke", Fault.status(503), 99)
    async with scene.open(provision=False) as life:
        await life.broker.revoke(CALLER, scene.key)
        now = datetime.now(UTC)
        told = await ledgers.check_due(life.opened.ledger, now)
        assert [one.level for one in told] == [Level.OK, Level.OK]
        told = await ledgers.check_due(life.opened.ledger, now + DAY)
        assert [one.level for one in told] == [Level.WARNING, Level.OK]


async def test_a_redemption_without_an_outcome(scene: Scene) -> None:
    process = scene.child("intended")
    await asyncio.to_thread(process.communicate, timeout=30)
    async with scene.open(provision=False) as life:
        now = datetime.now(UTC)
        told = await ledgers.check_due(life.opened.ledger, now + DAY)
    assert [(one.check, one.level) for one in told] == [
        ("obligations", Level.OK),
        ("leases", Level.WARNING),
    ]


async def test_grants_that_end_unasked(scene: Scene) -> None:
    scene.configure(keep_alive=False)
    async with scene.open(provision=False) as life:
        rules_of = {"cloud": life.env.providers["cloud"].rules}
        await life.rotate()
        now = datetime.now(UTC)
        ledger = life.opened.ledger
        (one,) = await ledgers.check_endings(ledger, rules_of, now)
        assert one.level is Level.OK
        (one,) = await ledgers.check_endings(ledger, rules_of, now + 25 * DAY)
        assert "1 grants at cloud end" in one.said


async def test_a_provider_that_does_not_answer(scene: Scene) -> None:
    scene.proxy.plan("", Fault.status(503), 99)
    one = await only(scene, "providers.cloud", Level.ERROR)
    assert one.error in {"unavailable", "upstream_rejected"}


async def test_a_provider_that_says_it_is_another(scene: Scene) -> None:
    scene.configure(issuer=f"{scene.server.issuer}/other")
    one = await only(scene, "providers.cloud", Level.ERROR)
    assert one.error == "upstream_rejected"


async def test_a_provider_without_revocation(scene: Scene) -> None:
    scene.proxy.plan(
        "configuration",
        Fault.rewrite_json(lambda said: said | {"revocation_endpoint": None}),
        99,
    )
    assert "no revocation" in (await only(scene, "providers.cloud")).said


async def test_a_client_that_has_ended() -> None:
    now = datetime.now(UTC)
    (one,) = providers._client("cloud", now - DAY, now)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - one check
    assert one.error == "client_expired"


async def test_keys_of_an_issuer_that_cannot_be_fetched(scene: Scene) -> None:
    scene.home.callers = rules("http://127.0.0.1:9")
    one = await only(scene, "http.issuers.idp.keys", Level.ERROR)
    assert one.error == "unavailable"


@pytest.mark.parametrize(
    ("days", "level"), [(30, Level.OK), (20, Level.OK), (10, Level.WARNING)]
)
async def test_a_certificate_that_ends_soon(
    tmp_path: Path, days: int, level: Level
) -> None:
    """The authority of the test issues for thirty days."""
    authority = Authority(tmp_path, "authority")
    with https(authority) as url:
        now = datetime.now(UTC) + timedelta(days=30 - days)
        (one,) = await providers.check_certificate("p", url, authority.file, now)
        assert one.level is level
        (one,) = await providers.check_certificate("p", url, None, now)
        assert (one.level, "not accepted" in one.said) == (Level.ERROR, True)


async def test_a_rule_that_is_nobodys_and_a_client_without_one(scene: Scene) -> None:
    scene.home.callers = scene.home.callers.replace(
        'id = "scanner"\nproviders', 'id = "nobody"\nproviders'
    )
    bad = await found(scene)
    assert set(bad) == {"callers"}
    said = [one.said for one in bad["callers"]]
    assert ["'nobody'" in said[0], "'scanner'" in said[1], len(said)] == [True, True, 2]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (CallerRule("*"), "every user's tokens"),
        (CallerRule("scanner", self_only=True), "brings a token"),
        (CallerRule("idp:job", self_only=True), None),
        (CallerRule("jobs:job", self_only=True), "brings a token"),
        (CallerRule("*", self_only=True), None),
        (CallerRule("cli:root"), None),
    ],
)
def test_rules_that_allow_too_much_or_never_apply(
    rule: CallerRule, said: str | None
) -> None:
    rules = [rule, CallerRule("scanner", subjects=frozenset({"alice"}))]
    told = service.check_rules(rules, {"scanner"}, {"idp": True, "jobs": False})
    assert [said in one.said for one in told if said] == [True] * bool(said)
    assert len(told) == bool(said)


async def test_a_policy_file_that_cannot_be_read(scene: Scene) -> None:
    scene.home.callers = (
        scene.home.callers.partition("[[callers]]")[0]
        + '[policy]\nfile = "nowhere.toml"\n'
    )
    assert (await only(scene, "callers", Level.ERROR)).error == "configuration"


async def test_callers_without_any_rule(scene: Scene) -> None:
    scene.home.callers = scene.home.callers.partition("[[callers]]")[0]
    assert (await only(scene, "callers", Level.ERROR)).exit_code == 60


@pytest.mark.parametrize("listen", ["0.0.0.0:8080", "[::]:8080", "broker:8080"])
async def test_a_listener_that_is_reached_in_clear(scene: Scene, listen: str) -> None:
    scene.home.callers = scene.home.callers.replace("127.0.0.1:0", listen)
    assert "TLS" in (await only(scene, "http.listen")).todo


@contextmanager
def https(authority: Authority) -> Generator[str]:
    """A server with a certificate of the authority."""
    files = authority.issue("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["cert"], files["key"])
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign] # a client that hangs up is the case
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
