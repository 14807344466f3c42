"""Child processes that are measured: CPU seconds from the system, compiled bytecode as usual."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import peak_rss_mb

CHECKOUT = Path(__file__).parents[1]

#: How often the memory of a child is looked at, s.
_LOOK_S = 0.01


@dataclass(frozen=True)
class Ended:
    """A child that ended well.

    Parameters
    ----------
    cpu_s : float
        User and system time of it and of the children it waited for.
    peak_mb : float
        Largest resident memory of the child itself, looked at every 10 ms.
    output : str
        What it printed to stdout.
    """

    cpu_s: float
    peak_mb: float
    output: str


class Children:
    """Starts Python children one after another, in one folder and one environment.

    Parameters
    ----------
    folder : Path
        Their working directory; what they print goes there too.
    bytecode : Path
        Where their compiled modules are kept, for all children that name the same folder.
    variables : str
        Set in their environment.
    """

    def __init__(self, folder: Path, bytecode: Path, **variables: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        kept = {
            name: value
            for name, value in os.environ.items()
            # Nobody else's production, and bytecode that is kept as an ordinary Python keeps it.
            if not name.startswith(("DOR_ECCO_", "DAGSTER_")) and name != "PYTHONDONTWRITEBYTECODE"
        }
        own = {
            "PYTHONPYCACHEPREFIX": str(bytecode),
            "PYTHONPATH": os.pathsep.join([str(folder), str(CHECKOUT)]),
        }
        self.environment = kept | own | variables

    def run(self, words: Sequence[str]) -> Ended:
        """Run ``python words...`` to its end.

        Raises
        ------
        RuntimeError
            If it ends with another exit code than 0; holds the end of what it said.
        """
        said, logged = self.folder / "child.out", self.folder / "child.err"
        with said.open("wb") as out, logged.open("wb") as err:
            child = subprocess.Popen(
                [sys.executable, *words],
                cwd=self.folder,
                env=self.environment,
                stdout=out,
                stderr=err,
            )
            try:
                peak_mb, usage = _wait(child)
            finally:
                if child.returncode is None:  # interrupted: it may not go on writing
                    child.kill()
                    child.wait()
        if child.returncode != 0:
            end = logged.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{' '.join(words)} ended with code {child.returncode}:\n{end}")
        return Ended(usage.ru_utime + usage.ru_stime, peak_mb, said.read_text())


def _wait(child: subprocess.Popen[bytes]) -> tuple[float, resource.struct_rusage]:
    """Wait for a child; its peak of memory in MB, and what it used."""
    peak_mb = 0.0
    while True:
        peak_mb = max(peak_mb, peak_rss_mb(child.pid))
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return peak_mb, usage
        time.sleep(_LOOK_S)
