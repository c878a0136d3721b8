"""RFC 6750 sections 2.2, 2.3: a proof stands in one header, and nowhere else."""

from __future__ import annotations

from itertools import product

from tests.http.scene import OAUTH, SECRET, TOKEN, Service


async def test_a_token_in_the_query_is_no_proof(here: Service) -> None:
    """Queries stand in logs and histories."""
    bearer = here.bearer()
    names = ("access_token", "token", "authorization", "bearer")
    for path, name in product((TOKEN, OAUTH), names):
        said = await here.post(path, params={name: bearer}, headers={}, json={})
        assert said.status_code in {401, 415}
        assert bearer not in said.text
    assert await here.life.entries() == []


async def test_a_clients_secret_in_the_query_is_no_proof(here: Service) -> None:
    pair = {"client_id": "scanner", "client_secret": SECRET}
    for path in (TOKEN, OAUTH):
        said = await here.post(path, params=pair, headers={}, data={"a": "b"})
        assert said.status_code == 401


async def test_a_token_in_the_body_is_no_proof(here: Service) -> None:
    said = await here.post(OAUTH, data={"access_token": here.bearer()}, headers={})
    assert (said.status_code, said.json()["error"]) == (401, "invalid_client")


async def test_a_cookie_is_no_proof(here: Service) -> None:
    """So that no web page can ask with a browser's."""
    headers = {"Cookie": f"access_token={here.bearer()}; session={SECRET}"}
    assert (await here.post(headers=headers)).status_code == 401


async def test_one_header_holds_one_proof(here: Service) -> None:
    for proof in ("Bearer {0}, Bearer {0}", "Bearer {0} {0}", "{0}"):
        headers = {"Authorization": proof.format(here.bearer())}
        assert (await here.post(headers=headers)).status_code == 401, proof


async def test_a_huge_token_is_refused_unread(here: Service) -> None:
    for token in ("a" * 20_000, here.bearer(pad="a" * 20_000)):
        headers = {"Authorization": f"Bearer {token}"}
        assert (await here.post(headers=headers)).status_code == 401
    assert here.issuer.seen == []
