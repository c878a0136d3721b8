"""Security events that are sent: receivers are told of what was revoked."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from grantledger.adapters.bootstrap.sampling import sampled
from grantledger.adapters.http.announcing import KEYS, MAX_EVENTS, POLL
from grantledger.adapters.upstream.announcements import SECEVENT, EventReceiver
from grantledger.adapters.upstream.security_events import SESSION_REVOKED
from grantledger.domain.announcing import GIVE_UP_AFTER, Announcing, Notice, Told
from grantledger.domain.errors import ConfigurationError
from grantledger.domain.values import GrantKey, RevocationReason
from tests.bootstrap.scene import ShiftedClock
from tests.broker.scene import CALLER
from tests.http.scene import SECRET, Service, service
from tests.upstream.support import Answer, CannedServer, Reply, reply

ISSUER = "https://broker.example"
PUSH = "/events"
TAKEN = Reply(202)
DOWN = Reply(503)
ALICE = GrantKey("cloud", "alice")
DRIVE = 'providers = ["drive"]'


@cache
def pem(bits: int = 2048) -> str:
    key = generate_private_key(65537, bits)
    made = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made.decode()


@dataclass
class Sending:
    """The service, and who is told."""

    service: Service
    clock: ShiftedClock
    receiver: CannedServer

    @property
    def announcing(self) -> Announcing:
        return self.service.life.opened.announcing

    async def revoked(self, key: GrantKey = ALICE) -> None:
        """Have a grant revoked that the receivers were known before."""
        await self.announcing.tend()
        await self.service.life.broker.revoke(
            CALLER, key, reason=RevocationReason.INCIDENT, settle=False
        )

    async def tend(self, **later: float) -> int:
        self.clock.seconds += timedelta(**later).total_seconds()
        return await self.announcing.tend()

    def pushed(self) -> list[dict[str, Any]]:
        """The claims of every token that was pushed; the signatures are checked."""
        signer = self.service.life.opened.receivers.signer
        assert signer is not None
        (key,) = jwt.PyJWKSet.from_dict(signer.keys()).keys
        return [
            jwt.decode(
                one.body,
                key,
                algorithms=["RS256"],
                audience="soc",
                options={"verify_iat": False},  # the clock is moved
            )
            for one in self.receiver.seen
        ]

    def told(self) -> list[tuple[str, str, str]]:
        return [
            (entry["outcome"], entry["caller"], entry["reason"])
            for entry in self.service.journal()
            if entry["outcome"].startswith("event_")
        ]

    async def poll(self, **said: object) -> httpx.Response:
        return await self.service.client.post(POLL, json=said, auth=("scanner", SECRET))


@dataclass
class Slow:
    """A receiver that takes each event, after a minute."""

    clock: ShiftedClock
    told: list[str] = field(default_factory=list[str])
    providers: frozenset[str] = frozenset()
    polls: bool = False

    async def push(self, notice: Notice) -> Told:
        self.clock.seconds += 60
        self.told.append(notice.id)
        return Told()


@asynccontextmanager
async def sending(
    tmp_path: Path, more: str = "", *, polls: bool = False, mirror: str | None = None
) -> AsyncGenerator[Sending]:
    (tmp_path / "set.pem").write_text(pem(), encoding="utf-8")
    (tmp_path / "soc.secret").write_text("canary-soc-secret", encoding="utf-8")
    clock = ShiftedClock()
    async with CannedServer() as receiver:
        receiver.on(PUSH, TAKEN)
        where = f'url = "{receiver.url}{PUSH}"\nsecret_file = "soc.secret"'
        settings = f"""
[announcements]
issuer = "{ISSUER}"
key_file = "set.pem"

[[announcements.receivers]]
name = "soc"
audience = "soc"
{'caller = "scanner"' if polls else where}
{more}
"""
        async with service(tmp_path, http=settings, clock=clock, mirror=mirror) as made:
            yield Sending(made, clock, receiver)


async def test_a_receiver_is_told_of_a_revocation(tmp_path: Path) -> None:
    async with sending(tmp_path) as there:
        await there.revoked()
        assert await there.tend() == 1
        (sent,) = there.receiver.seen
        assert sent.headers["content-type"] == SECEVENT
        assert sent.headers["authorization"] == "Bearer canary-soc-secret"
        head = jwt.get_unverified_header(sent.body)
        assert (head["typ"], head["alg"]) == ("secevent+jwt", "RS256")
        (claims,) = there.pushed()
        (event,) = [
            e
            for e in await there.service.life.events()
            if type(e).__name__ == "Revoked"
        ]
        assert claims.keys() == {"iss", "jti", "iat", "aud", "txn", "sub_id", "events"}
        assert (claims["iss"], claims["txn"]) == (ISSUER, event.request_id)
        assert claims["jti"].startswith(event.event_id.hex)
        assert claims["sub_id"] == {
            "format": "complex",
            "user": {
                "format": "iss_sub",
                "iss": there.service.life.scene.server.issuer,
                "sub": "alice",
            },
            "session": {"format": "opaque", "id": str(event.originator_id)},
        }
        assert claims["events"] == {
            SESSION_REVOKED: {
                "event_timestamp": int(event.timestamp.timestamp()),
                "initiating_entity": "system",
                "reason_admin": {"en": "incident"},
            }
        }
        assert "hmac-sha256" not in json.dumps(claims)
        assert there.told() == [("event_acknowledged", "receiver:soc", "acknowledged")]
        entry = there.service.journal()[-1]
        assert entry["request_id"] == event.request_id
        assert await there.tend(days=1) == 0, "it is owed no more"
        assert len(there.receiver.seen) == 1


async def test_it_is_told_again_with_the_same_id_until_it_acknowledges(
    tmp_path: Path,
) -> None:
    async with sending(tmp_path) as there:
        there.receiver.on(PUSH, DOWN, Reply(500), TAKEN)
        await there.revoked()
        assert await there.tend() == 0
        assert await there.tend(seconds=1) == 0
        assert len(there.receiver.seen) == 1, "not before its time"
        assert await there.tend(minutes=2) == 0
        assert there.told() == []
        assert await there.tend(minutes=5) == 1
        ids = {claims["jti"] for claims in there.pushed()}
        assert (len(there.receiver.seen), len(ids)) == (3, 1)
        assert [word for word, _, _ in there.told()] == ["event_acknowledged"]


async def test_a_receiver_says_when_to_come_again(tmp_path: Path) -> None:
    async with sending(tmp_path) as there:
        there.receiver.on(PUSH, Reply(429, headers={"Retry-After": "3600"}), TAKEN)
        await there.revoked()
        await there.tend()
        assert await there.tend(minutes=59) == 0
        assert await there.tend(minutes=2) == 1


async def test_a_slow_receiver_ends_its_round_and_the_rest_comes_in_the_next(
    tmp_path: Path,
) -> None:
    async with sending(tmp_path) as there:
        life = there.service.life
        bob = GrantKey("cloud", "bob")
        await life.provision(life.scene.consent(key=bob))
        await there.revoked(ALICE)
        await life.broker.revoke(CALLER, bob, settle=False)
        slow = Slow(there.clock)
        name = "receiver:soc"
        ledger = life.opened.ledger
        announcing = Announcing(life.env, ledger.duties, ledger, {name: slow})
        assert [await announcing.tend() for _ in range(3)] == [1, 1, 0]
        assert len(set(slow.told)) == 2


async def test_two_replicas_tell_it_once(tmp_path: Path) -> None:
    async with (
        sending(tmp_path) as there,
        there.service.life.scene.open(clock=there.clock, provision=False) as other,
    ):
        await there.revoked()
        told = [await there.tend(), await other.opened.announcing.tend()]
        assert (told, len(there.receiver.seen)) == ([1, 0], 1)


@pytest.mark.parametrize(
    "answer",
    [
        Reply(302, headers={"Location": "http://127.0.0.1:1/"}),
        Reply(200),
        reply({"err": "invalid_audience", "description": "who?"}, 400),
        Reply(400, b"\xff{"),
    ],
)
async def test_only_202_is_an_acknowledgement(tmp_path: Path, answer: Answer) -> None:
    """RFC 8935 section 2.2; nobody is followed anywhere."""
    async with sending(tmp_path) as there:
        there.receiver.on(PUSH, answer, TAKEN)
        await there.revoked()
        assert await there.tend() == 0
        assert there.told() == []
        assert await there.tend(hours=1) == 1


async def test_who_never_takes_it_is_given_up_and_that_is_recorded(
    tmp_path: Path,
) -> None:
    async with sending(tmp_path) as there:
        there.receiver.on(PUSH, reply({"err": "invalid_key"}, 400))
        await there.revoked()
        await there.tend()
        await there.tend(days=GIVE_UP_AFTER.days)
        assert there.told() == [("event_abandoned", "receiver:soc", "invalid_key")]
        assert await there.tend(days=1) == 0
        assert len(there.receiver.seen) == 2


async def test_of_an_erased_grant_no_user_is_named(tmp_path: Path) -> None:
    async with sending(tmp_path) as there:
        await there.revoked()
        life = there.service.life
        await life.broker.erase(CALLER, ALICE, abandon=True)
        await there.tend()
        (claims,) = there.pushed()
        assert claims["sub_id"]["format"] == "opaque"
        assert "alice" not in json.dumps(claims)
        assert [word for word, _, _ in there.told()] == ["event_acknowledged"]


async def test_a_receiver_of_other_providers_is_not_told(tmp_path: Path) -> None:
    more = """providers = ["drive"]
[providers.drive]
issuer = "https://drive.example"
client_id = "broker"
auth_method = "none"
"""
    async with sending(tmp_path, more) as there:
        await there.revoked()
        assert await there.tend() == 0
        assert there.receiver.seen == []
        assert await there.service.life.opened.ledger.duties.waiting() == {}


# -- polled (RFC 8936)


async def test_a_receiver_asks_for_its_events_and_acknowledges_them(
    tmp_path: Path,
) -> None:
    async with sending(tmp_path, polls=True) as there:
        await there.revoked()
        await there.tend()
        first = (await there.poll()).json()
        again = (await there.poll(maxEvents=1)).json()
        assert first["sets"].keys() == again["sets"].keys()
        assert first["moreAvailable"] is False
        ((jti, token),) = first["sets"].items()
        claims = jwt.decode(token, options={"verify_signature": False})
        assert claims["jti"] == jti
        said = await there.poll(ack=[jti, "unheard-of"], maxEvents=0)
        assert said.json() == {"sets": {}, "moreAvailable": False}
        assert there.told() == [("event_acknowledged", "receiver:soc", "acknowledged")]
        assert (await there.poll(ack=[jti])).json()["sets"] == {}
        assert len(there.told()) == 1


async def test_who_would_take_more_is_given_as_many_as_there_are(
    tmp_path: Path,
) -> None:
    async with sending(tmp_path, polls=True) as there:
        await there.revoked()
        said = await there.poll(maxEvents=MAX_EVENTS * 10)
        assert (said.status_code, len(said.json()["sets"])) == (200, 1)


async def test_events_of_other_providers_hide_none_and_are_not_recorded(
    tmp_path: Path,
) -> None:
    async with sending(tmp_path, DRIVE, polls=True, mirror="drive") as there:
        life = there.service.life
        drive = GrantKey("drive", "alice")
        await life.provision(life.scene.consent(key=drive))
        await there.revoked(ALICE)
        await there.revoked(drive)
        said = (await there.poll(maxEvents=1)).json()
        assert (len(said["sets"]), said["moreAvailable"]) == (1, False)


async def test_what_a_receiver_is_not_told_of_is_not_given_up(tmp_path: Path) -> None:
    async with sending(tmp_path, DRIVE, polls=True, mirror="drive") as there:
        await there.revoked(ALICE)
        await there.tend(days=GIVE_UP_AFTER.days + 1)
        assert there.told() == []
        assert await there.service.life.opened.ledger.duties.waiting() == {}


async def test_what_it_does_not_take_is_given_up_with_its_words(tmp_path: Path) -> None:
    async with sending(tmp_path, polls=True) as there:
        await there.revoked()
        (jti,) = (await there.poll()).json()["sets"]
        error = {"err": "invalid_request", "description": "no"}
        assert (await there.poll(setErrs={jti: error})).json()["sets"] == {}
        assert there.told() == [("event_abandoned", "receiver:soc", "refused")]


async def test_what_nobody_asks_for_in_time_is_given_up(tmp_path: Path) -> None:
    async with sending(tmp_path, polls=True) as there:
        await there.revoked()
        await there.tend()
        assert there.told() == []
        await there.tend(days=GIVE_UP_AFTER.days + 1)
        assert there.told() == [("event_abandoned", "receiver:soc", "not_asked_for")]


async def test_other_callers_are_no_receivers(tmp_path: Path) -> None:
    async with sending(tmp_path, polls=True) as there:
        said = await there.service.post(POLL, json={})
        assert (said.status_code, said.json()["reason"]) == (403, "no_receiver")
        bare = await there.service.client.post(POLL, json={})
        assert bare.status_code == 401


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"maxEvents": -1}, "maxEvents"),
        ({"ack": ["x"] * (MAX_EVENTS + 1)}, "ack"),
        ({"ack": "x"}, "ack"),
    ],
)
async def test_a_request_out_of_bounds_is_refused(
    tmp_path: Path, said: dict[str, object], field: str
) -> None:
    async with sending(tmp_path, polls=True) as there:
        answer = await there.poll(**said)
        assert (answer.status_code, answer.json()["field"]) == (400, field)


async def test_the_keys_are_for_everybody(tmp_path: Path) -> None:
    async with sending(tmp_path) as there:
        await there.revoked()
        await there.tend()
        keys = (await there.service.client.get(KEYS)).json()
        (key,) = keys["keys"]
        head = jwt.get_unverified_header(there.receiver.seen[0].body)
        assert (key["kid"], key["alg"]) == (head["kid"], "RS256")
        assert key.keys() == {"kty", "n", "e", "kid", "use", "alg"}, "nothing private"


# -- settings


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ('caller = "job"', "announcements.receivers[0].url"),
        ('providers = ["nowhere"]', "announcements.receivers[0].providers"),
        (
            '[[announcements.receivers]]\nname = "soc"\naudience = "x"\ncaller = "a"',
            "announcements.receivers[0].name",
        ),
        (
            '[[announcements.receivers]]\nname = "b"\naudience = "x"\nurl = "http://x/"',
            "announcements.receivers[1].url",
        ),
    ],
)
async def test_settings_that_cannot_be_meant_are_refused(
    tmp_path: Path, more: str, field: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        async with sending(tmp_path, more):
            pass
    assert caught.value.field == field


async def test_a_short_key_is_refused_by_name(tmp_path: Path) -> None:
    async with sending(tmp_path) as there:
        (tmp_path / "set.pem").write_text(pem(1024), encoding="utf-8")
        with pytest.raises(ConfigurationError) as caught:
            async with there.service.life.scene.open(provision=False):
                pass
        assert caught.value.field == "announcements.key_file"


async def test_no_receiver_shows_its_secret(tmp_path: Path) -> None:
    async with sending(tmp_path) as there:
        shown = repr(there.service.life.opened.receivers.by_name)
        assert EventReceiver.__name__ in shown
        assert "canary" not in shown


async def test_what_is_owed_is_a_metric(tmp_path: Path) -> None:
    async with sending(tmp_path) as there:
        there.receiver.on(PUSH, DOWN)
        await there.revoked()
        await there.tend()
        sample = await sampled(there.service.life.opened, tmp_path)
        assert sample.untold == 1
