"""The fault proxy breaks what it is told to break, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from grantledger.adapters.devserver import BASE, Client, DevServer, IssuedGrant
from tests.support.fault_proxy import Fault, FaultProxy


class Caller:
    """A client that refreshes one grant through the proxy."""

    def __init__(self, server: DevServer, proxy: FaultProxy) -> None:
        self.server = server
        self.proxy = proxy
        self.client: Client = server.state.register_client()
        self.grant: IssuedGrant = server.issue_grant("alice", self.client.client_id)

    def refresh(self, *, seconds: float = 10) -> httpx.Response:
        form = {
            "grant_type": "refresh_token",
            "refresh_token": self.grant.refresh_token or "",
            "client_id": self.client.client_id,
            "client_secret": self.client.client_secret or "",
        }
        url = f"{self.proxy.url}{BASE}/token"
        return httpx.post(url, data=form, timeout=seconds)

    @property
    def processed(self) -> int:
        """How many refreshes the server has carried out."""
        return len(self.server.state.redemptions)


@pytest.fixture
def caller() -> Iterator[Caller]:
    with DevServer() as server, FaultProxy(server.issuer) as proxy:
        yield Caller(server, proxy)


def test_without_a_plan_everything_passes(caller: Caller) -> None:
    url = f"{caller.proxy.url}/.well-known/openid-configuration"
    with httpx.Client() as client:
        assert client.get(url).json()["issuer"] == caller.proxy.url
        assert client.get(url + "?x=1").status_code == 200
    assert caller.refresh().status_code == 200
    assert caller.proxy.count("/token") == caller.proxy.forwarded("/token") == 1
    (form,) = caller.proxy.forms("/token")
    assert form["refresh_token"] == caller.grant.refresh_token
    assert caller.proxy.requests[1].query == "x=1"


def test_the_host_can_be_the_upstreams_own(caller: Caller) -> None:
    issuer = caller.server.issuer
    with FaultProxy(issuer, preserve_host=False) as proxy:
        url = f"{proxy.url}/.well-known/openid-configuration"
        assert httpx.get(url).json()["issuer"] == issuer


def test_redirects_reach_the_client_as_they_are(caller: Caller) -> None:
    response = httpx.get(f"{caller.proxy.url}{BASE}/authorize")
    assert response.status_code == 400
    assert "text/html" in response.headers["content-type"]


@pytest.mark.parametrize(
    ("fault", "processed"), [(Fault.TIMEOUT_BEFORE, 0), (Fault.TIMEOUT_AFTER, 1)]
)
def test_a_time_out_is_before_or_after_the_deed(
    caller: Caller, fault: Fault, processed: int
) -> None:
    caller.proxy.plan("/token", fault)
    with pytest.raises(httpx.ReadTimeout):
        caller.refresh(seconds=0.3)
    assert caller.processed == caller.proxy.forwarded("/token") == processed


@pytest.mark.parametrize(
    ("fault", "processed"), [(Fault.RESET_BEFORE, 0), (Fault.RESET_AFTER, 1)]
)
def test_a_reset_is_before_or_after_the_deed(
    caller: Caller, fault: Fault, processed: int
) -> None:
    caller.proxy.plan("/token", fault)
    with pytest.raises(httpx.ReadError, match="reset"):
        caller.refresh()
    assert caller.processed == processed


def test_a_hung_request_ends_when_the_proxy_closes(caller: Caller) -> None:
    with ThreadPoolExecutor(1) as pool:
        with FaultProxy(caller.server.issuer) as proxy:
            proxy.plan("/jwks", Fault.TIMEOUT_BEFORE)
            hung = pool.submit(httpx.get, f"{proxy.url}/jwks", timeout=30)
            while not proxy.count("/jwks"):
                threading.Event().wait(0.01)
        with pytest.raises(httpx.RemoteProtocolError):
            hung.result()


def test_a_slow_answer_drips(caller: Caller) -> None:
    caller.proxy.plan("/jwks", Fault.slow_drip(0.05))
    response = httpx.get(f"{caller.proxy.url}{BASE}/jwks")
    assert response.json()["keys"]
    caller.proxy.plan("/jwks", Fault.slow_drip(1000))
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{caller.proxy.url}{BASE}/jwks", timeout=0.2)


def test_an_answer_can_be_held_until_released(caller: Caller) -> None:
    release = threading.Event()
    caller.proxy.plan("/token", Fault.held_after(release))
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(caller.refresh)
        while not caller.processed:
            threading.Event().wait(0.01)
        assert not held.done()
        release.set()
        assert held.result().status_code == 200


def test_a_request_can_be_held_until_released(caller: Caller) -> None:
    release = threading.Event()
    caller.proxy.plan("/token", Fault.held_before(release))
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(caller.refresh)
        while not caller.proxy.count("/token"):
            threading.Event().wait(0.01)
        assert caller.processed == 0
        release.set()
        assert held.result().status_code == 200


def test_a_huge_body_is_more_than_ten_mebibytes(caller: Caller) -> None:
    caller.proxy.plan("/token", Fault.HUGE_BODY)
    assert len(caller.refresh().content) > 10 * 1024 * 1024


def test_invalid_json_comes_with_200(caller: Caller) -> None:
    caller.proxy.plan("/token", Fault.INVALID_JSON)
    response = caller.refresh()
    assert response.status_code == 200
    with pytest.raises(ValueError, match="Unterminated"):
        response.json()


@pytest.mark.parametrize(
    ("fault", "missing"),
    [
        (Fault.NO_ACCESS_TOKEN, "access_token"),
        (Fault.NO_REFRESH_TOKEN, "refresh_token"),
    ],
)
def test_a_token_can_be_missing_from_a_real_answer(
    caller: Caller, fault: Fault, missing: str
) -> None:
    caller.proxy.plan("/token", fault)
    body = caller.refresh().json()
    assert missing not in body
    assert body["token_type"] == "Bearer"
    assert caller.processed == 1


def test_an_answer_can_be_rewritten(caller: Caller) -> None:
    change = Fault.rewrite_json(lambda body: body | {"expires_in": "900"})
    caller.proxy.plan("/token", change)
    assert caller.refresh().json()["expires_in"] == "900"


@pytest.mark.parametrize(
    ("fault", "status", "body"),
    [
        (Fault.UNAUTHORIZED_ODD, 401, b'{"message": ""}'),
        (Fault.THROTTLED, 429, b'{"message": "Reached maximum delay"}'),
        (Fault.status(503, "soon", {"Retry-After": "3"}), 503, b"soon"),
    ],
)
def test_an_answer_can_be_made_up(
    caller: Caller, fault: Fault, status: int, body: bytes
) -> None:
    caller.proxy.plan("/token", fault)
    response = caller.refresh()
    assert (response.status_code, response.content) == (status, body)
    assert caller.processed == 0


def test_redirects_can_be_made_up(caller: Caller) -> None:
    caller.proxy.plan("/token", Fault.redirect_307("http://127.0.0.1:9/thief"))
    caller.proxy.plan("/token", Fault.REDIRECT_302)
    first, second = caller.refresh(), caller.refresh()
    assert first.headers["location"] == "http://127.0.0.1:9/thief"
    assert (second.status_code, second.headers["location"]) == (302, "/index.php/login")


def test_a_plan_is_used_up_and_can_be_forgotten(caller: Caller) -> None:
    caller.proxy.plan("/token", Fault.THROTTLED, times=2)
    caller.proxy.plan("/jwks", Fault.THROTTLED)
    assert [caller.refresh().status_code for _ in range(3)] == [429, 429, 200]
    caller.proxy.clear()
    assert httpx.get(f"{caller.proxy.url}{BASE}/jwks").status_code == 200


def test_an_upstream_that_is_gone_is_a_bad_gateway() -> None:
    with DevServer() as server:
        gone = server.issuer
    with FaultProxy(gone) as proxy:
        assert httpx.get(proxy.url).status_code == 502
