"""`/healthz` and `/readyz`: what a scheduler asks."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from grantledger.adapters.http import problems
from grantledger.adapters.http.service import Service
from grantledger.domain.errors import GrantledgerError


def routes(service: Service) -> list[BaseRoute]:
    """Return the probes of a service."""
    probes = _Probes(service)
    return [
        Route("/healthz", probes.alive, methods=["GET"]),
        Route("/readyz", probes.ready, methods=["GET"]),
    ]


class _Probes:
    def __init__(self, service: Service) -> None:
        self._opened = service.opened

    async def alive(self, _request: Request) -> Response:
        """Answer `GET /healthz`: the process turns."""
        return Response(b'{"status":"ok"}', media_type=problems.JSON)

    async def ready(self, _request: Request) -> Response:
        """Answer `GET /readyz`: the ledger answers, and its queue is not full."""
        opened = self._opened
        try:
            await opened.ledger.writable()
        except GrantledgerError as error:
            body = {"ready": False, "ledger": error.code}
            return Response(msgspec.json.encode(body), 503, media_type=problems.JSON)
        body = {"ready": True, "ledger": "ok", "queued": opened.ledger.queued}
        return Response(msgspec.json.encode(body), media_type=problems.JSON)
