"""RFC 3986 section 2.1: a user's name has one spelling in a path, and one owner.

Sent to a real process over a socket: a client library would tidy a path first.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.security.wire_scene import PROOF, Wire, status, wire

ODD = {
    "a null": "alice%00",
    "a line end": "alice%0a",
    "a carriage return": "alice%0d%0aX:%20y",
    "an escape": "%1b%5b2Jalice",
    "overlong UTF-8 of a slash": "alice%c0%af",
    "overlong UTF-8 of a dot": "%c0%ae%c0%ae",
    "half a character": "alice%e2%82",
    "a surrogate": "alice%ed%a0%80",
    "beyond Unicode": "alice%f4%90%80%80",
    "a mark that turns the text round": "alice%e2%80%ae",
    "a mark without width": "ali%e2%80%8bce",
    "too long": "a" * 513,
    "nothing": "",
}
OTHERS = {
    "up": "%2e%2e",
    "up, half encoded": ".%2e",
    "here": "%2e",
    "up and down": "%2e%2e%2falice",
    "encoded twice": "%2561lice",
    "a slash": "alice%2f",
    "a slash first": "%2falice",
    "a backslash": "..%5calice",
    "a semicolon": "alice;role=admin",
    "a question": "alice%3fx",
    "a fragment": "alice%23",
    "a plus": "al+ice",
    "a space": "alice%20",
    "another case": "Alice",
    "a full-width letter": "%ef%bd%81lice",
    "a letter of another alphabet": "%d0%b0lice",
}
PATHS = (
    "/v1/grants/cloud/bob/../alice/token",
    "/v1/grants/cloud/bob/%2e%2e/alice/token",
    "//v1/grants/cloud/alice/token",
    "/v1//grants/cloud/alice/token",
    "/v1/grants/cloud//alice/token",
    "/v1/grants/cloud/alice/token/",
    "/v1/grants/cloud/alice/token/token",
    "/healthz/../v1/grants/cloud/alice/token",
    "/V1/grants/cloud/alice/token",
    "/%2e/v1/grants/cloud/alice/token",
    "v1/grants/cloud/alice/token",
    "*",
)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    with wire(tmp_path_factory.mktemp("wire")) as made:
        yield made


def posted(here: Wire, path: str) -> bytes:
    """Ask as the caller that may have alice's token and nobody else's."""
    line = f"POST {path} HTTP/1.1".encode()
    return here.ask(b"Authorization: " + PROOF, b"Content-Length: 0", line=line)


def test_the_same_name_spelt_in_full_is_this_user(here: Wire) -> None:
    for name in ("alice", "%61lice", "%61%6c%69%63%65"):
        assert status(posted(here, f"/v1/grants/cloud/{name}/token")) == 200


def test_what_is_no_name_is_refused(here: Wire) -> None:
    for what, subject in ODD.items():
        said = posted(here, f"/v1/grants/cloud/{subject}/token")
        assert status(said) in {400, 403, 404}, what
        assert b"access_token" not in said


def test_no_other_spelling_is_this_user(here: Wire) -> None:
    for what, subject in OTHERS.items():
        said = posted(here, f"/v1/grants/cloud/{subject}/token")
        assert status(said) in {400, 403, 404}, what
        assert b"access_token" not in said


def test_a_path_is_taken_as_it_stands(here: Wire) -> None:
    for path in PATHS:
        said = posted(here, path)
        assert status(said) in {400, 404}, path
        assert b"location:" not in said.lower()
        assert b"access_token" not in said
