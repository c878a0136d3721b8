"""`/healthz` and `/readyz`: what a scheduler asks."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from grantledger.adapters.bootstrap.readiness import readiness
from grantledger.adapters.http import problems
from grantledger.adapters.http.service import Service


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
        self._settings = service.settings

    async def alive(self, _request: Request) -> Response:
        """Answer `GET /healthz`: the process turns."""
        return Response(b'{"status":"ok"}', media_type=problems.JSON)

    async def ready(self, _request: Request) -> Response:
        """Answer `GET /readyz`: see `readiness`; 503 where this process is unready."""
        found = await readiness(self._opened, self._settings)
        status = 200 if found.ready else 503
        return Response(msgspec.json.encode(found), status, media_type=problems.JSON)
