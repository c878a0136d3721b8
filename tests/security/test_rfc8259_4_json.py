"""RFC 8259 sections 4 and 9: JSON with one reading, and no deeper than it needs."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import httpx

from tests.http.scene import Service

LIMIT = 4096
TWICE = (
    b'{"scopes": ["files.read"], "scopes": ["files.write"]}',
    b'{"label": "default", "reason": "a", "label": "other"}',
    b'{"label": "default", "l\\u0061bel": "other"}',
)
DEEP = (
    b"[" * 4000,
    b'{"a":' * 800,
    b'{"scopes":' + b"[" * 2000 + b"]" * 2000 + b"}",
    b'{"reason":' + b'{"a":' * 600 + b"1" + b"}" * 600 + b"}",
)
ODD = (
    b'{"min_ttl_seconds": NaN}',
    b'{"min_ttl_seconds": Infinity}',
    b'{"min_ttl_seconds": 1e999}',
    b'{"newer_than": ' + b"9" * 4000 + b"}",
    b'{"newer_than": 1.5}',
    b'{"newer_than": -1}',
    b'{"newer_than": true}',
    b"{'label': 'default'}",
    b'{"label": "default",}',
    b'{"label": "default"} {}',
    b"\xef\xbb\xbf{}",
    b'{"label": "\xed\xa0\x80"}',
    b'{"label": "\\ud800"}',
    b'{"label": "a\\u0000b"}',
    b"null",
    b'"{}"',
)


async def sent(here: Service, body: bytes, kind: str = "json") -> httpx.Response:
    headers = {
        "Authorization": f"Bearer {here.bearer()}",
        "Content-Type": f"application/{kind}",
    }
    return await here.post(content=body, headers=headers)


async def test_a_name_that_stands_twice_is_refused(here: Service) -> None:
    """However it is spelt: one reader takes the first, another the last."""
    for body in TWICE:
        said = await sent(here, body)
        assert (said.status_code, said.json()["field"]) == (400, "body"), body
    assert here.life.scene.presented() == []


async def test_a_nested_body_is_refused_before_it_costs(here: Service) -> None:
    for body in DEEP:
        assert len(body) <= LIMIT
        assert (await sent(here, body)).status_code == 400, body[:20]
    assert here.life.scene.presented() == []
    assert (await here.post()).status_code == 200


async def test_what_only_some_readers_take_is_refused(here: Service) -> None:
    for body in ODD:
        assert (await sent(here, body)).status_code == 400, body[:40]
    assert here.life.scene.presented() == []


async def test_a_body_over_the_limit_is_refused(here: Service) -> None:
    """Whether it says its length or comes in pieces that do not."""

    async def pieces() -> AsyncGenerator[bytes]:
        for _ in range(LIMIT):
            yield b" " * 16

    said = await sent(here, b'{"reason": "' + b"a" * LIMIT + b'"}')
    assert said.status_code == 413
    assert (await here.post(content=pieces())).status_code == 413


async def test_another_kind_of_body_is_refused(here: Service) -> None:
    for kind in ("xml", "x-www-form-urlencoded", "json5", "jsonx"):
        assert (await sent(here, b"{}", kind)).status_code == 415, kind
