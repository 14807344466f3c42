"""Measuring: CPU seconds of two callables in turn, peak memory, and the row that reports them."""

import resource
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

Row = dict[str, Any]

#: The keys of a row, in the order of the JSON.
KEYS = (
    *("line", "name", "unit", "ours", "baseline", "ratio"),
    *("target", "met", "peak_rss_mb", "note"),
)

#: First words of the note where `ours` itself is held to the target, not the ratio.
LIMIT = "target is a limit on ours"


def cpu_seconds(call: Callable[[], Any]) -> float:
    """CPU seconds of one call, all threads of this process together."""
    start = time.process_time()
    call()
    return time.process_time() - start


def interleaved(
    ours: Callable[[], Any], baseline: Callable[[], Any], runs: int = 5
) -> tuple[float, float]:
    """Median CPU seconds of both, run in turn after one warm-up each."""
    return interleaved_costs(lambda: cpu_seconds(ours), lambda: cpu_seconds(baseline), runs)


def interleaved_costs(
    ours: Callable[[], float], baseline: Callable[[], float], runs: int = 5
) -> tuple[float, float]:
    """Medians of what two callables say they cost, run in turn after one warm-up each."""
    ours()
    baseline()
    # Turns rather than blocks: a slow spell of a shared machine then hits both.
    pairs = [(ours(), baseline()) for _ in range(runs)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def median_cpu_seconds(call: Callable[[], Any], runs: int = 5) -> float:
    """Median CPU seconds after one warm-up, for anchors."""
    call()
    return statistics.median(cpu_seconds(call) for _ in range(runs))


def peak_rss_mb(process: int | str = "self") -> float:
    """Largest resident memory of a process so far, MB; `forget_peak` starts it anew."""
    # Not ru_maxrss where it can be helped: there a child begins with the peak of its parent.
    found = _status_mb(process, "VmHWM")
    if found is not None:
        return found
    if process != "self":
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def rss_mb() -> float:
    """Resident memory of this process now, MB; its peak where the system does not tell."""
    found = _status_mb("self", "VmRSS")
    return peak_rss_mb() if found is None else found


def forget_peak() -> None:
    """Let the peak of this process begin at what is resident now, where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _status_mb(process: int | str, entry: str) -> float | None:
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith(f"{entry}:"):
                return int(line.split()[1]) * 1024 / 1e6
    return None


def row(
    *,
    line: str,
    name: str,
    ours: float,
    baseline: float,
    target: float,
    note: str,
    unit: str = "CPU s",
) -> Row:
    """One row of the table, for costs: the ratio is baseline / ours and must reach the target."""
    ratio = baseline / ours if ours else None  # what counts requests may come to none
    peak_mb = peak_rss_mb()
    forget_peak()  # so that the next row tells its own
    return {
        "line": line,
        "name": name,
        "unit": unit,
        "ours": ours,
        "baseline": baseline,
        "ratio": ratio,
        "target": target,
        "met": ratio is not None and ratio >= target,
        "peak_rss_mb": peak_mb,
        "note": note,
    }


def limit_row(
    *,
    line: str,
    name: str,
    ours: float,
    baseline: float,
    limit: float,
    peak_mb: float,
    note: str,
    unit: str = "CPU s",
) -> Row:
    """One row for a cost that must stay below a limit; the ratio only stands beside it."""
    made = row(
        line=line, name=name, ours=ours, baseline=baseline, target=limit, unit=unit, note=note
    )
    return made | {
        "met": ours <= limit,
        "peak_rss_mb": peak_mb,
        "note": f"{LIMIT}, in its unit; {note}",
    }


def has_limit(row: Row) -> bool:
    """Whether the target of a row is a limit on `ours`."""
    return row["note"].startswith(LIMIT)


def missing_row(line: str, name: str, why: str) -> Row:
    """The row of a benchmark that broke: it counts as missed."""
    return dict.fromkeys(KEYS) | {"line": line, "name": name, "met": False, "note": why}
