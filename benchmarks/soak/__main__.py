"""Runs a soak; exit code 1 where a promise does not hold."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import benchmarks.soak
from benchmarks.soak.load import Rates
from benchmarks.soak.report import document, text
from benchmarks.soak.soaking import Plan, soak

KILLS_AT_LEAST = 6


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and write what is asked for; return the exit code."""
    said = (benchmarks.soak.__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser("benchmarks.soak", description=said)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument(
        "--store", choices=["postgresql", "sqlite"], default="postgresql"
    )
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--grants", type=int, default=100)
    parser.add_argument("--rate", type=float, default=50.0, help="hand-outs a second")
    parser.add_argument(
        "--kill-every", type=float, help="seconds; 60, or a sixth of all"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="an SVG; needs matplotlib")
    chosen = parser.parse_args(arguments)
    seconds = 60 * chosen.minutes
    plan = Plan(
        seconds=seconds,
        store=chosen.store,
        replicas=chosen.replicas,
        grants=chosen.grants,
        rates=Rates(chosen.rate),
        kill_every=chosen.kill_every or min(60.0, seconds / KILLS_AT_LEAST),
        seed=chosen.seed,
    )
    found = soak(plan)
    print(text(plan, found))
    made = document(plan, found)
    if chosen.json:
        chosen.json.write_text(json.dumps(made, indent=1), encoding="utf-8")
    if chosen.plot:
        from benchmarks.soak.plot import draw  # noqa: PLC0415 - only where it is wanted

        draw(made, chosen.plot)
    return 0 if found.holds else 1


if __name__ == "__main__":
    sys.exit(main())
