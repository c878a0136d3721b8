"""Over HTTP: every refusal of a known caller is recorded, and a policy can change."""

from __future__ import annotations

import signal
from pathlib import Path
from subprocess import Popen
from typing import Any, NoReturn, cast

import anyio
import httpx
import pytest

from grantledger.adapters.devserver import DevServer, DevSettings
from grantledger.domain.errors import (
    Denied,
    GrantledgerError,
    IntegrityError,
    Unavailable,
)
from grantledger.domain.policy import CallerRule, Operation, Policy, Role
from grantledger.domain.requests import Caller
from grantledger.domain.values import Outcome
from tests.broker.scene import Home, Scene
from tests.cli.scene import Shell
from tests.http.scene import HASH, OAUTH, SECRET, TOKEN, Service
from tests.http.test_serving import listening
from tests.support.fault_proxy import FaultProxy

AUTH = ("scanner", SECRET)
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}


def denials(here: Service) -> list[dict[str, Any]]:
    return [e for e in here.journal() if e["outcome"] == Outcome.DENIED]


@pytest.mark.parametrize(
    ("path", "content", "headers", "status", "reason"),
    [
        (TOKEN, b'{"scopes": [', JSON, 400, "invalid_request"),
        (TOKEN, b'{"scopes": 7}', JSON, 400, "invalid_request"),
        (TOKEN, b"{}", FORM, 415, "invalid_request"),
        (TOKEN, b"x" * 5000, JSON, 413, "invalid_request"),
        ("/v1/grants/cloud/al/ice/token", b"{}", JSON, 400, "invalid_request"),
        ("/v1/grants/sky/alice/token", b"{}", JSON, 404, "invalid_request"),
        ("/v1/grants/cloud/bob/token", b"{}", JSON, 403, "no_rule"),
        (OAUTH, b"grant_type=password", FORM, 400, "invalid_request"),
        (OAUTH, b"a=1&a=2", FORM, 400, None),
        (OAUTH, b"{}", JSON, 415, None),
    ],
)
async def test_every_refusal_of_a_known_caller_is_recorded_once(
    here: Service,
    path: str,
    content: bytes,
    headers: dict[str, str],
    status: int,
    reason: str | None,
) -> None:
    """None: of a form that cannot be read nobody knows whose it is."""
    said = await here.client.post(path, content=content, headers=headers, auth=AUTH)
    assert said.status_code == status
    found = denials(here)
    expected = [("scanner", reason)] if reason else []
    assert [(e["caller"], e["reason"]) for e in found] == expected
    assert all(e["policy"].startswith("settings+") for e in found)


async def test_whoever_is_not_known_is_not_recorded(here: Service) -> None:
    said = await here.client.post(TOKEN, content=b"{", auth=("scanner", "wrong"))
    assert said.status_code == 401
    assert denials(here) == []


async def test_an_operation_that_is_denied_is_recorded_by_its_name(
    here: Service,
) -> None:
    broker = here.life.opened.broker
    with pytest.raises(Denied):
        await broker.authorise(
            Caller("scanner"), Operation.BULK_REVOKE, "cloud", "alice"
        )
    [entry] = denials(here)
    assert entry["reason"] == "may_not_bulk_revoke"


async def test_a_user_has_its_own_tokens_and_nobody_elses(here: Service) -> None:
    """`self`: by the claim that the issuer is configured for, and by no parameter."""
    here.life.env.policy = Policy(
        (CallerRule("*", self_only=True, roles=frozenset(Role)),), "self"
    )
    as_bob = {"Authorization": f"Bearer {here.bearer(sub='bob')}"}
    assert (await here.post(headers=as_bob)).status_code == 403
    as_alice = {"Authorization": f"Bearer {here.bearer(sub='alice')}"}
    assert (await here.post(headers=as_alice)).status_code == 200
    assert (await here.post(auth=AUTH)).status_code == 403
    assert [e["reason"] for e in denials(here)] == ["no_rule", "no_rule"]


ALL = "\n".join(
    f'{n} = "any"' for n in ("providers", "subjects", "scopes", "resources")
)
POLICIES = [
    f'version = "one"\n[[rules]]\ncaller = "scanner"\n{ALL}\n',
    'version = "two"\nrules = []\n',
]
SETTINGS = f"""
[http]
listen = "127.0.0.1:0"
[[http.clients]]
id = "scanner"
secret_hash = "{HASH}"
[policy]
file = "policy.toml"
"""


async def test_a_policy_is_read_again_at_sighup(tmp_path: Path) -> None:
    """What was allowed is denied; a file that is wrong changes nothing."""
    with (
        DevServer("B", DevSettings(refresh_token_seconds=86_400)) as server,
        FaultProxy(server.issuer) as proxy,
    ):
        (tmp_path / "policy.toml").write_text(POLICIES[0])
        scene = Scene(Home(tmp_path, callers=SETTINGS), server, proxy)
        scene.configure()
        async with scene.open():
            pass
        scene.home.write()
        process = Shell(scene.home.path).start("serve")
        try:
            where = await anyio.to_thread.run_sync(listening, process)
            async with httpx.AsyncClient(base_url=where, auth=AUTH) as http:
                assert (await http.post(TOKEN)).status_code == 200
                (tmp_path / "policy.toml").write_text(POLICIES[1])
                await _hangs_up(process, "policy two+")
                assert (await http.post(TOKEN)).status_code == 403
                (tmp_path / "policy.toml").write_text("version = ")
                await _hangs_up(process, "stays in force")
                assert (await http.post(TOKEN)).status_code == 403
                (tmp_path / "policy.toml").write_text(POLICIES[0])
                await _hangs_up(process, "policy one+")
                assert (await http.post(TOKEN)).status_code == 200
            process.send_signal(signal.SIGTERM)
            await anyio.to_thread.run_sync(process.communicate)
        finally:
            process.kill()
        async with scene.open(provision=False) as life:
            found = [(e.outcome, e.policy[:4]) for e in await life.entries()]
    assert found == [
        (Outcome.HANDED_OUT, "one+"),
        (Outcome.DENIED, "two+"),
        (Outcome.DENIED, "two+"),
        (Outcome.HANDED_OUT, "one+"),
    ]


async def _hangs_up(process: Popen[str], words: str) -> None:
    process.send_signal(signal.SIGHUP)
    assert process.stderr is not None
    line = await anyio.to_thread.run_sync(process.stderr.readline)
    assert words in line


class FailingFleet:
    """Stands for a ledger that cannot be read."""

    def __init__(self, error: GrantledgerError) -> None:
        self._error = error

    async def page(self, *_: object, **__: object) -> NoReturn:
        raise self._error


async def test_a_refusal_among_many_grants_is_recorded_and_logged(
    here: Service, caplog: pytest.LogCaptureFixture
) -> None:
    rule = CallerRule("scanner", roles=frozenset({Role.RESPONDER}))
    here.life.env.policy = Policy((rule,), "test")
    body = {"selection": {"provider": "cloud"}, "dry_run": False}
    for error in (Unavailable("busy", 1.0), IntegrityError("leaf 7")):
        here.life.env.fleet = cast("Any", FailingFleet(error))
        said = await here.client.post("/v1/incidents/revoke", json=body, auth=AUTH)
        assert f'{{"error":"{error.code}"}}' in said.text
    assert [entry["reason"] for entry in denials(here)] == ["unavailable"]
    assert "a request failed: integrity" in caplog.text
