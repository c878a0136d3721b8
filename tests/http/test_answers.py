"""Answers that are written at once: the same to a client as in the ordinary way."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from grantledger.adapters.http.answers import HEADERS, TokenAnswer
from grantledger.adapters.http.protocol import ANSWERED, CYCLE
from tests.http.test_connections import Application, rest_of, settings, talking

BODY = b'{"access_token":"t"}'
POST = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"
CLOSE = b"Connection: close\r\n"


class Tokens(Application):
    """Answers with a token, in the ordinary way where it is told to."""

    ordinary = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer once the body is here."""
        await receive()
        self.scopes.append(scope)
        if self.ordinary:
            del scope[CYCLE]
        answer = TokenAnswer(BODY)
        answer.raw_headers += HEADERS
        await answer(scope, receive, send)


async def said(folder: Path, app: Tokens, sent: bytes) -> list[bytes]:
    """Return the answers to what is sent, up to the end of the connection."""
    async with talking(app, settings(folder)) as stream:
        await stream.send(sent)
        whole = await rest_of(stream)
    *answers, rest = whole.split(BODY)
    assert not rest
    return answers


def lines(answer: bytes) -> list[bytes]:
    """Return status and headers in any order; the time is left out."""
    found = answer.split(b"\r\n")
    return sorted(line for line in found if not line.startswith(b"date:"))


async def test_it_says_what_the_ordinary_way_does(tmp_path: Path) -> None:
    sent = (POST + b"\r\n{}") + (POST + CLOSE + b"\r\n{}")
    at_once, ordinary = Tokens(), Tokens()
    ordinary.ordinary = True
    first, last = await said(tmp_path, at_once, sent)
    usual, usual_last = await said(tmp_path, ordinary, sent)
    assert lines(first) == lines(usual)
    assert lines(last) == lines(usual_last)
    assert b"connection: close" in last
    assert b"\r\ndate: " in first
    assert [scope.get(ANSWERED) for scope in at_once.scopes] == [200, None]
    assert [scope.get(ANSWERED) for scope in ordinary.scopes] == [None, None]


@pytest.mark.parametrize("ordinary", [False, True])
async def test_pipelined_requests_are_answered_in_turn(
    tmp_path: Path, *, ordinary: bool
) -> None:
    app = Tokens()
    app.ordinary = ordinary
    sent = (POST + b"\r\n{}") * 3 + (POST + CLOSE + b"\r\n{}")
    assert len(await said(tmp_path, app, sent)) == 4
