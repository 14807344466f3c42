"""Measuring: CPU seconds of two callables in turn, and the row that reports them."""

import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any


def cpu_seconds(call: Callable[[], Any]) -> float:
    """CPU seconds of one call, all threads of this process together."""
    start = time.process_time()
    call()
    return time.process_time() - start


def interleaved(
    ours: Callable[[], Any], baseline: Callable[[], Any], runs: int = 5
) -> tuple[float, float]:
    """Median CPU seconds of both, run in turn after one warm-up each."""
    ours()
    baseline()
    # Turns rather than blocks: a slow spell of a shared machine then hits both.
    pairs = [(cpu_seconds(ours), cpu_seconds(baseline)) for _ in range(runs)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def median_cpu_seconds(call: Callable[[], Any], runs: int = 5) -> float:
    """Median CPU seconds after one warm-up, for anchors."""
    call()
    return statistics.median(cpu_seconds(call) for _ in range(runs))


def peak_rss_mb() -> float:
    """Largest resident memory of this process so far, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def row(
    *,
    line: str,
    name: str,
    ours: float,
    baseline: float,
    target: float,
    note: str,
    unit: str = "CPU s",
) -> dict[str, Any]:
    """One row of the table, for costs: the ratio is baseline / ours and must reach the target."""
    ratio = baseline / ours
    return {
        "line": line,
        "name": name,
        "unit": unit,
        "ours": ours,
        "baseline": baseline,
        "ratio": ratio,
        "target": target,
        "met": ratio >= target,
        "peak_rss_mb": peak_rss_mb(),
        "note": note,
    }
