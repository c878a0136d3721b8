"""A watched broker and service in this process, and what its metrics say."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from grantledger.adapters.bootstrap import OpenBroker, open_broker
from grantledger.adapters.bootstrap.ledgers import spool_of
from grantledger.adapters.bootstrap.sampling import sampled
from grantledger.adapters.devserver import DevServer, DevSettings
from grantledger.adapters.http.app import build_app
from grantledger.adapters.http.service import Service
from grantledger.adapters.http.serving import authenticator
from grantledger.adapters.settings import Settings
from grantledger.adapters.telemetry.metrics import Metrics
from grantledger.adapters.telemetry.opened import Telemetry
from grantledger.adapters.telemetry.tracing import Traces
from tests.broker.scene import RESOURCE, Home, Life, Scene
from tests.http.scene import SECRET, TOKEN, rules
from tests.support.fault_proxy import FaultProxy

ISSUER = "https://idp.example"


@dataclass
class Watched:
    """The service, and everything that watches it."""

    http: httpx.AsyncClient
    life: Life
    metrics: Metrics
    spans: InMemorySpanExporter

    @property
    def opened(self) -> OpenBroker:
        return self.life.opened

    async def sample(self) -> None:
        settings = self.life.scene.home.settings()
        self.metrics.sampled(await sampled(self.opened, spool_of(settings)))

    def value(self, name: str, **labels: str) -> float:
        """Return a sample's value, 0 where there is none."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def named(self, name: str) -> list[ReadableSpan]:
        return [one for one in self.spans.get_finished_spans() if one.name == name]

    async def ask(
        self, path: str = TOKEN, *, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        return await self.http.post(path, headers=headers, auth=("scanner", SECRET))


@asynccontextmanager
async def watched(
    tmp_path: Path, *, forward: bool = False, tend: bool = False
) -> AsyncGenerator[Watched]:
    """Open a watched broker with alice's grant, and the application over it."""
    async with AsyncExitStack() as stack:
        said = DevSettings(refresh_token_seconds=86_400, resources=(RESOURCE,))
        server = stack.enter_context(DevServer("B", said))
        proxy = stack.enter_context(FaultProxy(server.issuer))
        scene = Scene(Home(tmp_path, callers=rules(ISSUER)), server, proxy)
        scene.configure()
        settings: Settings = scene.home.settings()
        spans = InMemorySpanExporter()
        traces = Traces(
            SimpleSpanProcessor(spans), node="n", system="sqlite", forward=forward
        )
        metrics = Metrics(settings.file.providers)
        telemetry = Telemetry(metrics, traces, time.monotonic)
        stack.callback(telemetry.close)
        opened = await stack.enter_async_context(
            open_broker(settings, tend=tend, watch=telemetry)
        )
        life = Life(scene, opened, opened.broker)
        await life.provision()
        who = await stack.enter_async_context(
            authenticator(settings, opened.clock, telemetry)
        )
        app = build_app(Service(opened, who, settings), telemetry)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        http = await stack.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url="http://broker")
        )
        yield Watched(http, life, metrics, spans)
