"""A soak in seconds: what is printed, written and drawn."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict
from math import floor
from typing import Any

from benchmarks.soak.soaking import SURVIVOR, Found, Plan

MEGABYTE = 1e6
SHOWN = 5


def seconds_of(found: Found) -> list[dict[str, float]]:
    """Return, second by second, hand-outs that were due, and tokens that came.

    `p50` and `p99` in milliseconds, from when a hand-out was due to its answer.
    """
    seen = found.seen
    by_second: dict[int, list[float]] = {}
    for due, waited in seen.waited:
        by_second.setdefault(int(due - seen.began), []).append(waited)
    given = Counter(floor(one.ended - seen.began) for one in seen.answers)
    rows: list[dict[str, float]] = []
    for second, took in sorted(by_second.items()):
        took.sort()
        rows.append(
            {
                "second": second,
                "due": len(took),
                "tokens": given[second],
                "p50": 1e3 * took[len(took) // 2],
                "p99": 1e3 * took[len(took) * 99 // 100],
            }
        )
    return rows


def document(plan: Plan, found: Found) -> dict[str, Any]:
    """Return everything that was measured; no token, and no answer by itself."""
    seen = found.seen

    def since(at: float) -> float:
        return round(at - seen.began, 3)

    return {
        "plan": asdict(plan),
        "cores": os.cpu_count(),
        "holds": found.holds,
        "faults": found.faults,
        "growth": [asdict(one) for one in found.grown],
        "totals": totals(found),
        "replicas_said": seen.said,
        "seconds": seconds_of(found),
        "samples": [{**asdict(one), "at": since(one.at)} for one in seen.samples],
        "kills": [
            {**asdict(one), "at": since(one.at), "back": since(one.back)}
            for one in seen.kills
        ],
        "checkpoints": [
            {
                "at": since(one.at),
                "replica": one.replica,
                "size": int(one.note.split(b"\n")[1]),
            }
            for one in seen.fetched
        ],
    }


def totals(found: Found) -> dict[str, Any]:
    """Return what was done in all."""
    seen = found.seen
    took = sorted(took for _, took in seen.waited)
    return {
        "seconds": seen.ended - seen.began,
        "tokens": len(seen.answers),
        "p50_ms": 1e3 * took[len(took) // 2],
        "p99_ms": 1e3 * took[len(took) * 99 // 100],
        "most_ms": 1e3 * took[-1],
        "not_sent": seen.late,
        "without_an_answer": seen.broken,
        "refused": dict(sorted(seen.refused.items())),
        "done": dict(sorted(seen.done.items())),
        "revocations": len(seen.endings),
        "checkpoints": len(seen.fetched),
        "kills": len(seen.kills),
        "leaves": found.leaves,
        "lines": dict(sorted(found.kinds.items())),
        "refresh_tokens_redeemed": found.rotated,
        "grants": dict(Counter(one.status for one in found.grants)),
        "consent_asked_for_again": dict(
            Counter(cause.reason for one in found.grants for cause in one.causes)
        ),
        "checked_seconds": found.checked_seconds,
    }


def text(plan: Plan, found: Found) -> str:
    """Return what is printed."""
    head = f"{plan.replicas} replicas, {plan.store}, {plan.grants} grants"
    lines = [f"{head}, {plan.rates.hand_outs:g} hand-outs/s"]
    lines += [f"  {name}: {value}" for name, value in totals(found).items()]
    for one in found.grown:
        scale, unit = (MEGABYTE, " MB") if "memory" in one.what else (1, "")
        lines.append(
            f"  {one.what} of replica {SURVIVOR}: {one.middle / scale:.1f}{unit}"
            f" in the middle third, {one.last / scale:.1f}{unit} in the last"
            f" (at most {one.most / scale:.1f}{unit})"
        )
    for name, faults in found.faults.items():
        lines.append(f"{'FAILS' if faults else 'holds'}  {name}")
        lines += [f"       {fault}" for fault in faults[:SHOWN]]
        if len(faults) > SHOWN:
            lines.append(f"       and {len(faults) - SHOWN} more")
    return "\n".join(lines)
