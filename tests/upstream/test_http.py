"""What was sent and what was not: the question that rotation hangs on."""

from __future__ import annotations

import gzip
import socket
import ssl
import time
import zlib
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import anyio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from grantledger.adapters.upstream.http import (
    BoundedHttp,
    HttpAnswer,
    TransportFailure,
)
from tests.upstream.support import START, CannedServer, Reply, silence


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def test_a_refused_connection_sent_nothing() -> None:
    async with BoundedHttp() as http:
        url = f"http://127.0.0.1:{_free_port()}/"
        answer = await http.request("POST", url, budget_seconds=5, content=b"x")
    assert answer == TransportFailure(sent=False, error="connect_failed")


async def test_a_name_that_does_not_resolve_sent_nothing() -> None:
    async with BoundedHttp() as http:
        answer = await http.request(
            "POST", "http://host.invalid/", budget_seconds=5, content=b"x"
        )
    assert isinstance(answer, TransportFailure)
    assert not answer.sent


async def test_no_budget_sends_nothing() -> None:
    async with CannedServer() as server, BoundedHttp() as http:
        answer = await http.request("GET", server.url, budget_seconds=0)
        assert server.connections == 0
    assert answer == TransportFailure(sent=False, error="timeout")


async def test_silence_after_the_request_may_have_been_sent() -> None:
    async with CannedServer() as server, BoundedHttp() as http:
        server.on("/", silence)
        answer = await http.request("GET", f"{server.url}/", budget_seconds=0.1)
    assert answer == TransportFailure(sent=True, error="timeout")


async def test_a_connection_closed_without_an_answer_may_have_been_sent() -> None:
    async with CannedServer() as server, BoundedHttp() as http:
        server.on("/", b"")
        answer = await http.request("GET", f"{server.url}/", budget_seconds=5)
    assert answer == TransportFailure(sent=True, error="connection_lost")


async def test_a_body_cut_short_is_no_answer() -> None:
    async with CannedServer() as server, BoundedHttp() as http:
        server.on("/", b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"a":')
        answer = await http.request("GET", f"{server.url}/", budget_seconds=5)
    assert answer == TransportFailure(sent=True, error="connection_lost", status=200)


async def test_nonsense_instead_of_http_may_have_been_sent() -> None:
    async with CannedServer() as server, BoundedHttp() as http:
        server.on("/", b"SSH-2.0-server\r\n\r\n")
        answer = await http.request("GET", f"{server.url}/", budget_seconds=5)
    assert answer == TransportFailure(sent=True, error="connection_lost")


async def test_a_connect_that_hangs_sent_nothing() -> None:
    """A full backlog: the handshake never ends, so no byte of the request left."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting: list[socket.socket] = []
        try:
            for _ in range(4):
                one = socket.socket()
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", port))
                waiting.append(one)
            async with BoundedHttp() as http:
                answer = await http.request(
                    "POST",
                    f"http://127.0.0.1:{port}/",
                    budget_seconds=0.3,
                    content=b"secret",
                )
        finally:
            for one in waiting:
                one.close()
    assert isinstance(answer, TransportFailure)
    assert answer.error in {"timeout", "connect_failed"}
    assert not answer.sent


class _PausedTls(ssl.SSLObject):
    """Holds the whole process up once the connection stands."""

    def selected_alpn_protocol(self) -> str | None:
        time.sleep(0.5)
        return super().selected_alpn_protocol()


async def test_a_process_held_up_past_its_budget_does_not_send(tmp_path: Path) -> None:
    """The lease may be another's by then: the last check is before the first byte."""
    path = _self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    trust = ssl.create_default_context(cafile=path)
    trust.sslobject_class = _PausedTls
    async with (
        CannedServer(context=context) as server,
        BoundedHttp(ssl_context=trust) as http,
    ):
        server.on("/", Reply(200))
        answer = await http.request(
            "POST", f"{server.url}/", budget_seconds=0.4, content=b"secret"
        )
        assert server.connections == 1
        assert server.seen == []
    assert answer == TransportFailure(sent=False, error="timeout")


async def test_a_full_pool_sent_nothing() -> None:
    async with CannedServer() as server, BoundedHttp(max_connections=1) as http:
        server.on("/slow", silence)
        server.on("/", Reply(200))
        async with anyio.create_task_group() as group:

            async def occupy() -> None:
                await http.request("GET", f"{server.url}/slow", budget_seconds=60)

            group.start_soon(occupy)
            await anyio.sleep(0.1)
            answer = await http.request("POST", f"{server.url}/", budget_seconds=0.2)
            assert isinstance(answer, TransportFailure)
            assert answer.error == "timeout"
            assert not answer.sent
            group.cancel_scope.cancel()


async def test_every_request_has_a_connection_of_its_own() -> None:
    async with CannedServer() as server, BoundedHttp() as http:
        server.on("/", Reply(200))
        for _ in range(3):
            await http.request("GET", f"{server.url}/", budget_seconds=5)
        assert server.connections == 3
        assert server.last("/").headers["connection"] == "close"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(status: int) -> None:
    async with CannedServer() as server, BoundedHttp() as http:
        server.on("/", Reply(status, b"", {"Location": f"{server.url}/other"}))
        answer = await http.request(
            "POST", f"{server.url}/", budget_seconds=5, content=b"secret"
        )
        assert isinstance(answer, HttpAnswer)
        assert answer.status == status
        assert server.count("/other") == 0


async def test_no_cookie_is_kept() -> None:
    async with CannedServer() as server, BoundedHttp() as http:
        server.on("/", Reply(200, b"", {"Set-Cookie": "session=alice"}))
        for _ in range(2):
            await http.request("GET", f"{server.url}/", budget_seconds=5)
        assert "cookie" not in server.last("/").headers


async def test_no_proxy_is_taken_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with CannedServer() as proxy, CannedServer() as server:
        server.on("/", Reply(200))
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        async with BoundedHttp() as http:
            await http.request("GET", f"{server.url}/", budget_seconds=5)
        assert proxy.connections == 0
        assert server.count("/") == 1


async def test_a_body_over_the_limit_is_not_read() -> None:
    async with CannedServer() as server, BoundedHttp() as http:
        server.on("/", Reply(200, b"x" * 1001))
        answer = await http.request(
            "GET", f"{server.url}/", budget_seconds=5, body_limit_bytes=1000
        )
    assert isinstance(answer, HttpAnswer)
    assert answer.unreadable
    assert answer.body == b""


@pytest.mark.parametrize(
    ("encoding", "raw"),
    [
        ("gzip", gzip.compress(b'{"a": 1}', mtime=0)),
        ("deflate", zlib.compress(b'{"a": 1}')),
        ("identity", b'{"a": 1}'),
    ],
)
async def test_a_compression_nobody_asked_for_is_undone(
    encoding: str, raw: bytes
) -> None:
    async with CannedServer() as server, BoundedHttp() as http:
        server.on("/", Reply(200, raw, {"Content-Encoding": encoding}))
        answer = await http.request("GET", f"{server.url}/", budget_seconds=5)
        assert server.last("/").headers["accept-encoding"] == "identity"
    assert isinstance(answer, HttpAnswer)
    assert answer.body == b'{"a": 1}'


@pytest.mark.parametrize(
    ("encoding", "raw"),
    [
        ("gzip", gzip.compress(b"x" * 2000, mtime=0)),
        ("gzip", gzip.compress(b"cut short", mtime=0)[:-6]),
        ("gzip", b"no gzip at all"),
        ("br", b"anything"),
    ],
)
async def test_a_compressed_body_that_cannot_be_undone_is_unreadable(
    encoding: str, raw: bytes
) -> None:
    async with CannedServer() as server, BoundedHttp() as http:
        server.on("/", Reply(200, raw, {"Content-Encoding": encoding}))
        answer = await http.request(
            "GET", f"{server.url}/", budget_seconds=5, body_limit_bytes=1000
        )
    assert isinstance(answer, HttpAnswer)
    assert answer.unreadable


async def test_an_untrusted_certificate_sent_nothing(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_self_signed(tmp_path))
    async with CannedServer(context=context) as server, BoundedHttp() as http:
        answer = await http.request(
            "POST", f"{server.url}/", budget_seconds=5, content=b"secret"
        )
        assert server.seen == []
    assert answer == TransportFailure(sent=False, error="connect_failed")


async def test_a_private_authority_can_be_trusted(tmp_path: Path) -> None:
    path = _self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    trust = ssl.create_default_context(cafile=path)
    async with (
        CannedServer(context=context) as server,
        BoundedHttp(ssl_context=trust) as http,
    ):
        server.on("/", Reply(200, b"hello"))
        answer = await http.request("GET", f"{server.url}/", budget_seconds=5)
    assert isinstance(answer, HttpAnswer)
    assert answer.body == b"hello"


async def test_an_answer_does_not_show_its_body() -> None:
    async with CannedServer() as server, BoundedHttp() as http:
        server.on("/", Reply(200, b"canary-body", {"X-Canary": "canary-header"}))
        answer = await http.request("GET", f"{server.url}/", budget_seconds=5)
    assert "canary" not in repr(answer)


async def test_the_callers_cancellation_passes() -> None:
    async with CannedServer() as server, BoundedHttp() as http:
        server.on("/", silence)
        with anyio.move_on_after(0.1) as scope:
            await http.request("GET", f"{server.url}/", budget_seconds=60)
    assert scope.cancelled_caught


def _self_signed(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    address = x509.IPAddress(ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(START - timedelta(days=3650))
        .not_valid_after(START + timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
