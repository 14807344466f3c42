"""Run benchmarks: ``python -m benchmarks [LINE ...] [--quick] [--json FILE] [--data DIR]``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.lines import LINES, Setting
from benchmarks.report import show, write_json
from benchmarks.running import exit_on_sigterm, run
from dor_ecco_assets.grids.products import LLC_FOLDER


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print the table, write the JSON; a missed target is told and is no error."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="What things cost, against what they would cost otherwise; docs/benchmarks.md.",
    )
    parser.add_argument("lines", nargs="*", metavar="LINE", help=f"{_known()}; all by default")
    parser.add_argument("--quick", action="store_true", help="within a minute per line")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help=f"folder that holds the real {LLC_FOLDER}/"
    )
    given = parser.parse_args(words)
    unknown = [line for line in given.lines if line not in LINES]
    if unknown:
        parser.error(f"there is no line {', '.join(unknown)}; lines are {_known()}")
    if given.data is not None and not (given.data / LLC_FOLDER / "XC.data").is_file():
        parser.error(f"--data {given.data}: there is no {LLC_FOLDER}/XC.data in it")
    if given.json is not None and not given.json.absolute().parent.is_dir():
        parser.error(f"--json {given.json}: there is no such folder")
    exit_on_sigterm()
    data = None if given.data is None else given.data.absolute()
    rows = run(list(dict.fromkeys(given.lines)) or list(LINES), Setting(given.quick, data))
    show(rows)
    if given.json is not None:
        write_json(rows, given.json)


def _known() -> str:
    return ", ".join(LINES)


if __name__ == "__main__":
    main()
