"""Which benchmarks there are."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

import benchmarks.registered as package
from benchmarks.suite.shape import Benchmark


def registered() -> dict[str, Benchmark]:
    """Return every benchmark by name, in the order of their names."""
    found: dict[str, Benchmark] = {}
    for module in iter_modules(package.__path__, f"{package.__name__}."):
        one = import_module(module.name).BENCHMARK
        assert isinstance(one, Benchmark), f"{module.name}.BENCHMARK is none"
        assert one.name not in found, f"two benchmarks are named {one.name}"
        found[one.name] = one
    return dict(sorted(found.items()))
