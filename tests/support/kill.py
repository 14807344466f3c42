"""Kill a program at any moment, run it again, and compare what it left.

Three pieces: `run` and `run_and_kill` start a command in a session of its own and end all of it;
`WarmVictims` does the same for a function, in spawned (never forked) processes that have imported
what they need before their turn, so that hundreds of kills take a minute or two; `tree_digest`,
`scratch_files` and `InvariantWatch` look at what is visible, after and during the run.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import pickle
import random
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

__all__ = [
    "AfterSeconds",
    "InvariantWatch",
    "Outcome",
    "WarmVictims",
    "When",
    "WhenPrinted",
    "WhenTrue",
    "random_moments",
    "run",
    "run_and_kill",
    "scratch_files",
    "tree_digest",
]

#: How often a moment is looked for: fine enough to hit steps of a few milliseconds.
POLL_S = 0.001
#: How long the kernel may take to end a killed group on a loaded machine.
DEATH_S = 10.0
#: Hidden names that are part of what a store publishes; other hidden names are scratch, ...
PUBLISHED_DOT_NAMES = frozenset({".records", ".zarray", ".zattrs", ".zgroup", ".zmetadata"})
#: ... except the locks of writers, which stay by design and hold nothing.
LOCKS_FOLDER = ".locks/"


@dataclass(frozen=True)
class Outcome:
    """How a victim ended.

    Parameters
    ----------
    exit_code : int
        As a shell's parent sees it: negative for a signal.
    killed : bool
        Whether the moment came before the victim ended by itself.
    seconds : float
        From the start of the work to its end.
    stdout, stderr : str
        What it printed.
    """

    exit_code: int
    killed: bool
    seconds: float
    stdout: str
    stderr: str

    def check(self) -> Self:
        """Return self, or fail with the victim's output where it did not end well."""
        assert self.exit_code == 0, f"exit code {self.exit_code}\n{self.stdout}\n{self.stderr}"
        return self


class When(Protocol):
    """A moment to kill at."""

    def reached(self, seconds: float, printed: Callable[[], str]) -> bool:
        """Tell whether it has come, `seconds` after the start of the work."""
        ...


@dataclass(frozen=True)
class AfterSeconds:
    """So long after the start of the work."""

    seconds: float

    def reached(self, seconds: float, printed: Callable[[], str]) -> bool:
        """Compare with the clock."""
        return seconds >= self.seconds


@dataclass(frozen=True)
class WhenTrue:
    """As soon as a predicate, such as one over the victim's files, is true."""

    predicate: Callable[[], bool]

    def reached(self, seconds: float, printed: Callable[[], str]) -> bool:
        """Ask the predicate."""
        return self.predicate()


@dataclass(frozen=True)
class WhenPrinted:
    """As soon as the victim has printed a text, to stdout or stderr."""

    text: str

    def reached(self, seconds: float, printed: Callable[[], str]) -> bool:
        """Look for the text."""
        return self.text in printed()


def random_moments(seed: int, clean_seconds: float, count: int) -> list[AfterSeconds]:
    """Spread moments over a clean run: one at random in each of `count` equal spans, shuffled."""
    draw = random.Random(seed)
    moments = [AfterSeconds((n + draw.random()) / count * clean_seconds) for n in range(count)]
    draw.shuffle(moments)
    return moments


def run(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float = 300,
) -> Outcome:
    """Run a command to its end and return what it printed.

    Raises
    ------
    TimeoutError
        If it has not ended in time; it is killed.
    """
    return _run(argv, env, cwd, None, timeout_s)


def run_and_kill(
    argv: Sequence[str | Path],
    when: When,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float = 300,
) -> Outcome:
    """Start a command, SIGKILL it and all its children at a moment, and see that all are gone.

    Parameters
    ----------
    env : mapping, optional
        Variables on top of this process's own.
    timeout_s : float
        How long to wait for the moment, or for an end before it.
    """
    return _run(argv, env, cwd, when, timeout_s)


def _run(
    argv: Sequence[str | Path],
    env: Mapping[str, str] | None,
    cwd: Path | None,
    when: When | None,
    timeout_s: float,
) -> Outcome:
    with _Group([str(a) for a in argv], env=env, cwd=cwd, stdin=subprocess.DEVNULL) as group:
        killed, seconds = group.watch(when, timeout_s, lambda: False)
        group.end()
        return group.outcome(group.process.returncode, killed=killed, seconds=seconds)


class _Group:
    """A process that leads a session of its own; nothing of it outlives the `with` block."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None,
        cwd: Path | None,
        **popen: Any,
    ) -> None:
        self._out = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._err = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._ended = False
        self.begin()
        self.process = subprocess.Popen(
            argv,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            stdout=self._out,
            stderr=self._err,
            start_new_session=True,
            **popen,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.end()
        finally:
            self._out.close()
            self._err.close()
            if self.process.stdin:
                self.process.stdin.close()

    def watch(
        self, when: When | None, timeout_s: float, done: Callable[[], bool]
    ) -> tuple[bool, float]:
        """Wait for the moment, the process's end or `done`; return whether it was killed."""
        while True:
            seconds = time.perf_counter() - self._began
            if self.process.poll() is not None or done():
                return False, seconds
            if when is not None and when.reached(seconds, lambda: "".join(self._printed())):
                self.kill()
                # It may have ended by itself between the look and the kill.
                return self.process.wait() == -signal.SIGKILL, seconds
            if seconds > timeout_s:
                self.kill()
                out, err = self._printed()
                raise TimeoutError(f"pid {self.process.pid} after {timeout_s} s\n{out}\n{err}")
            time.sleep(POLL_S)

    def kill(self) -> None:
        """SIGKILL the whole process group at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill what is left of the session, reap its leader, and see that nothing survives."""
        if self._ended:  # the system may have given the number to another process since
            return
        self.kill()
        self.process.wait()
        deadline = time.monotonic() + DEATH_S
        while alive := _members(self.process.pid):
            # A child in a process group of its own is not reached through its leader's.
            for pid in alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            assert time.monotonic() < deadline, f"{alive} survive SIGKILL of {self.process.pid}"
            time.sleep(POLL_S)
        self._ended = True

    def begin(self) -> None:
        """Count time and output from here."""
        self._read_from = (_size(self._out), _size(self._err))
        self._began = time.perf_counter()

    def outcome(self, exit_code: int, *, killed: bool, seconds: float) -> Outcome:
        """Return how the work ended."""
        return Outcome(exit_code, killed, seconds, *self._printed())

    def _printed(self) -> tuple[str, str]:
        return tuple(  # type: ignore[return-value]
            os.pread(file.fileno(), _size(file) - start, start).decode(errors="replace")
            for file, start in zip((self._out, self._err), self._read_from, strict=True)
        )


def _size(file: Any) -> int:
    return os.fstat(file.fileno()).st_size


def _members(session: int) -> list[int]:
    """Living processes of a session; a zombie only waits for its parent."""
    members = []
    for pid in psutil.pids():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getsid(pid) == session and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                members.append(pid)
    return members


class WarmVictims:
    """A function to kill again and again, in processes that are warm when their turn comes.

    Each victim is a fresh interpreter that has imported the function's module and waits; while
    one runs, the next gets ready. `complete` runs the function to its end in one process that is
    kept from call to call.

    Parameters
    ----------
    target : str
        ``"module:function"``, importable with this process's `sys.path`. Its arguments must be
        picklable; what it returns is not looked at.
    preload : sequence of str
        More modules to import before the turn, those the function imports by itself.
    warm : str, optional
        ``"module:function"`` called without arguments after the imports: a small piece of the
        work, so that compiled code and late imports (xarray's engines) take no time of the run.
    ahead : int
        How many victims get ready ahead of their turn. A kill with its rerun takes 0.4 s for a
        job of 0.3 s that imports h5py, on 2 cores; imports of seconds (xarray with its engines)
        set the pace instead.
    env, cwd
        As for `run`.
    """

    def __init__(
        self,
        target: str,
        *,
        preload: Sequence[str] = (),
        warm: str | None = None,
        ahead: int = 2,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self._job = (target, tuple(preload), warm)
        self._ahead = ahead
        self._env = env
        self._cwd = cwd
        self._waiting: deque[_Warm] = deque()
        self._keeper: _Warm | None = None

    def __enter__(self) -> Self:
        self._fill()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.ExitStack() as stack:
            for victim in self._waiting:
                stack.push(victim)
            if self._keeper is not None:
                stack.push(self._keeper)

    def run_and_kill(self, *args: object, when: When, timeout_s: float = 300) -> Outcome:
        """Call the function in a fresh process and kill that at a moment, counted from the call."""
        victim = self._waiting.popleft()
        with victim:
            victim.wait_until_ready(timeout_s)
            self._fill()
            return victim.call(args, when, timeout_s)

    def complete(self, *args: object, timeout_s: float = 300) -> Outcome:
        """Call the function to its end; an error of its own is exit code 1 and a traceback."""
        if self._keeper is None:
            self._keeper = self._waiting.popleft()
            self._fill()
        self._keeper.wait_until_ready(timeout_s)
        outcome = self._keeper.call(args, None, timeout_s)
        if self._keeper.process.poll() is not None:
            self._keeper.__exit__(None, None, None)
            self._keeper = None
        return outcome

    def _fill(self) -> None:
        while len(self._waiting) < max(1, self._ahead):
            self._waiting.append(_Warm(self._job, self._env, self._cwd))


class _Warm(_Group):
    """One process that has imported what it needs and waits for calls on its standard input."""

    def __init__(
        self,
        job: tuple[str, tuple[str, ...], str | None],
        env: Mapping[str, str] | None,
        cwd: Path | None,
    ) -> None:
        self._answers, theirs = os.pipe()
        try:
            path = [str(Path(entry).absolute()) for entry in sys.path]
            code = f"import sys; sys.path[:] = {path!r}; from {__name__} import _serve; "
            argv = [sys.executable, "-c", f"{code}_serve({theirs}, *{job!r})"]
            super().__init__(argv, env=env, cwd=cwd, stdin=subprocess.PIPE, pass_fds=(theirs,))
        finally:
            os.close(theirs)
        self._ready = False

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            super().__exit__(kind, error, trace)
        finally:
            os.close(self._answers)

    def wait_until_ready(self, timeout_s: float) -> None:
        """Wait for the end of the imports."""
        if self._ready:
            return
        readable, _, _ = select.select([self._answers], [], [], timeout_s)
        if not readable or os.read(self._answers, 1) != READY:
            raise RuntimeError(f"a victim could not get ready\n{''.join(self._printed())}")
        self._ready = True

    def call(self, args: tuple[object, ...], when: When | None, timeout_s: float) -> Outcome:
        """Start the work and wait for its end or for the moment."""
        self.begin()
        stdin = self.process.stdin
        assert stdin is not None
        pickle.dump(args, stdin)
        stdin.flush()
        killed, seconds = self.watch(when, timeout_s, self._has_answered)
        answer = b"" if killed else os.read(self._answers, 1)
        codes = {DONE: 0, FAILED: 1}
        exit_code = codes[answer] if answer in codes else self.process.wait()
        return self.outcome(exit_code, killed=killed, seconds=seconds)

    def _has_answered(self) -> bool:
        return bool(select.select([self._answers], [], [], 0)[0])


READY, DONE, FAILED = b"R", b"D", b"F"


def _serve(answers: int, target: str, preload: Iterable[str], warm: str | None) -> None:
    """Main of a warm victim: get ready, then answer calls until the harness is gone."""
    for module in preload:
        importlib.import_module(module)
    function = _named(target)
    if warm is not None:
        _named(warm)()
    os.write(answers, READY)
    calls = sys.stdin.buffer
    while True:
        try:
            args = pickle.load(calls)
        except EOFError:
            return
        try:
            function(*args)
            answer = DONE
        except Exception:  # noqa: BLE001 - any error of the work is its outcome
            traceback.print_exc()
            answer = FAILED
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(answers, answer)


def _named(name: str) -> Callable[..., object]:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


class InvariantWatch:
    """Ask again and again, in a thread, whether what is visible is right.

    Parameters
    ----------
    check : callable
        Returns what is wrong now, one line each; an error it raises counts as a violation.
        It looks at files that come and go, so one that vanishes is no error.
    interval_s : float
        Pause between two looks.
    """

    def __init__(self, check: Callable[[], list[str]], interval_s: float = 0.005) -> None:
        self._check = check
        self._interval_s = interval_s
        self._stop = threading.Event()
        #: What was ever wrong, each line once, in the order seen.
        self.violations: list[str] = []
        #: How often it looked; a test asserts that it did.
        self.looks = 0

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._loop, name="invariant-watch", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._look()

    def _loop(self) -> None:
        while not self._stop.is_set():
            self._look()
            self._stop.wait(self._interval_s)

    def _look(self) -> None:
        try:
            found = self._check()
        except Exception as error:  # noqa: BLE001 - the thread must not die in silence
            found = [f"the check failed: {error!r}"]
        self.violations += [line for line in dict.fromkeys(found) if line not in self.violations]
        self.looks += 1


def tree_digest(tree: Path | Mapping[str, bytes], *, ignore: Iterable[str] = ()) -> dict[str, str]:
    """Sha256 of everything that is visible, by path relative to the tree.

    Parameters
    ----------
    tree : Path or mapping
        A folder, or objects by key (`S3Server.contents`).
    ignore : iterable of str
        Keys of records, at any depth, that differ from run to run by nature (seconds, peak
        memory); `made` always does.

    Returns
    -------
    dict
        Scratch files are left out (see `scratch_files`), and so are files that vanish meanwhile.
    """
    without = frozenset({"made", *ignore})
    digests = {}
    for name in _names(tree):
        if not _is_scratch(name) and (data := _bytes(tree, name)) is not None:
            if name.startswith(".records/") and name.endswith(".json"):
                data = _canonical(data, without)
            digests[name] = hashlib.sha256(data).hexdigest()
    return digests


def scratch_files(tree: Path | Mapping[str, bytes]) -> list[str]:
    """Relative paths of hidden files, and of files in hidden folders, that nobody publishes."""
    return [
        name for name in _names(tree) if _is_scratch(name) and not name.startswith(LOCKS_FOLDER)
    ]


def _names(tree: Path | Mapping[str, bytes]) -> list[str]:
    if not isinstance(tree, Path):
        return sorted(tree)
    return sorted(
        (Path(folder) / file).relative_to(tree).as_posix()
        for folder, _, files in os.walk(tree)
        for file in files
    )


def _bytes(tree: Path | Mapping[str, bytes], name: str) -> bytes | None:
    if not isinstance(tree, Path):
        return tree[name]
    try:
        return (tree / name).read_bytes()
    except FileNotFoundError:
        return None


def _is_scratch(name: str) -> bool:
    return any(p.startswith(".") and p not in PUBLISHED_DOT_NAMES for p in name.split("/"))


def _canonical(record: bytes, without: frozenset[str]) -> bytes:
    """Bytes of a record without some keys; one that is no JSON stays as it is, and so differs."""

    def kept(pairs: list[tuple[str, object]]) -> dict[str, object]:
        return {key: value for key, value in pairs if key not in without}

    try:
        return json.dumps(json.loads(record, object_pairs_hook=kept), sort_keys=True).encode()
    except ValueError:
        return record
