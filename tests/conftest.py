"""Rules for every test: one event loop, no silent skip, bounded hypothesis.

And one PostgreSQL server for all the tests that need one; what it is made of is
imported there only, so that these rules hold without the rest of the tests.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.contract.stores import PostgresStore

ON_CI = os.environ.get("CI") == "true"

if "PYTEST_XDIST_WORKER" in os.environ:
    # Coverage is of what tests call themselves. The processes that they start, hundreds
    # of them, would take a third more of a processor each.
    for _name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):
        os.environ.pop(_name, None)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # So a shell starts what runs in the background, and programs that tests interrupt
    # would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: these machines pause, and a pause is not a wrong answer.
settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "ci", settings.get_profile("default"), max_examples=100, print_blob=True
)
settings.register_profile(
    "quick", settings.get_profile("default"), max_examples=10, database=None
)
settings.load_profile("ci" if ON_CI else "default")


LONG_ONES = (
    "tests/cli/test_life.py",
    "tests/contract/test_postgres_erased_bytes.py",
    "tests/contract/test_postgres_maintenance.py",
    "tests/http/test_document.py",
)
"""Files whose tests take half a minute each: at the end, the others wait for them."""


def pytest_collection_finish() -> None:
    """Leave alone what stays to the end: looking through it all costs time again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have those first that take longest."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG_ONES))


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Asyncio only: psycopg and uvicorn know no other."""
    return "asyncio"


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command that sets logging up does so for this process, and for later tests."""
    root = logging.getLogger()
    level = root.level
    yield
    # pytest's own are of classes that derive from it.
    kinds = {handler: type(handler).__name__ for handler in root.handlers}
    for handler, kind in kinds.items():
        if kind == logging.StreamHandler.__name__:
            root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture(scope="session")
def dsn() -> Iterator[str]:
    """How the session's PostgreSQL server is reached."""
    from tests.support.postgres import running  # noqa: PLC0415 - as above

    with running() as said:
        yield said


@pytest.fixture
def postgres(dsn: str) -> PostgresStore:
    """A schema of its own, with an empty ledger."""
    from tests.contract.stores import PostgresStore  # noqa: PLC0415 - as above

    return PostgresStore(dsn).migrated()


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure on CI; an expected failure is no skip."""
    if ON_CI and report.skipped and not hasattr(report, "wasxfail"):
        why = report.longrepr
        reason = why[2] if isinstance(why, tuple) else why
        report.longrepr = f"{reason}\nskipped under CI=true: supply what is missing"
        report.outcome = "failed"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[
    None, pytest.TestReport, pytest.TestReport
]:
    """A skipped test proves nothing, so on CI it fails and says what it lacked."""
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[
    None, pytest.CollectReport, pytest.CollectReport
]:
    """The same for a module that skips itself whole."""
    report = yield
    _refuse_skip(report)
    return report
