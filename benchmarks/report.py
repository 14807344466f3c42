"""Rows of benchmarks as a table for people and as JSON for programs."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measure import KEYS, Row, has_limit

#: Width where there is no terminal to ask.
WIDTH = 120


def show(rows: Sequence[Row], console: Console | None = None) -> None:
    """Print the table, the note of every row below it, and how many targets are met."""
    console = console or Console()
    if not console.is_terminal:
        console.width = WIDTH
    table = Table(header_style="bold")
    table.add_column("", justify="right")
    table.add_column("benchmark", overflow="fold")
    table.add_column("unit", no_wrap=True)
    for name in ("ours", "baseline", "ratio", "target"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("met", no_wrap=True)
    table.add_column("peak MB", justify="right", no_wrap=True)
    notes = Table.grid(padding=(0, 1))
    notes.add_column(justify="right")
    notes.add_column(overflow="fold")
    for number, row in enumerate(rows, 1):
        table.add_row(
            *(str(number), f"{row['line']}: {row['name']}", row["unit"] or ""),
            *(_number(row[name]) for name in ("ours", "baseline", "ratio")),
            *(_target(row), "yes" if row["met"] else "NO", _number(row["peak_rss_mb"])),
        )
        notes.add_row(f"{number}.", row["note"])
    console.print(table, notes, markup=False, highlight=False)
    console.print(verdict(rows), markup=False, highlight=False)


def verdict(rows: Sequence[Row]) -> str:
    """How many targets are met, and every one that is missed by its name."""
    missed = [f"{row['line']}: {row['name']}" for row in rows if not row["met"]]
    said = f"{len(rows) - len(missed)} of {len(rows)} targets met"
    return f"{said}; missed: {'; '.join(missed)}" if missed else said


def write_json(rows: Sequence[Row], path: Path) -> None:
    """Write the rows with exactly the keys that every reader knows."""
    plain = [{key: row[key] for key in KEYS} for row in rows]
    path.write_text(json.dumps(plain, indent=1, allow_nan=False) + "\n")


def _number(value: float | None) -> str:
    """Three digits that count, without an exponent."""
    if value is None:
        return "-"
    places = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:.{places}f}"


def _target(row: Row) -> str:
    """What must hold: of the ratio, or of ours where the target is a limit."""
    if row["target"] is None:
        return "-"
    return f"ours ≤ {row['target']:g}" if has_limit(row) else f"ratio ≥ {row['target']:g}"
