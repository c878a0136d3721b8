"""Every benchmark, or some, as one command.

    python -m benchmarks [NAME ...] [--list] [--quick] [--json DIR] [--plots DIR]

Prints a table for each: medians of interleaved rounds, as ratios within the run. With
`--quick`, or `--ci`, the sizes that CI takes. `--json` writes everything that was
measured, with the machine, versions and commit; `--plots` draws it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from benchmarks.suite.machine import machine
from benchmarks.suite.registry import registered
from benchmarks.suite.report import document, paper, table, write
from benchmarks.suite.shape import Benchmark, Size


def chosen(names: Sequence[str]) -> list[Benchmark]:
    """Return the benchmarks of these names, or all.

    Raises:
        SystemExit: there is none of a name, or a package is missing.
    """
    known = registered()
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(
            f"there is no benchmark {unknown[0]!r}; there are {', '.join(known)}"
        )
    return [one for one in known.values() if not names or one.name in names]


def refuse_missing(packages: Sequence[str]) -> None:
    """Say what is not installed before anything is measured.

    Raises:
        SystemExit: it is not.
    """
    for package in packages:
        try:
            there = find_spec(package) is not None
        except ModuleNotFoundError:
            there = False
        if not there:
            raise SystemExit(
                f"{package} is not installed: pip install 'grantledger[bench]'"
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; print, write and draw it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.splitlines()[0]
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="say which there are")
    parser.add_argument("--quick", "--ci", action="store_true")
    parser.add_argument("--json", type=Path, metavar="DIR")
    parser.add_argument("--plots", type=Path, metavar="DIR")
    asked = parser.parse_args(arguments)
    console = paper()
    picked = chosen(asked.names)
    if asked.list:
        for one in picked:
            console.print(f"[bold]{one.name}[/]", highlight=False)
            console.print(f"{one.about}\n", highlight=False, markup=False)
        return 0
    needed = [package for one in picked for package in one.needs]
    refuse_missing([*needed, *(["matplotlib"] if asked.plots else [])])
    size = Size.QUICK if asked.quick else Size.FULL
    for one in picked:
        where = machine()
        measured = one.run(**one.sizes(size))
        console.print(table(one, measured))
        if asked.json:
            write(asked.json, document(one, size, measured, where))
        if asked.plots:
            # Where nothing is drawn it need not be there.
            from benchmarks.suite.plots import draw  # noqa: PLC0415 - see above

            draw(asked.plots, one.name, measured)
    return 0


if __name__ == "__main__":
    sys.exit(main())
