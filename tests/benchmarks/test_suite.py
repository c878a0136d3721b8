"""Each benchmark of the suite runs, and what it says can be printed, kept and drawn."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from rich.console import Console

from benchmarks import cold as cold_grant
from benchmarks import workers as several
from benchmarks.__main__ import chosen, main
from benchmarks.append_sides import Figures
from benchmarks.appends import CALLERS
from benchmarks.http_load import Seen
from benchmarks.profiled import shares
from benchmarks.registered import appends, cold, http, soak, workers
from benchmarks.soak import seen as soak_seen
from benchmarks.soak.load import Rates
from benchmarks.soak.soaking import Found, Plan
from benchmarks.suite.plots import draw
from benchmarks.suite.registry import registered
from benchmarks.suite.report import document, table, write
from benchmarks.suite.shape import Benchmark, Chart, Measured, Size, beside, row
from tests.house.tree import ROOT

KNOWN = registered()
SERVERS = {"appends", "cold", "http", "soak", "workers"}
"""Start a PostgreSQL, or processes that serve, even at their smallest."""


@pytest.mark.parametrize("name", sorted(KNOWN.keys() - SERVERS))
def test_the_smallest_run_of_a_benchmark_gives_figures(name: str) -> None:
    one = KNOWN[name]
    measured = one.run(**one.tiny)
    assert measured.rows
    for figure in measured.rows:
        assert 0 < figure.lowest <= figure.ratio <= figure.highest
    assert json.dumps(measured.figures, default=str)


def test_requests_are_set_beside_the_bare_endpoint_round_by_round() -> None:
    bare, ours = [Seen(200, 1, 2), Seen(100, 1, 2)], [Seen(120, 1, 6), Seen(50, 1, 10)]
    measured = http.measured({"bare": bare, "PostgreSQL": ours})
    rate, slow = measured.rows
    assert (rate.lowest, rate.highest, rate.reached) == (0.5, 0.6, True)
    assert (slow.lowest, slow.highest, slow.reached) == (3, 5, True)


def test_appends_are_compared_by_the_events_that_are_stored() -> None:
    def rounds(events: float) -> dict[int, list[Figures]]:
        return {c: [Figures(40, events, 1.0, 2.0, 10)] for c in CALLERS}

    measured = appends.measured({"ledger": rounds(90), "stock save": rounds(10)})
    by_name = {one.what: one for one in measured.rows}
    assert by_name["events/s, 32 callers"].ratio == 9
    assert by_name["events/s, 32 callers"].reached
    assert by_name["p99, 32 callers"].ratio == 1


def test_a_cold_grant_is_judged_by_redemptions_and_commits() -> None:
    times = {"answer": 200.0, "commit": 2.0, "audited": 4.0, "p50": 205.0}
    rounds = [
        cold_grant.Round(1, 1, 200, p99=p99, most=300.0, **times)
        for p99 in (208.0, 206.0, 230.0)
    ]
    once, over, audited, whole = cold.measured(rounds).rows
    assert (once.ratio, once.reached) == (1, True)
    assert (over.lowest, over.ratio, over.highest, over.reached) == (3, 4, 15, True)
    assert audited.ratio == 2
    assert whole.ratio == 1.04


def test_workers_are_set_beside_one_round_by_round() -> None:
    def rounds(*figures: tuple[float, float]) -> list[several.Round]:
        return [several.Round(f, 1, 2, us, 0, (1.0,)) for f, us in figures]

    found = {"SQLite, 64": {1: rounds((100, 50)), 2: rounds((150, 55))}}
    rate, cost = workers.measured(found).rows
    assert (rate.ratio, cost.ratio) == (1.5, 1.1)


def test_a_soak_with_a_fault_gives_no_figures() -> None:
    plan = Plan(1, "sqlite", 1, 1, Rates(1.0), 1, 1)
    found = Found(soak_seen.Seen(), {"no token unrecorded": ["token 7"]}, [], [])
    with pytest.raises(RuntimeError, match="1 faults, first: token 7"):
        soak.measured(plan, found)


def test_a_profile_counts_each_stack_once_and_no_waiting() -> None:
    writer = "run (threading.py:982);GroupCommit._run (a/ledger/group_commit.py:171)"
    found = shares(
        [
            f"{writer};LeafMapper.encode_journal (a/ledger/codec.py:1) 30",
            f"{writer};SQLiteCursor.execute (eventsourcing/sqlite.py:52) 20",
            f"{writer};GroupCommit._apply (a/group_commit.py:9) 10",
            f"{writer};Condition.wait (threading.py:331) 500",
            "main (x.py:1);answered (adapters/http/protocol.py:176) 40",
            "",
        ]
    )
    assert found == {
        "the loop: the answer written": 0.4,
        "the writer: seals, encodes, hashes": 0.3,
        "the writer: begins, stores, commits": 0.2,
        "the writer: decides, packs, answers": 0.1,
    }


@pytest.mark.parametrize("one", KNOWN.values(), ids=lambda one: one.name)
def test_a_benchmark_says_what_it_compares_and_has_each_size(one: Benchmark) -> None:
    assert "Fair" in one.about
    assert [one.sizes(size).keys() >= one.quick.keys() for size in Size]


def _made() -> tuple[Benchmark, Measured]:
    one = KNOWN["growth"]
    rows = [
        row("requests/s", "bare <endpoint>", [0.5, 0.4, 0.6], 0.55),
        row("p99", "bare <endpoint>", [3.0], 4.0, at_most=True, note="6 against 2 ms"),
        row("told only", "another", [250.0]),
    ]
    lines = {"a & b": [(1e3, 1.0), (1e6, 1.2)], "c": [(1e3, 2.0), (1e6, 9.0)]}
    chart = Chart("lines", "growth", "grants", "ms", lines)
    return one, Measured(rows, {"raw": [1, 2]}, [chart])


def test_a_table_says_what_was_reached() -> None:
    paper = StringIO()
    Console(width=200, file=paper).print(table(*_made()))
    said = paper.getvalue().splitlines()
    assert "no" in next(line for line in said if "requests/s" in line)
    assert "yes" in next(line for line in said if "6 against 2 ms" in line)
    assert "250 x" in next(line for line in said if "told only" in line)


def test_a_document_says_where_it_was_measured(tmp_path: Path) -> None:
    one, measured = _made()
    where = {"commit": "abc", "cores": 2}
    path = write(tmp_path / "new", document(one, Size.QUICK, measured, where))
    said = json.loads(path.read_text())
    assert said["machine"] == where
    assert said["sizes"] == dict(one.quick)
    assert [each["reached"] for each in said["rows"]] == [False, True, None]
    assert said["figures"] == {"raw": [1, 2]}


def test_the_same_figures_draw_the_same_pictures(tmp_path: Path) -> None:
    one, measured = _made()
    first = [path.read_bytes() for path in draw(tmp_path / "1", one.name, measured)]
    again = draw(tmp_path / "2", one.name, measured)
    assert [path.name for path in again] == ["growth.svg", "lines.svg"]
    assert [path.read_bytes() for path in again] == first
    assert b"&amp;" in first[1]


def test_ratios_are_of_the_round_beside() -> None:
    slow_spell = beside([10, 1], [5, 0.5])
    assert slow_spell == [2, 2]


def test_the_list_names_every_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    said = capsys.readouterr().out
    assert [name for name in KNOWN if name not in said] == []


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(SystemExit, match=r"no benchmark 'handouts'.*handout"):
        chosen(["handouts"])


def test_the_pins_of_the_suite_are_those_of_the_tests() -> None:
    def pins(name: str) -> dict[str, str]:
        lines = (ROOT / f"requirements/{name}.txt").read_text("utf-8").splitlines()
        return {canonicalize_name(Requirement(line).name): line for line in lines}

    tests = pins("test")
    assert {n: line for n, line in pins("bench").items() if tests.get(n) != line} == {}
