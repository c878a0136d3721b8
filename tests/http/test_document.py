"""The OpenAPI document is true: it names every route, and nothing in it is a lie."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
from starlette.routing import Route

from grantledger.adapters.devserver import DevServer, DevSettings
from grantledger.adapters.http.app import PARTS
from tests.broker.scene import Home, Scene
from tests.cli.scene import Shell
from tests.http.scene import HASH, SECRET, Service
from tests.http.test_serving import listening
from tests.support.fault_proxy import FaultProxy

EXAMPLES = int(os.environ.get("GRANTLEDGER_TEST_EXAMPLES", "12"))
"""For each operation; a long run takes hundreds."""

PAGES = re.compile(r"/connect/.*")
"""For browsers and people, who read no document."""

SETTINGS = f"""
[http]
listen = "127.0.0.1:0"
failures_per_minute = 1e6
secret_failures_per_minute = 1e6

[[http.clients]]
id = "scanner"
secret_hash = "{HASH}"

[[callers]]
id = "scanner"
roles = ["caller", "operator", "auditor", "responder"]
"""

# A 400 to what its schema allows: which characters print only Unicode's tables say, and
# no schema says that one time comes after another, that one of two is needed, or that
# a scope was granted. RFC 6749 section 5.2 makes such a 400. Everywhere else it is an
# error, as every other finding is.
SCHEMATHESIS = """
hooks = "hooks.py"

[headers]
Authorization = "Basic {secret}"

[checks.positive_data_acceptance]
expected-statuses = [{usual}]

[[operations]]
include-path-regex = "{{(provider|subject)}}|^/v1/grants$|^/oauth/|/incid|/ev|/di|/aud"
checks.positive_data_acceptance.expected-statuses = [{usual}, 400]
"""
HOOKS = """
import json
import schemathesis

@schemathesis.serializer("application/secevent+jwt")
def as_text(context, value):
    return str(value).encode("utf-8", "replace")

@schemathesis.deserializer("application/x-ndjson")
def last_line(context, response):
    lines = response.content.splitlines()
    return json.loads(lines[-1]) if lines else {}
"""
USUAL = [*range(200, 210), *range(300, 309), 401, 403, 404, 409, 410, 429, 502, 503]


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
            if PAGES.fullmatch(route.path):
                continue
            path = route.path.replace("{rest:path}", "{provider}/{subject}")
            path = path.replace("{tile:path}", "{tile}")
            routes |= {(method, path) for method in route.methods or ()}
    missing = {(m, p) for m, p in routes - said if m != "HEAD"}
    assert missing == set()


async def test_every_answer_that_is_no_success_is_a_problem(here: Service) -> None:
    document: dict[str, Any] = (await here.client.get("/openapi.json")).json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["operationId"], (method, path)
            assert operation["summary"], (method, path)
            for status, answer in operation["responses"].items():
                if status.startswith(("4", "5")) and path.startswith("/v1/"):
                    assert set(answer["content"]) == {"application/problem+json"}


async def test_nothing_is_found_that_the_document_does_not_say(tmp_path: Path) -> None:
    """schemathesis with all its checks, against the service as a process."""
    with (
        DevServer("B", DevSettings(refresh_token_seconds=86_400)) as server,
        FaultProxy(server.issuer) as proxy,
    ):
        scene = Scene(Home(tmp_path, callers=SETTINGS), server, proxy)
        scene.configure()
        async with scene.open():
            pass
        scene.home.write()
        process = Shell(scene.home.path).start("serve")
        try:
            where = await anyio.to_thread.run_sync(listening, process)
            secret = base64.b64encode(f"scanner:{SECRET}".encode()).decode()
            usual = ", ".join(map(str, USUAL))
            (tmp_path / "hooks.py").write_text(HOOKS)
            config = tmp_path / "schemathesis.toml"
            config.write_text(SCHEMATHESIS.format(secret=secret, usual=usual))
            done = await anyio.run_process(
                [
                    str(Path(sys.executable).with_name("schemathesis")),
                    f"--config-file={config}",
                    "run",
                    f"{where}/openapi.json",
                    "--checks=all",
                    f"--max-examples={EXAMPLES}",
                    "--seed=1",
                    "--generation-database=none",
                    "--no-color",
                    "--request-timeout=30",
                ],
                stderr=subprocess.STDOUT,
                check=False,
                cwd=tmp_path,
            )
        finally:
            process.terminate()
            await anyio.to_thread.run_sync(process.communicate)
    said = "\n".join(line[:300] for line in done.stdout.decode().splitlines())
    assert done.returncode == 0, said
    [(selected, every, tested)] = re.findall(
        r"Selected: (\d+)/(\d+)\s+Tested: (\d+)", said
    )
    assert selected == every == tested
