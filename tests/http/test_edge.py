"""Who is known by a certificate or a socket, from where, and how often.

RFC 9440; identity by header is a proxy's to give, and nobody else's.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from starlette.requests import Request

from grantledger.adapters.http import service as http_service
from grantledger.adapters.http.app import build_app
from grantledger.adapters.http.edge import Edge
from grantledger.adapters.http.identity import Authenticator
from grantledger.adapters.http.limits import MAX_KEPT, Pace
from grantledger.adapters.http.peers import STATE, Peer
from grantledger.adapters.http.unauthenticated import NotAuthenticatedError
from grantledger.adapters.settings import HttpSettings, parse
from grantledger.domain.errors import ConfigurationError, InvalidRequest, RateLimited
from grantledger.domain.policy import CallerRule, Policy
from tests.http.scene import HASH, OAUTH, SECRET, TOKEN, Service

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SPIFFE = "spiffe://example.org/batch"
PROXY = ("10.0.0.9", 4711)
STRANGER = ("192.0.2.7", 4711)
KEY = ec.generate_private_key(ec.SECP256R1())


def certificate(*uris: str, dns: str | None = None, ends: datetime = NOW) -> bytes:
    """Return a certificate's DER; it is valid for a day around its end's day."""
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(u) for u in uris]
    if dns is not None:
        names.append(x509.DNSName(dns))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "any")])
    made = x509.CertificateBuilder(name, name, KEY.public_key(), 7)
    made = made.not_valid_before(ends - timedelta(days=1))
    made = made.not_valid_after(ends + timedelta(days=1))
    if names:
        made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return made.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


BATCH = certificate(SPIFFE)
OTHER = certificate("spiffe://example.org/other", dns="job.example")
PLAIN = certificate()
PRINT = x509.load_der_x509_certificate(PLAIN).fingerprint(hashes.SHA256()).hex()
CALLERS = f"""
[http]
socket = "s"
unix_peers = [{{ uid = 1001, id = "sidecar" }}, {{ uid = 1001, gid = 7, id = "seven" }}]

[http.proxy]
trusted = ["10.0.0.0/8", "2001:db8::/32", "unix:990"]

[[http.certificates]]
id = "batch"
uri = "{SPIFFE}"

[[http.certificates]]
id = "printed"
sha256 = "{PRINT.upper()}"

[[http.certificates]]
id = "job"
dns = "job.example"

[[http.clients]]
id = "scanner"
secret_hash = "{HASH}"
"""


def rfc9440(der: bytes) -> str:
    return f":{base64.b64encode(der).decode()}:"


def said(text: str = CALLERS) -> HttpSettings:
    return parse(text, Path.cwd(), {}).file.http


def edge(text: str = CALLERS) -> Edge:
    return Edge(said(text), lambda: NOW)


def request(
    *headers: tuple[str, str],
    client: tuple[str, int] | None = PROXY,
    peer: Peer | None = None,
) -> Request:
    return Request(
        {
            "type": "http",
            "client": client,
            "headers": [(name.encode(), value.encode()) for name, value in headers],
            "state": {} if peer is None else {STATE: peer},
        }
    )


@pytest.mark.parametrize(
    ("der", "expected"),
    [
        (BATCH, "cert:batch"),
        (PLAIN, "cert:printed"),
        (OTHER, "cert:job"),
        (certificate("spiffe://example.org/batch2"), None),
        (certificate(dns=SPIFFE.removeprefix("spiffe://")), None),
    ],
)
def test_a_certificate_names_its_caller_exactly(
    der: bytes, expected: str | None
) -> None:
    found = edge().caller_id(request(("client-cert", rfc9440(der))))
    assert found == (expected and (expected, "certificate"))


@pytest.mark.parametrize("form", ["rfc9440", "pem"])
def test_a_proxy_may_send_either_form_and_by_another_header(form: str) -> None:
    named = f'[http.proxy]\nheader = "x-ssl-cert"\nformat = "{form}"'
    rules = edge(CALLERS.replace("[http.proxy]", named))
    pem = x509.load_der_x509_certificate(PLAIN).public_bytes(Encoding.PEM).decode()
    said = request(("x-ssl-cert", quote(pem) if form == "pem" else rfc9440(PLAIN)))
    assert rules.caller_id(said) == ("cert:printed", "certificate")
    assert rules.caller_id(request(("client-cert", rfc9440(BATCH)))) is None


@pytest.mark.parametrize(
    "value",
    [
        "x",
        ":x:",
        ":",
        base64.b64encode(BATCH).decode(),
        rfc9440(BATCH[:-1]),
        rfc9440(b"x" * 20_000),
        f"{rfc9440(BATCH)}, {rfc9440(BATCH)}",
        f"{rfc9440(BATCH)};a=1",
    ],
)
def test_what_is_no_certificate_is_refused_by_name(value: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        edge().caller_id(request(("client-cert", value)))
    assert refused.value.field == "client-cert"


@pytest.mark.parametrize("days", [-2, 2])
def test_a_certificate_counts_while_it_is_valid(days: int) -> None:
    late = certificate(SPIFFE, ends=NOW + timedelta(days=days))
    with pytest.raises(NotAuthenticatedError):
        edge().caller_id(request(("client-cert", rfc9440(late))))


def test_a_certificate_of_two_callers_is_neither_s() -> None:
    both = certificate(SPIFFE, dns="job.example")
    with pytest.raises(NotAuthenticatedError):
        edge().caller_id(request(("client-cert", rfc9440(both))))


@pytest.mark.parametrize("value", ["", "::"])
def test_a_proxy_without_a_certificate_to_bring_names_nobody(value: str) -> None:
    assert edge().caller_id(request(("client-cert", value))) is None


# Smuggling: RFC 9440 section 4.


@pytest.mark.parametrize("client", [STRANGER, ("127.0.0.1", 1), ("10.example", 1)])
def test_a_certificate_from_anywhere_else_is_refused(client: tuple[str, int]) -> None:
    with pytest.raises(InvalidRequest, match="trusted proxies"):
        edge().caller_id(request(("client-cert", rfc9440(BATCH)), client=client))


def test_a_header_that_stands_twice_is_refused() -> None:
    twice = [("client-cert", rfc9440(BATCH)), ("client-cert", rfc9440(OTHER))]
    with pytest.raises(InvalidRequest, match="twice"):
        edge().caller_id(request(*twice))


@pytest.mark.parametrize("name", ["client_cert", "client.cert", "client-cert-chain"])
def test_a_header_that_only_looks_like_it_says_nothing(name: str) -> None:
    assert edge().caller_id(request((name, rfc9440(BATCH)))) is None


def test_without_a_proxy_in_the_settings_the_header_says_nothing() -> None:
    plain = edge(f'[[http.clients]]\nid = "a"\nsecret_hash = "{HASH}"')
    for client in (PROXY, STRANGER):
        value = rfc9440(BATCH)
        assert plain.caller_id(request(("client-cert", value), client=client)) is None


@pytest.mark.parametrize(
    ("headers", "peer"),
    [
        ([("client-cert", rfc9440(BATCH))], None),
        ([], Peer(1001, 1001)),
    ],
)
def test_two_ways_to_authenticate_are_refused(
    headers: list[tuple[str, str]], peer: Peer | None
) -> None:
    with pytest.raises(InvalidRequest, match="in one way"):
        edge().caller_id(request(*headers, ("authorization", "Bearer x"), peer=peer))


def test_a_certificate_of_nobody_known_leaves_authorization_its_say() -> None:
    unknown = ("client-cert", rfc9440(certificate("spiffe://example.org/no")))
    assert edge().caller_id(request(unknown, ("authorization", "Bearer x"))) is None


# Unix peers.


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        (Peer(1001, 1001), "unix:sidecar"),
        (Peer(1001, 7), "unix:seven"),
        (Peer(1002, 7), None),
        (Peer(0, 0), None),
        (None, None),
    ],
)
def test_a_peer_is_who_the_kernel_says(peer: Peer | None, expected: str | None) -> None:
    found = edge().caller_id(request(client=None, peer=peer))
    assert found == (expected and (expected, "unix_socket"))


def test_a_proxy_may_come_by_the_socket_as_its_user() -> None:
    header = ("client-cert", rfc9440(BATCH))
    proxied = request(header, client=None, peer=Peer(990, 990))
    assert edge().caller_id(proxied) == ("cert:batch", "certificate")
    with pytest.raises(InvalidRequest, match="trusted proxies"):
        edge().caller_id(request(header, client=None, peer=Peer(1001, 1001)))


# Addresses.


@pytest.mark.parametrize(
    ("client", "lines", "expected"),
    [
        (STRANGER, ["198.51.100.1"], "192.0.2.7"),
        (PROXY, [], "10.0.0.9"),
        (PROXY, ["198.51.100.1"], "198.51.100.1"),
        (PROXY, ["6.6.6.6, 198.51.100.1"], "198.51.100.1"),
        (PROXY, ["6.6.6.6", "198.51.100.1, 10.1.1.1"], "198.51.100.1"),
        (PROXY, ["6.6.6.6, junk, 10.1.1.1"], "10.1.1.1"),
        (PROXY, ["junk"], "10.0.0.9"),
        (("::ffff:10.0.0.9", 1), ["2001:db9::1"], "2001:db9::1"),
        (("2001:db8::9", 1), ["198.51.100.1"], "198.51.100.1"),
        (None, ["198.51.100.1"], None),
    ],
)
def test_an_address_is_the_last_that_no_trusted_proxy_has(
    client: tuple[str, int] | None, lines: Sequence[str], expected: str | None
) -> None:
    headers = [("x-forwarded-for", line) for line in lines]
    assert edge().address(request(*headers, client=client)) == expected


# Settings.


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('[http.proxy]\ntrusted = ["proxy.example"]', "http.proxy.trusted[0]"),
        ('[http.proxy]\ntrusted = ["10.0.0.1/8"]', "http.proxy.trusted[0]"),
        ('[http.proxy]\ntrusted = ["unix:nginx"]', "http.proxy.trusted[0]"),
        ("[http.proxy]\ntrusted = []", "http.proxy.trusted"),
        ('[http.proxy]\ntrusted = ["::1"]\nheader = "a_b"', "http.proxy.header"),
        ('[[http.certificates]]\nid = "a"\ndns = "b"', "http.certificates"),
        ('[[http.certificates]]\nid = "a:b"\ndns = "b"', "http.certificates"),
        ('[[http.certificates]]\nid = "a"', "http.certificates[0]"),
        ('[[http.certificates]]\nid = "a"\ndns = "b"\nuri = "c"', "certificates[0]"),
        ('[[http.certificates]]\nid = "a"\nsha256 = "0f"', "http.certificates"),
        ('[[http.unix_peers]]\nid = "a"\nuid = 1', "http.unix_peers"),
        ('[http]\nlisten = ""', "http.listen"),
        ('[http]\nsocket = "s"\nsocket_mode = "0x1"', "http.socket_mode"),
        (
            CALLERS.replace("unix:990", "unix:1001"),
            "http.proxy.trusted",
        ),
        (CALLERS.replace('dns = "job.example"', f'uri = "{SPIFFE}"'), "certificates"),
        (CALLERS.replace("gid = 7, ", ""), "http.unix_peers"),
        (
            '[[http.issuers]]\nname = "cert"\nissuer = "https://a"\naudience = "x"',
            "http.issuers[0].name",
        ),
    ],
)
def test_settings_that_leave_open_who_calls_are_refused(text: str, field: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        said(text)
    assert field in refused.value.field


# Rates.


class Ticks:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_caller_has_its_burst_and_then_its_rate() -> None:
    ticks = Ticks()
    rules = Edge(said("[http]\nrequests_per_second = 2\nburst = 3"), _now, ticks)
    for _ in range(3):
        rules.admit("a")
    with pytest.raises(RateLimited) as refused:
        rules.admit("a")
    assert refused.value.retry_after == pytest.approx(0.5)
    rules.admit("b")
    ticks.now = 0.5
    rules.admit("a")


def test_a_pace_forgets_whom_it_has_not_seen_for_longest() -> None:
    """However many there are, memory has a bound."""
    pace = Pace(per_second=0.001, burst=1)
    for number in range(MAX_KEPT + 1):
        assert pace.take(str(number), 0.0) == 0.0
    assert pace.wait("1", 0.0) > 0
    assert pace.wait("0", 0.0) == 0.0


def test_failures_of_one_address_hold_up_that_address_until_a_minute_has_passed() -> (
    None
):
    ticks = Ticks()
    rules = Edge(said("[http]\nfailures_per_minute = 2"), _now, ticks)
    bad, good = request(client=STRANGER), request(client=PROXY)
    for _ in range(2):
        attempt = rules.attempt(bad)
        attempt.looks()
        attempt.failed()
    with pytest.raises(RateLimited):
        rules.attempt(bad).looks()
    rules.attempt(good).looks()
    ticks.now = 60
    rules.attempt(bad).looks()
    assert rules.failures == 2


def test_wrong_secrets_for_one_client_hold_up_no_other_behind_the_address() -> None:
    rules = edge()
    for _ in range(10):
        attempt = rules.attempt(request())
        attempt.looks("scanner")
        attempt.failed()
    with pytest.raises(RateLimited):
        rules.attempt(request()).looks("scanner")
    rules.attempt(request()).looks("other")
    rules.attempt(request()).looks()


def _now() -> datetime:
    return NOW


# Through the service.


def over(here: Service, text: str, client: tuple[str, int]) -> httpx.AsyncClient:
    """Return a client of the same broker, by other settings of its edge."""
    opened = here.life.opened
    rules = Edge(said(text), lambda: NOW)
    who = Authenticator([], {"scanner": HASH}, opened.clock, rules)
    app = build_app(http_service.Service(opened, who, here.settings))
    here.life.env.policy = Policy(
        tuple(
            CallerRule(caller=name, providers=frozenset({"cloud"}))
            for name in ("cert:batch", "scanner")
        ),
        "test",
    )
    transport = httpx.ASGITransport(app, client=client)
    return httpx.AsyncClient(transport=transport, base_url="http://b")


async def test_a_caller_by_certificate_is_recorded_with_its_address(
    here: Service,
) -> None:
    headers = {"Client-Cert": rfc9440(BATCH), "X-Forwarded-For": "198.51.100.1"}
    async with over(here, CALLERS, PROXY) as client:
        assert (await client.post(TOKEN, headers=headers)).status_code == 200
        headers["Client-Cert"] = rfc9440(OTHER)
        assert (await client.post(TOKEN, headers=headers)).status_code == 403
    assert [e["caller"] for e in here.journal()] == ["cert:batch", "cert:job"]
    entry, _ = await here.life.entries()
    assert entry.private is not None
    assert entry.private.actor is not None
    assert entry.private.actor.peer_ip == "198.51.100.1"


async def test_a_certificate_beside_a_secret_is_refused_on_both_endpoints(
    here: Service,
) -> None:
    headers = {"Client-Cert": rfc9440(BATCH)}
    form = {"client_id": "scanner", "client_secret": SECRET}
    async with over(here, CALLERS, PROXY) as client:
        by_header = await client.post(TOKEN, headers=headers, auth=("scanner", SECRET))
        by_form = await client.post(OAUTH, headers=headers, data=form)
    assert (by_header.status_code, by_header.json()["field"]) == (400, "authorization")
    assert (by_form.status_code, by_form.json()["error"]) == (400, "invalid_request")
    assert here.journal() == []


async def test_a_caller_over_its_rate_is_told_when_to_come_again(here: Service) -> None:
    """And the refusal is recorded: the caller is known."""
    text = CALLERS.replace("[http]", "[http]\nrequests_per_second = 0.01\nburst = 1", 1)
    async with over(here, text, PROXY) as client:
        headers = {"Client-Cert": rfc9440(BATCH)}
        assert (await client.post(TOKEN, headers=headers)).status_code == 200
        refused = await client.post(TOKEN, headers=headers)
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 100
    assert [e["outcome"] for e in here.journal()] == ["handed_out", "denied"]


async def test_attempts_that_prove_nobody_are_refused_unseen_and_not_stored(
    here: Service,
) -> None:
    """Who has proven itself before goes on, from the same address."""
    async with over(here, CALLERS, STRANGER) as client:
        assert (await client.post(TOKEN, auth=("scanner", SECRET))).status_code == 200
        answers: list[int] = []
        while 429 not in answers:
            wrong = await client.post(TOKEN, auth=("nobody", str(len(answers))))
            answers.append(wrong.status_code)
        assert set(answers[:-1]) == {401}
        assert len(answers) >= 10
        assert (await client.post(TOKEN, auth=("scanner", SECRET))).status_code == 200
    assert len(here.journal()) == 2
