"""What is counted, and that no label is a caller's text."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from grantledger.adapters.telemetry.metrics import Metrics, expose, forget
from grantledger.domain.errors import InvalidSubjectToken, LedgerRestored, Unavailable
from tests.broker.scene import CALLER, until
from tests.broker.scene import TOKEN as UPSTREAM
from tests.house.tree import ROOT
from tests.http.scene import SECRET
from tests.support.faults import Fault
from tests.telemetry.scene import Watched, watched

ROUTE = "/v1/grants/{provider}/{subject}/token"
MANAGED = "/v1/grants/{provider}/{subject}"


async def test_hand_outs_are_counted_by_provider_source_and_outcome(
    here: Watched,
) -> None:
    await here.ask()
    await here.ask()
    for source, count in (("fresh", 1), ("cached", 1), ("token_exchange", 0)):
        said = here.value(
            "grantledger_access_total",
            provider="cloud",
            outcome="handed_out",
            source=source,
        )
        assert said == count, source


async def test_denials_are_counted_by_words_and_never_by_what_a_caller_said(
    here: Watched,
) -> None:
    """An unknown provider's name is a caller's text, and so is a user's."""
    await here.ask("/v1/grants/canary-provider/canary-user/token")
    await here.ask("/v1/grants/cloud/canary-user/token")
    denied = "grantledger_denials_total"
    assert here.value(denied, provider="other", reason="invalid_request") == 1
    assert here.value(denied, provider="cloud", reason="no_rule") == 1
    assert b"canary" not in generate_latest(here.metrics.registry)


def test_a_reason_that_is_no_word_is_another() -> None:
    metrics = Metrics(["cloud"])
    words = [f"word_{n}" for n in range(100)]
    kept = {metrics._word(word) for word in ["A b", *words]}  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - the bound itself
    assert len(kept) == 65
    assert "A b" not in kept


async def test_requests_are_timed_by_the_template_of_their_route(
    here: Watched,
) -> None:
    await here.ask()
    await here.http.get("/healthz")
    await here.http.get("/canary-path")
    await here.http.get("/v1/grants/cloud/canary", auth=("scanner", SECRET))
    await here.http.request("CANARY", "/healthz")
    for method, route, status in (
        ("POST", ROUTE, "200"),
        ("GET", "/healthz", "200"),
        ("GET", "", "404"),
        ("GET", MANAGED, "403"),
        ("_OTHER", "/healthz", "405"),
    ):
        count = here.value(
            "http_server_request_duration_seconds_count",
            http_request_method=method,
            http_route=route,
            http_response_status_code=status,
        )
        assert count == 1, route
    assert b"canary" not in generate_latest(here.metrics.registry).lower()


async def test_redemptions_are_timed_by_provider_and_outcome(here: Watched) -> None:
    await here.ask()
    here.life.scene.proxy.plan(UPSTREAM, Fault.status(503))
    with pytest.raises(Unavailable):
        await here.life.rotate()
    for outcome in ("answered", "transient"):
        count = here.value(
            "grantledger_upstream_operation_duration_seconds_count",
            provider="cloud",
            operation="redeem",
            outcome=outcome,
        )
        assert count == 1, outcome
    for what, outcome, count in (("form", "2xx", 1), ("form", "5xx", 1)):
        sent = here.value(
            "grantledger_upstream_requests_total",
            server="cloud",
            what=what,
            outcome=outcome,
        )
        assert sent == count


async def test_fetches_of_metadata_and_keys_are_told_apart(here: Watched) -> None:
    with suppress(InvalidSubjectToken):
        await here.opened.providers["cloud"].keys.key(None, "RS256")
    for what in ("metadata", "jwks"):
        said = here.value(
            "grantledger_upstream_requests_total",
            server="cloud",
            what=what,
            outcome="2xx",
        )
        assert said == 1, what


async def test_a_broker_shows_what_it_is_now(here: Watched) -> None:
    await here.ask()
    await here.sample()
    assert here.value("grantledger_cached_grants") == 1
    assert here.value("grantledger_ledger_refusing", reason="") == 0
    assert here.value("grantledger_provider_up", provider="cloud") == 1
    assert here.value("grantledger_obligations_open", provider="cloud") == 0
    here.life.scene.proxy.plan("/revoke", Fault.status(503), 9)
    await here.life.broker.revoke(CALLER, here.life.scene.key)
    await here.sample()
    assert here.value("grantledger_obligations_open", provider="cloud") >= 1
    assert here.value("grantledger_residual_exposure_seconds") > 0


async def test_a_ledger_that_refuses_is_shown_with_its_reason(here: Watched) -> None:
    here.opened.ledger.memory.refusal = LedgerRestored("told elsewhere")
    await here.sample()
    said = "grantledger_ledger_refusing"
    assert here.value(said, reason="ledger_restored") == 1
    here.opened.ledger.memory.refusal = None
    await here.sample()
    assert here.value(said, reason="ledger_restored") == 0


async def test_group_commits_are_counted(here: Watched) -> None:
    before = here.value("grantledger_commit_duration_seconds_count")
    await here.ask()
    assert here.value("grantledger_commit_duration_seconds_count") > before
    assert here.value("grantledger_commit_units_count", kind="entry") >= 1
    assert here.value("grantledger_commit_units_count", kind="append") >= 1


async def test_how_far_the_audit_trail_is_behind_is_shown(here: Watched) -> None:
    await here.ask()
    await here.sample()
    assert here.value("grantledger_audit_lag_leaves") > 0
    assert here.value("grantledger_audit_lag_seconds") > 0
    await here.opened.ledger.complete_audit()
    await here.sample()
    assert here.value("grantledger_audit_lag_leaves") == 0
    assert here.value("grantledger_audit_lag_seconds") == 0


async def test_late_and_failed_checkpoints_are_shown(here: Watched) -> None:
    publisher, outcome = here.opened.publisher, "grantledger_checkpoints_total"
    assert await publisher.publish() is not None
    await here.sample()
    assert here.value("grantledger_checkpoint_age_seconds") == 0
    assert here.value(outcome, outcome="published") == 1
    await here.ask()
    publisher.said.publish_seconds = 0
    here.opened.ledger.memory.refusal = LedgerRestored("told elsewhere")
    with pytest.raises(LedgerRestored):
        await publisher.publish()
    await here.sample()
    assert here.value("grantledger_checkpoint_age_seconds") > 0
    assert here.value(outcome, outcome="failed") == 1


async def test_rounds_of_the_worker_are_counted(tmp_path: Path) -> None:
    async with watched(tmp_path, tend=True) as here:
        for work in ("settle", "clients", "expire", "rotate", "hot"):
            await until(partial(rounds, here, work))


def rounds(here: Watched, work: str) -> float:
    return here.value("grantledger_worker_rounds_total", work=work, outcome="done")


def test_metrics_are_exposed_on_a_listener_of_their_own() -> None:
    metrics = Metrics(["cloud"])
    port, stop = expose("127.0.0.1", 0, metrics.registry)
    try:
        with pytest.raises(Unavailable):
            expose("127.0.0.1", port, metrics.registry)
        text = read(port)
    finally:
        stop()
    families = {one.name for one in text_string_to_metric_families(text)}
    assert {"grantledger_build_info", "process_resident_memory_bytes"} <= families


async def test_callers_find_no_metrics_on_their_port(here: Watched) -> None:
    assert (await here.http.get("/metrics")).status_code == 404


def test_several_processes_are_added_up(tmp_path: Path) -> None:
    """Each writes into one directory; whoever exposes reads it."""
    program = (
        "import os\n"
        "from grantledger.adapters.telemetry.metrics import Metrics\n"
        "from grantledger.adapters.telemetry.watch import Sample\n"
        "metrics = Metrics(['cloud'])\n"
        "metrics.commit_failed()\n"
        "metrics.sampled(Sample(queued=3, cached=0, refusal=None))\n"
        "print(os.getpid())\n"
    )
    environ = dict(os.environ, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    command = [sys.executable, "-c", program]
    pids = [
        int(
            subprocess.run(
                command, check=True, env=environ, cwd=ROOT, capture_output=True
            ).stdout
        )
        for _ in range(2)
    ]
    port, stop = expose("127.0.0.1", 0, Metrics([]).registry, tmp_path)
    try:
        text = read(port)
        assert "grantledger_commit_failures_total 2.0" in text
        assert "grantledger_commit_queue 6.0" in text
        forget(pids[0], tmp_path)
        text = read(port)
        assert "grantledger_commit_failures_total 2.0" in text
        assert "grantledger_commit_queue 3.0" in text
    finally:
        stop()


def read(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text: str = answer.read().decode()
    return text
