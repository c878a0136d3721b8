"""Telemetry of whole processes: listeners, logs, and what is not installed."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from grantledger.adapters.bootstrap.watching import watching
from grantledger.adapters.devserver import DevServer, DevSettings
from grantledger.adapters.settings import parse
from grantledger.domain.errors import ConfigurationError, Unavailable
from tests.broker.scene import Home, Scene
from tests.cli.scene import Shell
from tests.house.tree import ROOT
from tests.support.fault_proxy import FaultProxy
from tests.telemetry.test_metrics import read

_METRICS = re.compile(r"metrics at http://127\.0\.0\.1:([0-9]+)/metrics")
WORKER = """
[worker]
metrics_listen = "127.0.0.1:0"
[telemetry]
log_level = "INFO"
log_format = "json"
"""


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with (
        DevServer("B", DevSettings(refresh_token_seconds=86_400)) as server,
        FaultProxy(server.issuer) as proxy,
    ):
        made = Scene(Home(tmp_path, callers=WORKER), server, proxy)
        made.configure()
        yield made


def test_a_worker_by_itself_has_metrics_and_logs_of_its_own(scene: Scene) -> None:
    scene.home.write()
    process = Shell(scene.home.path).start("worker")
    try:
        assert process.stderr is not None
        first, second = (json.loads(process.stderr.readline()) for _ in range(2))
        assert "looks after" in second["message"]
        found = _METRICS.search(first["message"])
        assert found is not None
        assert 'grantledger_ledger_refusing{reason=""} 0.0' in read(int(found[1]))
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "", "")
    finally:
        process.kill()


@pytest.mark.parametrize("table", ["http", "worker"])
def test_a_listener_that_is_none_or_taken_is_said_by_its_name(
    tmp_path: Path, table: str
) -> None:
    settings = parse(f'[{table}]\nmetrics_listen = "9464"', tmp_path, {})
    with (
        pytest.raises(ConfigurationError) as refused,
        watching(settings, getattr(settings.file, table)),
    ):
        pass
    assert refused.value.field == f"{table}.metrics_listen"
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        at = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = parse(f'[{table}]\nmetrics_listen = "{at}"', tmp_path, {})
        with (
            pytest.raises(Unavailable, match=at),
            watching(settings, getattr(settings.file, table)),
        ):
            pass


def test_traces_without_the_extra_are_refused_with_what_to_install() -> None:
    program = (
        "import sys; sys.modules['opentelemetry.sdk'] = None\n"
        "from pathlib import Path\n"
        "from grantledger.adapters.cli.logging_up import logging_of\n"
        "from grantledger.adapters.settings import parse\n"
        "from grantledger.adapters.telemetry.opened import telemetry_of\n"
        "text = '[telemetry]\\ntraces = \"http://127.0.0.1:9\"'\n"
        "settings = parse(text, Path('.'), {})\n"
        "logging_of(settings)\n"
        "try:\n"
        "    telemetry_of(settings, lambda: 0.0, metrics=False)\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("ConfigurationError telemetry.traces")
    assert "grantledger[otel]" in done.stdout


def test_nothing_of_telemetry_is_imported_for_a_broker_in_process() -> None:
    program = (
        "import sys, grantledger.adapters.bootstrap\n"
        "print([n for n in ('prometheus_client', 'opentelemetry') "
        "if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "[]\n"
