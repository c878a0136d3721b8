"""RFC 8725 section 3.10: what a token says of its key is not believed."""

from __future__ import annotations

from tests.http.scene import Service
from tests.upstream.signing import JWKS, OTHER, RSA, jwk, segment
from tests.upstream.support import CannedServer, reply

KEY_IDS = [
    "../../../../dev/null",
    "file:///dev/null",
    "k1' OR '1'='1",
    "k1'; DROP TABLE events; --",
    "k1\x00",
    "k1\n",
    "$(id)",
    "|cat /etc/passwd",
    "k" * 256,
    "",
    "k\u0661",
]


async def test_a_key_id_is_compared_and_nothing_else(here: Service) -> None:
    """It names no file, no query, no command: signed by us or not, it is unknown."""
    for kid in KEY_IDS:
        for key in (RSA, OTHER):
            token = here.bearer(key, header={"kid": kid})
            said = await here.post(headers={"Authorization": f"Bearer {token}"})
            assert said.status_code == 401, kid
            assert not kid or kid not in said.text
    assert (await here.post()).status_code == 200


async def test_what_cannot_be_a_key_id_causes_no_request(here: Service) -> None:
    odd: list[object] = [7, ["k1"], {"k": 1}, "k" * 257]
    for kid in odd:
        head = segment({"alg": "RS256", "typ": "at+jwt", "kid": kid})
        token = ".".join([head, *here.bearer().split(".")[1:]])
        said = await here.post(headers={"Authorization": f"Bearer {token}"})
        assert said.status_code == 401, kid
    assert here.issuer.seen == []


async def test_a_key_that_the_token_brings_along_is_never_fetched(
    here: Service,
) -> None:
    async with CannedServer() as thief:
        url = f"{thief.url}/keys"
        thief.on("/keys", reply({"keys": [jwk(OTHER)]}))
        brought = {
            "jku": url,
            "x5u": url,
            "jwk": jwk(OTHER),
            "x5c": [url],
            "x5t": url,
        }
        for name, value in brought.items():
            token = here.bearer(OTHER, header={name: value})
            answer = await here.post(headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 401, name
        assert thief.connections == 0


async def test_a_flood_of_invented_key_ids_costs_the_issuer_one_fetch(
    here: Service,
) -> None:
    assert (await here.post()).status_code == 200
    asked = here.issuer.count(JWKS)
    for number in range(50):
        token = here.bearer(OTHER, header={"kid": f"k-{number}"})
        said = await here.post(headers={"Authorization": f"Bearer {token}"})
        assert said.status_code == 401
    assert here.issuer.count(JWKS) == asked + 1


async def test_a_flood_does_not_keep_a_server_down(here: Service) -> None:
    """Before the first keys have come, a fetch that failed is not repeated at once."""
    here.issuer.on(JWKS, reply({}, status=503))
    for number in range(30):
        token = here.bearer(OTHER, header={"kid": f"k-{number}"})
        said = await here.post(headers={"Authorization": f"Bearer {token}"})
        assert said.status_code == 503
        assert said.headers["retry-after"] == "5"
    assert here.issuer.count(JWKS) < 30


async def test_a_token_of_an_issuer_that_nobody_named_causes_no_request(
    here: Service,
) -> None:
    async with CannedServer() as thief:
        thief.describe()
        thief.on(JWKS, reply({"keys": [jwk(OTHER)]}))
        for issuer in (thief.url, f"{here.issuer.url}/", here.issuer.url.upper()):
            token = here.bearer(OTHER, iss=issuer)
            said = await here.post(headers={"Authorization": f"Bearer {token}"})
            assert said.status_code == 401
        assert thief.connections == 0
    assert here.issuer.seen == []
