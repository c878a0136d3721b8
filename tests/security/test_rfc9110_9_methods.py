"""RFC 9110 section 9: methods and headers that a browser or a scanner would try."""

from __future__ import annotations

from itertools import product

from tests.http.scene import OAUTH, TOKEN, Service
from tests.upstream.signing import JWKS, OTHER
from tests.upstream.support import reply

SAFE = {
    "cache-control": "no-store",
    "pragma": "no-cache",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
PATHS = (TOKEN, OAUTH, "/healthz", "/readyz", "/none", "/")


async def test_no_other_method_is_answered_or_echoed(here: Service) -> None:
    headers = {"Authorization": f"Bearer {here.bearer()}", "X-Canary": "canary"}
    methods = ("TRACE", "TRACK", "DEBUG", "PROPFIND", "PUT")
    for method, path in product(methods, PATHS):
        said = await here.client.request(method, path, headers=headers)
        assert said.status_code in {404, 405}
        assert "canary" not in said.text + str(said.headers)


async def test_no_other_origin_is_let_in(here: Service) -> None:
    """Neither before a request nor with it: no browser reads an answer elsewhere."""
    asks = {
        "Origin": "https://evil.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    for path in PATHS:
        before = await here.client.options(path, headers=asks)
        assert before.status_code in {404, 405}
        with_it = await here.client.post(path, headers=asks)
        for said in (before, with_it):
            assert not [name for name in said.headers if name.startswith("access-")]


async def test_every_answer_is_for_its_caller_alone(here: Service) -> None:
    bearer = {"Authorization": f"Bearer {here.bearer()}"}
    answers = [await here.client.request("GET", path) for path in PATHS]
    answers += [await here.client.post(path) for path in PATHS]
    answers += [await here.post(), await here.post(headers=bearer, content=b"x")]
    here.issuer.on(JWKS, reply({}, status=503))
    unknown = here.bearer(OTHER, header={"kid": "k9"})
    answers.append(await here.post(headers={"Authorization": f"Bearer {unknown}"}))
    assert {one.status_code for one in answers} >= {200, 401, 404, 405, 415, 503}
    for said in answers:
        assert {name: said.headers.get(name) for name in SAFE} == SAFE
        policy = said.headers["content-security-policy"].split("; ")
        assert {"default-src 'none'", "frame-ancestors 'none'"} <= set(policy)
        assert "set-cookie" not in said.headers
