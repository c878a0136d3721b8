"""The main job, step by step: consent, hand out, expire, rotate, exchange, revoke."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

import anyio

from grantledger.adapters.cli.consenting import consent
from grantledger.adapters.cli.demo.browser import Browser
from grantledger.adapters.cli.demo.scene import (
    AUDIENCE,
    FRONT,
    RESOURCE,
    USER,
    Scene,
)
from grantledger.adapters.cli.demo.telling import Teller
from grantledger.adapters.cli.identity import local_caller
from grantledger.adapters.cli.output import short
from grantledger.domain.errors import GrantledgerError
from grantledger.domain.requests import (
    Caller,
    HandedOut,
    RevocationReceipt,
    TokenRequest,
)
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import AccessToken, ActorKind, RevocationReason, Source

CALLERS = (
    Caller("calendar-sync"),
    Caller("mail-digest"),
    Caller("mcp-server", ActorKind.AGENT),
)
CONSENT_SECONDS = 20.0
JUST_AFTER_SECONDS = 0.1


@dataclass(slots=True)
class Outcome:
    """What came of the story, for those who check it.

    Attributes:
        handed_out: how many tokens left.
        rounds: of each round, how many refreshes the server saw for how many calls.
        refused: the error's name after the revocation, None when none came.
    """

    handed_out: int = 0
    refused: str | None = None
    exchange: str | None = None
    receipt: RevocationReceipt | None = None
    dead_after: bool = False
    rounds: list[tuple[int, int]] | None = None


class Story:
    """One telling of the main job."""

    def __init__(self, scene: Scene, teller: Teller) -> None:
        self._scene = scene
        self._teller = teller
        self._broker = scene.opened.broker
        self.outcome = Outcome(rounds=[])

    async def run(self) -> Outcome:
        """Go through all of it."""
        await self._consent()
        await self._at_once(
            "hand out", "three callers at once; consent brought a token"
        )
        await self._early()
        await self._expired()
        await self._rotate()
        await self._exchange()
        await self._revoke()
        await self._again()
        return self.outcome

    async def _consent(self) -> None:
        scene = self._scene
        browser = Browser(USER)
        stored: list[UserGrant] = []
        async with anyio.create_task_group() as tasks:

            async def go(url: str) -> None:
                tasks.start_soon(browser.walk, url)

            grant = await consent(
                scene.opened,
                local_caller(),
                scene.key.provider,
                scene.callback,
                go,
                label=scene.key.label,
                timeout_seconds=CONSENT_SECONDS,
            )
            stored.append(grant)
        state = stored[0].state
        self._teller.say(
            "consent",
            f"{state.subject} agreed in the browser and was redirected to "
            f"{scene.callback.redirect_uri}",
            "code, PKCE S256, state, nonce and iss are right; "
            f"granted {' '.join(state.provisioning.scopes)}",
        )

    async def _at_once(self, name: str, what: str) -> list[HandedOut]:
        before = self._refreshes()
        handed: list[HandedOut] = []

        async def one(caller: Caller) -> None:
            answer = await self._broker.hand_out(caller, TokenRequest(self._scene.key))
            handed.append(answer)

        async with anyio.create_task_group() as tasks:
            for caller in CALLERS:
                tasks.start_soon(one, caller)
        self.outcome.handed_out += len(handed)
        self._scene.tokens += [h.access_token.reveal() for h in handed]
        refreshes = self._refreshes() - before
        tokens = len({h.access_token.reveal() for h in handed})
        if self.outcome.rounds is not None:
            self.outcome.rounds.append((len(handed), refreshes))
        sources = Counter(str(h.source) for h in handed)
        said = ", ".join(f"{n} {source}" for source, n in sources.items())
        left = (handed[0].expires_at - datetime.now(UTC)).total_seconds()
        self._teller.say(
            name,
            what,
            f"{_counted(len(handed), 'hand-out')} recorded ({said}), "
            f"{_counted(tokens, 'token')} with {left:.1f} s left, "
            f"{_counted(refreshes, 'refresh', 'refreshes')} at the server",
        )
        return handed

    async def _early(self) -> None:
        state = (await self._current()).state
        newest = state.access_tokens[-1]
        lives = newest.expires_at - newest.obtained_at
        await self._until(newest.expires_at - lives / 4)
        left = (newest.expires_at - datetime.now(UTC)).total_seconds()
        await self._at_once(
            "early",
            f"{left:.1f} of {lives.total_seconds():.0f} s are left, which counts as "
            "missing; three callers at once",
        )

    async def _expired(self) -> None:
        state = (await self._current()).state
        await self._until(state.access_tokens[-1].expires_at)
        await self._at_once("expired", "the token is over; three callers at once")

    async def _rotate(self) -> None:
        before = (await self._current()).state.refresh
        grant = await self._broker.rotate(local_caller(), self._scene.key)
        after = grant.state.refresh
        if before is None or after is None:
            raise AssertionError("a usable grant holds a refresh token")
        self._teller.say(
            "rotate",
            f"refresh token R:{short(before.fingerprint)} is spent, "
            f"R:{short(after.fingerprint)} is stored",
        )

    async def _exchange(self) -> None:
        scene = self._scene
        session = scene.server.issue_session_token(USER, FRONT, ("openid", "profile"))
        scene.tokens.append(session)
        caller = Caller("mcp-server", ActorKind.AGENT)
        try:
            answer = await self._broker.exchange_session(
                caller,
                scene.key.provider,
                AccessToken(session),
                scopes=("openid", "profile"),
                audience=AUDIENCE,
            )
        except GrantledgerError as error:
            self.outcome.exchange = error.code
            self._teller.say(
                "exchange",
                "this server has no token exchange (RFC 8693): the broker says "
                f"{error.code}",
            )
            return
        self.outcome.exchange = str(answer.source)
        self.outcome.handed_out += answer.source is Source.EXCHANGED
        scene.tokens.append(answer.access_token.reveal())
        self._teller.say(
            "exchange",
            f"{USER}'s session at {FRONT} became a token for {RESOURCE}",
            f"RFC 8693; {AUDIENCE!r} became `resource` by the provider's table; "
            f"scopes {' '.join(answer.scopes)}",
        )

    async def _revoke(self) -> None:
        scene = self._scene
        held = await self._broker.hand_out(CALLERS[0], TokenRequest(scene.key))
        self.outcome.handed_out += 1
        token = held.access_token.reveal()
        scene.tokens.append(token)
        receipt = await self._broker.revoke(
            local_caller(),
            scene.key,
            reason=RevocationReason.USER,
            reason_text="the demo is over",
        )
        self.outcome.receipt = receipt
        self.outcome.dead_after = not scene.still_taken(token)
        if receipt.confirmed:
            upstream = (
                f"the server confirmed the end of "
                f"{_counted(len(receipt.obligations), 'token')} and their family"
            )
        else:
            upstream = (
                "this server has no revocation, so tokens live on until they expire"
            )
        live = sum(line.count for line in receipt.live)
        self._teller.say(
            "revoke",
            "ended here at once; " + upstream,
            f"{_counted(live, 'hand-out')} made before had not expired by then",
        )

    async def _again(self) -> None:
        try:
            await self._broker.hand_out(CALLERS[1], TokenRequest(self._scene.key))
        except GrantledgerError as refused:
            self.outcome.refused = refused.code
            self._teller.say("try again", f"refused ({refused.code}), and recorded")
        else:
            self._teller.say("try again", "HANDED OUT AFTER THE REVOCATION")

    async def _current(self) -> UserGrant:
        grant = await self._broker.status(self._scene.key)
        if grant is None:
            raise AssertionError("the grant was stored")
        return grant

    async def _until(self, at: datetime) -> None:
        left = (at - datetime.now(UTC)).total_seconds()
        await anyio.sleep(max(left, 0.0) + JUST_AFTER_SECONDS)

    def _refreshes(self) -> int:
        return self._scene.server.state.token_request_counts["refresh_token"]


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
