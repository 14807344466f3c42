"""Run groups of benchmarks, each in a fresh process and a scratch folder that is removed after.

A fresh process tells its own peak of memory, and one that dies takes no other row with it.
"""

import json
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.lines import LINES, Group, Setting
from benchmarks.measure import Row, missing_row
from benchmarks.processes import CHECKOUT

#: Groups at a time: two of --quick share two cores; else one, so that nothing disturbs it.
_AT_A_TIME = {True: 2, False: 1}

#: How often running groups are looked at, s.
_LOOK_S = 0.1

type _Task = tuple[str, int]


def run(lines: Sequence[str], setting: Setting) -> list[Row]:
    """All rows of some lines, those that could not be measured among them.

    Parameters
    ----------
    lines : sequence of str
        Keys of `LINES`.
    setting : Setting

    Returns
    -------
    list of Row
        In the order of the table.
    """
    tasks = [(line, place) for line in lines for place in range(len(LINES[line]))]
    waiting = sorted(tasks, key=lambda task: (not _group(task).alone, -_group(task).urgency))
    found: dict[_Task, list[Row]] = {}
    running: dict[_Task, subprocess.Popen[bytes]] = {}
    with TemporaryDirectory(prefix="dor-ecco-benchmarks-") as scratch:
        try:
            while waiting or running:
                while waiting and len(running) < _AT_A_TIME[setting.quick]:
                    if any(_group(task).alone for task in running):
                        break
                    task = waiting.pop(0)
                    running[task] = _start(task, setting, Path(scratch))
                time.sleep(_LOOK_S)
                for task in [task for task, child in running.items() if child.poll() is not None]:
                    code = running.pop(task).returncode
                    found[task] = _collect(task, code, Path(scratch))
        finally:
            for child in running.values():  # interrupted
                child.terminate()
                child.wait()
    return [row for task in tasks for row in found[task]]


def _group(task: _Task) -> Group:
    return LINES[task[0]][task[1]]


def exit_on_sigterm() -> None:
    """Let SIGTERM end this process as an interrupt does, so that nothing is left behind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def measure(line: str, place: int, setting: Setting, scratch: Path) -> list[Row]:
    """Rows of one group; a row that does not come is a missed one, and said to be."""
    group = LINES[line][place]
    rows: list[Row] = []
    why = "not measured: it gave no such row"
    started = time.monotonic()
    with TemporaryDirectory(dir=scratch) as folder:
        try:
            rows.extend(group.rows(setting, Path(folder)))
        except Exception as error:  # noqa: BLE001 - one broken benchmark must not hide the others
            traceback.print_exc()
            why = f"not measured: {type(error).__name__}: {error}"
    said = f"{time.monotonic() - started:.0f} s, {_cpu_s():.0f} CPU s"
    print(f"{line}: {'; '.join(group.names)}: {said}", file=sys.stderr, flush=True)
    measured = {row["name"] for row in rows}
    absent = [missing_row(line, name, why) for name in group.names if name not in measured]
    return sorted(rows + absent, key=lambda row: group.names.index(row["name"]))


def _start(task: _Task, setting: Setting, scratch: Path) -> subprocess.Popen[bytes]:
    data = None if setting.data is None else str(setting.data)
    words = json.dumps([*task, setting.quick, data, str(scratch)])
    return subprocess.Popen([sys.executable, "-m", "benchmarks.running", words], cwd=CHECKOUT)


def _collect(task: _Task, code: int, scratch: Path) -> list[Row]:
    file = _rows_file(task, scratch)
    if code == 0:
        return json.loads(file.read_text())
    why = f"not measured: its process ended with code {code}"
    return [missing_row(task[0], name, why) for name in LINES[task[0]][task[1]].names]


def _rows_file(task: _Task, scratch: Path) -> Path:
    return scratch / f"{task[0]}-{task[1]}.json"


def _cpu_s() -> float:
    """CPU seconds of this process and of the children that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _main() -> None:
    """Measure one group; what `_start` runs."""
    exit_on_sigterm()
    line, place, quick, data, folder = json.loads(sys.argv[1])
    setting, scratch = Setting(quick, None if data is None else Path(data)), Path(folder)
    rows = measure(line, place, setting, scratch)
    _rows_file((line, place), scratch).write_text(json.dumps(rows))


if __name__ == "__main__":
    _main()
