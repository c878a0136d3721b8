"""Requests from another process: wrk where it is installed, else a client in Python.

    python -m benchmarks.http_load URL TOKEN-FILE PATHS CONNECTIONS SECONDS BODY

The second form is what the benchmark starts by itself where wrk is missing.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

HEAD_END = b"\r\n\r\n"
_LUA = """
local paths = {%s}
local at = 0
wrk.method = "POST"
wrk.body = %s
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer " .. io.open(%s):read("a"):gsub("%%s", "")
request = function()
  at = at %% #paths + 1
  return wrk.format(nil, paths[at])
end
done = function(all, latency, _)
  local e = all.errors
  io.write(string.format('\\n{"requests":%%d,"seconds":%%f,"p50":%%f,"p99":%%f,' ..
    '"failed":%%d}\\n', all.requests, all.duration / 1e6, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3, e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent, again and again.

    Attributes:
        token_file: with the caller's JWT; no argument of a process holds it.
        paths: taken in turn.
    """

    token_file: Path
    paths: Sequence[str]
    body: str
    connections: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What came back; latencies in milliseconds."""

    per_second: float
    p50: float
    p99: float


def run(url: str, load: Load, seconds: float) -> Seen:
    """Send for so many seconds; return what was seen.

    Raises:
        RuntimeError: an answer was no success: the figures would mean nothing.
    """
    wrk = shutil.which("wrk")
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "load.lua"
        if wrk is not None:
            script.write_text(
                _LUA
                % (
                    ",".join(f'"{path}"' for path in load.paths),
                    json.dumps(load.body),
                    json.dumps(str(load.token_file)),
                )
            )
            line = [wrk, "-t1", f"-c{load.connections}", f"-d{seconds:g}s"]
            line += ["--latency", "-s", str(script), url]
        else:
            line = [sys.executable, "-m", "benchmarks.http_load", url]
            line += [str(load.token_file), ",".join(load.paths)]
            line += [str(load.connections), str(seconds), load.body]
        done = subprocess.run(line, capture_output=True, text=True, check=True)  # noqa: S603 - our own line
    said = json.loads(done.stdout.strip().splitlines()[-1])
    if said["failed"] or not said["requests"]:
        raise RuntimeError(f"not every request was answered: {said}")
    return Seen(said["requests"] / said["seconds"], said["p50"], said["p99"])


def name_of_client() -> str:
    """Return what sends here."""
    return "wrk" if shutil.which("wrk") else "a Python client"


async def _one(
    host: str, port: int, requests: list[bytes], stop: float, spent: list[float]
) -> int:
    reader, writer = await asyncio.open_connection(host, port)
    failed = at = 0
    while (start := time.perf_counter()) < stop:
        writer.write(requests[at % len(requests)])
        at += 1
        head = await reader.readuntil(HEAD_END)
        lines = head.lower().split(b"\r\n")
        length = next(line for line in lines if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        spent.append(time.perf_counter() - start)
        failed += b" 200 " not in lines[0]
    writer.close()
    return failed


async def _send(url: str, load: Load, seconds: float) -> dict[str, float]:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    body = load.body.encode()
    token = load.token_file.read_text().strip()
    requests = [
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
        for path in load.paths
    ]
    spent: list[float] = []
    start = time.perf_counter()
    turned = [requests[n:] + requests[:n] for n in range(load.connections)]
    failed = await asyncio.gather(
        *(_one(host, port, each, start + seconds, spent) for each in turned)
    )
    took = time.perf_counter() - start
    spent.sort()
    return {
        "requests": len(spent),
        "seconds": took,
        "p50": spent[len(spent) // 2] * 1e3,
        "p99": spent[len(spent) * 99 // 100] * 1e3,
        "failed": sum(failed),
    }


def main() -> None:
    """Send, and print one line of JSON."""
    url, token_file, paths, connections, seconds, body = sys.argv[1:]
    load = Load(Path(token_file), paths.split(","), body, int(connections))
    print(json.dumps(asyncio.run(_send(url, load, float(seconds)))))


if __name__ == "__main__":
    main()
