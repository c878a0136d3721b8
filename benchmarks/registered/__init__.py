"""The benchmarks of `python -m benchmarks`: each module here has one, `BENCHMARK`."""
