"""RFC 9112 section 11.2: no bytes are two requests to one reader and one to another.

Sent to a real process over a socket: the parser decides, before any of our code.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.http.scene import TOKEN
from tests.security.wire_scene import PROOF, Wire, status, wire

AUTH = b"Authorization: " + PROOF
JSON = b"Content-Type: application/json"
INNER = (
    f"POST {TOKEN} HTTP/1.1\r\nHost: b\r\nAuthorization: ".encode()
    + PROOF
    + b"\r\nContent-Length: 0\r\n\r\n"
)
HEADS = [
    [b"Content-Length: 0", b"Transfer-Encoding: chunked"],
    [b"Transfer-Encoding: chunked", b"Content-Length: 0"],
    [b"Content-Length: 0", b"Content-Length: 5"],
    [b"Content-Length: +0"],
    [b"Content-Length: 0x0"],
    [b"Content-Length: -1"],
    [b"Content-Length: 0, 0"],
    [b"Transfer-Encoding: xchunked"],
    [b"Transfer-Encoding: chunked, identity"],
    [b"Transfer-Encoding : chunked"],
    [b"Content-Length : 0"],
    [b"Content-Length: 0", b"X: a", b" folded: b"],
    [b"Content-Length: 0", b"X: a\x00b"],
    [b"Content-Length: 0", b"X\x00Y: a"],
    [b"Content-Length: 0", b"X Y: a"],
    [b"Content-Length: 0", b": a"],
    [b"Content-Length: 0", b"X: a\nAuthorization: Basic eA=="],
    [b"Content-Length: 0", b"X: a\rY: b"],
]
CHUNKS = [
    b"zz\r\n",
    b"5;\n\r\n",
    b"-1\r\n\r\n",
    b"1\r\nab\r\n0\r\n\r\n",
    b"0x0\r\n\r\n",
]
LINES = [
    b"POST " + TOKEN.encode() + b" HTTP/9.9",
    b"POST " + TOKEN.encode() + b"\xe9 HTTP/1.1",
    b"POST\t" + TOKEN.encode() + b" HTTP/1.1",
    b"PoSt " + TOKEN.encode() + b" HTTP/1.1",
]
HEADERS = [
    b"X_Forwarded_User: scanner",
    b"X-Forwarded-User: scanner",
    b"X-Client-Id: scanner",
    b"Authorization_: " + PROOF,
    b"HTTP_AUTHORIZATION: " + PROOF,
    b"Proxy-Authorization: " + PROOF,
    b"X-Authorization: " + PROOF,
]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    with wire(tmp_path_factory.mktemp("wire")) as made:
        yield made


def test_a_plain_request_is_answered(here: Wire) -> None:
    """What the other cases change is the only thing wrong with them."""
    assert status(here.ask(AUTH, b"Content-Length: 0")) == 200


def test_a_head_with_two_readings_is_refused_and_nothing_after_it_read(
    here: Wire,
) -> None:
    """A second request stands where a body would be: there is one answer, or none."""
    before = here.recorded()
    for headers in HEADS:
        said = here.ask(AUTH, *headers, body=b"0\r\n\r\n" + INNER)
        assert status(said) == 400, headers
    assert here.recorded() == before


def test_a_chunk_with_two_readings_is_refused(here: Wire) -> None:
    before = here.recorded()
    for chunks in CHUNKS:
        said = here.ask(AUTH, JSON, b"Transfer-Encoding: chunked", body=chunks + INNER)
        assert status(said) == 400, chunks
    assert here.recorded() == before


def test_a_request_line_with_two_readings_is_refused(here: Wire) -> None:
    for line in LINES:
        said = here.ask(AUTH, b"Content-Length: 0", line=line)
        assert not said or status(said) in {400, 404, 405}, line


def test_of_two_proofs_none_counts(here: Wire) -> None:
    """A proxy may have looked at the other one (RFC 9110 section 5.3)."""
    for pair in ((AUTH, b"Authorization: Basic eDp4"), (b"Authorization: x", AUTH)):
        said = here.ask(*pair, b"Content-Length: 0")
        assert status(said) == 401
        assert b'"title":"not authenticated"' in said


def test_no_other_header_proves_a_caller(here: Wire) -> None:
    """Nor one that a gateway of another kind would take for it."""
    for header in HEADERS:
        assert status(here.ask(header, b"Content-Length: 0")) == 401, header


def test_a_head_that_goes_on_and_on_is_cut_off(here: Wire) -> None:
    """RFC 6585 section 5: one line or many, it is not kept."""
    for head in (b"X: " + b"a" * 600_000, b"X: a\r\n" * 100_000, b"a" * 600_000):
        try:
            said = here.say(b"GET /healthz HTTP/1.1\r\nHost: b\r\n" + head)
        except (ConnectionResetError, BrokenPipeError):
            continue
        assert not said or status(said) in {400, 431}
    assert status(here.ask(line=b"GET /healthz HTTP/1.1")) == 200


def test_a_head_within_the_limit_is_taken_in_however_many_reads(here: Wire) -> None:
    many = [b"X-%d: " % number + b"a" * 1000 for number in range(20)]
    assert status(here.ask(AUTH, *many, b"Content-Length: 0")) == 200
    long = INNER.replace(b"\r\n\r\n", b"\r\nX: " + b"a" * 20_000 + b"\r\n\r\n")
    last = long.replace(b"Host: b", b"Host: b\r\nConnection: close")
    assert here.say(long + last).count(b"HTTP/1.1 200") == 2
