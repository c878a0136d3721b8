"""What can go wrong with one request, as data for the fault proxy.

A fault says what happens by means of a `Hold`: the request as the proxy has it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

_HUGE_BYTES = 11 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete response.

    Attributes:
        headers: without hop-by-hop headers and Content-Length.
    """

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()

    def with_body(self, body: bytes) -> Answer:
        """Return this answer with another body."""
        return replace(self, body=body)


def json_answer(
    status: int, body: object, headers: Mapping[str, str] | None = None
) -> Answer:
    """Return a JSON answer."""
    more = tuple((headers or {}).items())
    typed = (("Content-Type", "application/json"), *more)
    return Answer(status, json.dumps(body).encode(), typed)


class Hold(Protocol):
    """One request in the hands of a fault."""

    def forward(self) -> Answer:
        """Send the request on and return the upstream's answer."""
        ...

    def send(self, answer: Answer, *, byte_seconds: float = 0) -> None:
        """Give the client `answer`; one byte per `byte_seconds`, unless 0."""
        ...

    def send_in_halves(self, answer: Answer, stop: Callable[[], bool]) -> None:
        """Give the client half of the body, and the rest unless `stop` says so."""
        ...

    def hang(self) -> None:
        """Answer nothing until the client or the proxy closes."""
        ...

    def wait_for(self, event: threading.Event) -> None:
        """Wait until `event` is set or the proxy closes."""
        ...

    def reset(self) -> None:
        """Close the client's connection by TCP RST."""
        ...


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one request.

    Names in capitals are ready to use; the static methods make the others.
    """

    name: str
    act: Callable[[Hold], None] = field(repr=False)

    PASS: ClassVar[Fault]
    TIMEOUT_BEFORE: ClassVar[Fault]
    TIMEOUT_AFTER: ClassVar[Fault]
    RESET_BEFORE: ClassVar[Fault]
    RESET_AFTER: ClassVar[Fault]
    HUGE_BODY: ClassVar[Fault]
    INVALID_JSON: ClassVar[Fault]
    NO_ACCESS_TOKEN: ClassVar[Fault]
    NO_REFRESH_TOKEN: ClassVar[Fault]
    REDIRECT_302: ClassVar[Fault]
    UNAUTHORIZED_ODD: ClassVar[Fault]
    THROTTLED: ClassVar[Fault]

    @staticmethod
    def slow_drip(byte_milliseconds: float = 20) -> Fault:
        """Forward, then give the body one byte per so many milliseconds."""
        seconds = byte_milliseconds / 1000
        return Fault(
            "slow_drip",
            lambda exchange: exchange.send(exchange.forward(), byte_seconds=seconds),
        )

    @staticmethod
    def held_after(release: threading.Event) -> Fault:
        """Forward, then keep the answer back until `release` is set."""

        def act(exchange: Hold) -> None:
            answer = exchange.forward()
            exchange.wait_for(release)
            exchange.send(answer)

        return Fault("held_after", act)

    @staticmethod
    def held_before(release: threading.Event) -> Fault:
        """Keep the request back until `release` is set, then forward it."""

        def act(exchange: Hold) -> None:
            exchange.wait_for(release)
            exchange.send(exchange.forward())

        return Fault("held_before", act)

    @staticmethod
    def status(
        status: int,
        body: bytes | str = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Fault:
        """Answer instead of the upstream, which never sees the request."""
        raw = body.encode() if isinstance(body, str) else body
        answer = Answer(status, raw, tuple((headers or {}).items()))
        return Fault(f"status({status})", lambda exchange: exchange.send(answer))

    @staticmethod
    def redirect_307(url: str) -> Fault:
        """Ask the client to send the same request, secrets included, to `url`."""
        return replace(Fault.status(307, b"", {"Location": url}), name="redirect_307")

    @staticmethod
    def rewrite_json(change: Callable[[dict[str, Any]], object]) -> Fault:
        """Forward, and give what `change` makes of the upstream's JSON object."""

        def act(exchange: Hold) -> None:
            answer = exchange.forward()
            changed = change(json.loads(answer.body))
            exchange.send(answer.with_body(json.dumps(changed).encode()))

        return Fault("rewrite_json", act)


def _without(name: str) -> Fault:
    def change(body: dict[str, Any]) -> object:
        return {key: value for key, value in body.items() if key != name}

    return replace(Fault.rewrite_json(change), name=f"without {name}")


def _timeout_after(exchange: Hold) -> None:
    exchange.forward()
    exchange.hang()


def _reset_after(exchange: Hold) -> None:
    exchange.forward()
    exchange.reset()


def _canned(name: str, answer: Answer) -> Fault:
    return Fault(name, lambda exchange: exchange.send(answer))


Fault.PASS = Fault("pass", lambda exchange: exchange.send(exchange.forward()))
Fault.TIMEOUT_BEFORE = Fault("timeout_before", lambda exchange: exchange.hang())
Fault.TIMEOUT_AFTER = Fault("timeout_after", _timeout_after)
Fault.RESET_BEFORE = Fault("reset_before", lambda exchange: exchange.reset())
Fault.RESET_AFTER = Fault("reset_after", _reset_after)
Fault.NO_ACCESS_TOKEN = _without("access_token")
Fault.NO_REFRESH_TOKEN = _without("refresh_token")
Fault.HUGE_BODY = _canned(
    "huge_body", json_answer(200, {"access_token": "x" * _HUGE_BYTES})
)
Fault.INVALID_JSON = _canned(
    "invalid_json",
    Answer(200, b'{"access_token": "', (("Content-Type", "application/json"),)),
)
Fault.REDIRECT_302 = _canned(
    "redirect_302", Answer(302, b"", (("Location", "/index.php/login"),))
)
Fault.UNAUTHORIZED_ODD = _canned("unauthorized_odd", json_answer(401, {"message": ""}))
Fault.THROTTLED = _canned(
    "throttled", json_answer(429, {"message": "Reached maximum delay"})
)
