"""Callers at a steady rate, an operator and an auditor, over replicas that answer."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from benchmarks.soak.ground import (
    AUDITOR,
    JOBS,
    OPERATOR,
    PROVIDER,
    SCANNERS,
    SCOPES,
    SECRET,
    Ground,
)
from benchmarks.soak.replicas import Replica
from benchmarks.soak.seen import Answer, Ending, Fetched, Seen
from grantledger.adapters.devserver.tokens import sha256

TIMEOUT_SECONDS = 60.0
UNDER_WAY = 400
OVERDUE_SECONDS = 5.0
TRIES = 3
CONSENT_AFTER_SECONDS = 1.0
FIRST_CHECKPOINT_SECONDS = 60.0
OK, CREATED, ACCEPTED, CONFLICT, GONE, UNAVAILABLE = 200, 201, 202, 409, 410, 503
NO_CONSENT = frozenset({"reauthorization_required", "revoked", "not_provisioned"})
PASSING = frozenset({"unavailable", "outcome_unknown", "rate_limited"})
"""Refusals after which a caller comes again."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Per second, all replicas together."""

    hand_outs: float
    rotations: float = 1.0
    revocations: float = 0.5
    audits: float = 1.0


@dataclass
class Load:
    """The clients; `run` returns when they have all ended.

    Attributes:
        lacking: subjects that consent is needed of, and since when.
    """

    ground: Ground
    replicas: list[Replica]
    subjects: list[str]
    seen: Seen
    choice: random.Random
    lacking: dict[str, float] = field(default_factory=dict[str, float])

    def __post_init__(self) -> None:
        """Let everybody prove themselves."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=30)
        self._http = httpx.AsyncClient(timeout=TIMEOUT_SECONDS, limits=limits)
        self._who: dict[str, dict[str, Any]] = {
            f"idp:{job}": {"headers": self.ground.headers(job)} for job in JOBS
        } | {one: {"auth": httpx.BasicAuth(one, SECRET)} for one in SCANNERS}
        self._operator = self.ground.headers(OPERATOR)
        self._auditor = self.ground.headers(AUDITOR)
        self._under_way = 0

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def run(self, rates: Rates, seconds: float) -> None:
        """Send for so long; then wait for what is under way."""
        until = time.monotonic() + seconds

        async def steadily(
            per_second: float, do: Callable[[float], Awaitable[None]]
        ) -> None:
            async with asyncio.TaskGroup() as sent:
                due = time.monotonic()
                while due < until:
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
                    if time.monotonic() - due > OVERDUE_SECONDS:
                        # This machine has no time for the load itself.
                        self.seen.late += 1
                    else:
                        sent.create_task(_awaited(do(due)))
                    due += 1 / per_second

        async with asyncio.TaskGroup() as kinds:
            for rate, do in (
                (rates.hand_outs, self.hand_out),
                (rates.rotations, self._rotate),
                (rates.revocations, self._revoke),
                (rates.audits, self._audit),
                (1.0, self._checkpoint),
            ):
                kinds.create_task(steadily(rate, do))
            kinds.create_task(self._consents(until))

    # -- callers

    async def hand_out(self, due: float) -> None:
        """Ask for a token of any grant, as any caller."""
        if self._under_way >= UNDER_WAY:
            self.seen.late += 1
            return
        self._under_way += 1
        try:
            subject = self.choice.choice(self.subjects)
            await self.ask(subject, self.choice.choice(list(self._who)))
        finally:
            self._under_way -= 1
        # From when it was due: a client that is slow itself does not look quick.
        self.seen.waited.append((due, time.monotonic() - due))

    async def ask(self, subject: str, caller: str) -> str:
        """Ask for a token; return the word of a refusal, empty for a token."""
        path = f"/v1/grants/{PROVIDER}/{subject}/token"
        body = {"scopes": ["files.read"], "reason": "soak"}
        began, answer = await self._post(path, body, **self._who[caller])
        if answer is None:
            return "broken"
        if answer.status_code == OK:
            said = answer.json()
            self.seen.answers.append(
                Answer(
                    request=said["request_id"],
                    token=sha256(said["access_token"]),
                    grant=said["grant_id"].replace("-", ""),
                    generation=said["generation"],
                    caller=caller,
                    began=began,
                    ended=time.monotonic(),
                )
            )
            return ""
        word = self._refused(answer, "hand-out")
        if word in NO_CONSENT:
            self.lacking.setdefault(subject, time.monotonic())
        return word

    # -- the operator

    async def consent(self, subject: str) -> bool:
        """Bring a new consent in; tell whether it is known to be stored."""
        token = self.ground.consented(subject)
        body = {
            "provider": PROVIDER,
            "subject": subject,
            "refresh_token": token,
            "scopes": list(SCOPES),
        }
        _, answer = await self._post("/v1/grants", body, headers=self._operator)
        return self._noted("consent", answer)

    async def _consents(self, until: float) -> None:
        while (now := time.monotonic()) < until:
            for subject, since in list(self.lacking.items()):
                if now - since < CONSENT_AFTER_SECONDS:
                    continue
                # Not known to be stored: who asks next says whether it is lacking.
                await self.consent(subject)
                self.lacking.pop(subject, None)
            await asyncio.sleep(0.1)

    async def _rotate(self, _due: float) -> None:
        subject = self.choice.choice(self.subjects)
        path = f"/v1/grants/{PROVIDER}/{subject}/rotate"
        _, answer = await self._post(path, None, headers=self._operator)
        self._noted("rotate", answer)

    async def _revoke(self, _due: float) -> None:
        subject = self.choice.choice(self.subjects)
        path = f"/v1/grants/{PROVIDER}/{subject}/revoke"
        body = {"reason_text": "soak"}
        _, answer = await self._post(path, body, headers=self._operator)
        if self._noted("revoke", answer) and answer is not None:
            said = answer.json()
            if not said["already"]:
                grant = said["grant_id"].replace("-", "")
                ending = Ending(grant, said["revoked_at"], time.monotonic())
                self.seen.endings.append(ending)

    # -- the auditor

    async def _audit(self, _due: float) -> None:
        subject = self.choice.choice(self.subjects)
        grant = f"/v1/grants/{PROVIDER}/{subject}"
        path = self.choice.choice(
            (
                "/v1/audit?limit=100",
                f"/v1/audit?limit=20&provider={PROVIDER}&outcome=denied",
                f"{grant}/history?limit=50",
                f"{grant}/obligations",
                "/v1/grants?limit=50",
            )
        )
        _, answer = await self._send("GET", path, headers=self._auditor)
        self._noted("audit", answer)

    async def _checkpoint(self, _due: float) -> None:
        replica = self._any()
        if replica is None:
            return
        url = f"{replica.url}/log/checkpoint"
        try:
            answer = await self._http.get(url, headers=self._auditor)
        except httpx.TransportError:
            self.seen.broken += 1
            return
        if answer.status_code == OK:
            fetched = Fetched(time.monotonic(), replica.number, answer.content)
            self.seen.fetched.append(fetched)
        else:
            self._refused(answer, "checkpoint")

    async def published(self) -> None:
        """Return when each replica has the log's first checkpoint.

        Raises:
            TimeoutError: one has none after a while.
        """
        async with asyncio.timeout(FIRST_CHECKPOINT_SECONDS):
            for replica in self.replicas:
                url = f"{replica.url}/log/checkpoint"
                while True:
                    answer = await self._http.get(url, headers=self._auditor)
                    if answer.status_code == OK:
                        break
                    await asyncio.sleep(0.1)

    # -- sending

    async def _post(
        self,
        path: str,
        body: Mapping[str, object] | None,
        **said: Any,  # noqa: ANN401 - as httpx takes them
    ) -> tuple[float, httpx.Response | None]:
        return await self._send("POST", path, json=body, **said)

    async def _send(
        self,
        method: str,
        path: str,
        **said: Any,  # noqa: ANN401 - as httpx takes them
    ) -> tuple[float, httpx.Response | None]:
        """Send to any replica, and to another where none was connected to.

        Only then: what was sent may have been done.
        """
        began = time.monotonic()
        for _ in range(TRIES):
            replica = self._any()
            began = time.monotonic()
            if replica is None:
                break
            try:
                url = f"{replica.url}{path}"
                return began, await self._http.request(method, url, **said)
            except httpx.ConnectError:
                await asyncio.sleep(0.05)
            except httpx.TransportError:
                break
        self.seen.broken += 1
        return began, None

    def _any(self) -> Replica | None:
        there = [one for one in self.replicas if one.url is not None]
        return self.choice.choice(there) if there else None

    def _noted(self, what: str, answer: httpx.Response | None) -> bool:
        if answer is None:
            return False
        done = answer.status_code in (OK, CREATED, ACCEPTED)
        if done:
            self.seen.done[what] += 1
        else:
            self._refused(answer, what)
        return done

    def _refused(self, answer: httpx.Response, what: str) -> str:
        """Note a refusal; return its word."""
        try:
            word = str(answer.json()["type"]).rpartition(":")[2]
        except (ValueError, KeyError):
            word = f"status {answer.status_code}"
        self.seen.refused[f"{what}: {word}"] += 1
        if word not in NO_CONSENT | PASSING:
            self.seen.wrong.append(f"{what}: {word}: {answer.text[:300]}")
        return word


async def _awaited(what: Awaitable[None]) -> None:
    await what
