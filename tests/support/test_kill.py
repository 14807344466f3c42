"""The kill harness kills when told, leaves nothing alive, and sees what is visible."""

from __future__ import annotations

import json
import os
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from tests.support.kill import (
    AfterSeconds,
    InvariantWatch,
    WarmVictims,
    WhenPrinted,
    WhenTrue,
    random_moments,
    run,
    run_and_kill,
    scratch_files,
    tree_digest,
)

#: Writes ten numbered files, one each 50 ms, atomically, with a line of output for each.
STEPS = """
    import os, sys, time
    from pathlib import Path
    folder = Path(sys.argv[1])
    for n in range(10):
        part = folder / f".{n}.part"
        part.write_text(f"file {n}")
        time.sleep(0.05)
        part.rename(folder / f"{n}.txt")
        print("wrote", n, flush=True)
"""
#: Starts a child in its session and one in a session's group of its own, then waits.
FAMILY = """
    import os, subprocess, sys, time
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    print(subprocess.Popen(sleep).pid, subprocess.Popen(sleep, process_group=0).pid, flush=True)
    time.sleep(600)
"""


def lives(pid: int) -> bool:
    """Tell a living process from none, and from a zombie that waits for its parent."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def script(source: str, *args: object) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(source), *map(str, args)]


def write_slowly(folder: str, files: int, seconds_each: float) -> None:
    for n in range(files):
        path = Path(folder, f"{n}.txt")
        if not path.exists():
            part = path.with_name(f".{n}.part")
            part.write_text(f"file {n}")
            time.sleep(seconds_each)
            part.rename(path)
            print("wrote", n, flush=True)


def fail(message: str) -> None:
    raise ValueError(message)


def exit_at_once() -> None:
    os._exit(7)


def print_warm() -> None:
    print("warm")


def test_run_returns_exit_code_and_output(tmp_path: Path) -> None:
    outcome = run(
        script("import os, sys; print(os.environ['X'], os.getcwd()); sys.exit('bad')"),
        env={"X": "1"},
        cwd=tmp_path,
    )
    assert (outcome.exit_code, outcome.killed) == (1, False)
    assert outcome.stdout.split() == ["1", str(tmp_path)]
    assert outcome.stderr.strip() == "bad"
    with pytest.raises(AssertionError, match="bad"):
        outcome.check()


def test_run_gives_up_on_a_program_that_hangs() -> None:
    with pytest.raises(TimeoutError, match="hello"):
        run(script("import time; print('hello', flush=True); time.sleep(600)"), timeout_s=1)


def test_a_kill_takes_children_and_their_groups_along() -> None:
    outcome = run_and_kill(script(FAMILY), WhenPrinted("\n"))
    assert outcome.killed
    assert outcome.exit_code == -9
    pids = [int(word) for word in outcome.stdout.split()]
    assert len(pids) == 2
    assert not any(lives(pid) for pid in pids)


def test_a_kill_comes_at_its_moment_and_a_rerun_completes(tmp_path: Path) -> None:
    when = WhenTrue(lambda: (tmp_path / "3.txt").exists())
    killed = run_and_kill(script(STEPS, tmp_path), when)
    assert killed.killed
    assert len(tree_digest(tmp_path)) in {4, 5}
    run(script(STEPS, tmp_path)).check()
    assert set(tree_digest(tmp_path)) == {f"{n}.txt" for n in range(10)}
    assert scratch_files(tmp_path) == []


def test_a_moment_after_the_end_kills_nothing() -> None:
    outcome = run_and_kill(script("print('done')"), AfterSeconds(60))
    assert (outcome.exit_code, outcome.killed, outcome.stdout) == (0, False, "done\n")


def test_random_moments_cover_the_run_and_repeat_with_their_seed() -> None:
    moments = random_moments(3, 2.0, 10)
    assert moments == random_moments(3, 2.0, 10)
    assert moments != random_moments(4, 2.0, 10)
    spans = sorted(int(moment.seconds / 0.2) for moment in moments)
    assert spans == list(range(10))


def test_warm_victims_are_killed_and_completed(tmp_path: Path) -> None:
    with WarmVictims(f"{__name__}:write_slowly") as victims:
        clean = victims.complete(str(tmp_path), 5, 0.02).check()
        reference = tree_digest(tmp_path)
        assert clean.stdout.splitlines() == [f"wrote {n}" for n in range(5)]
        assert 0.1 <= clean.seconds < 1
        mid_run = 0
        for n, when in enumerate(random_moments(0, clean.seconds, 6)):
            folder = tmp_path / f"kill-{n}"
            folder.mkdir()
            killed = victims.run_and_kill(str(folder), 5, 0.02, when=when)
            assert killed.killed == (killed.exit_code == -9)
            mid_run += 0 < len(tree_digest(folder)) < 5
            victims.complete(str(folder), 5, 0.02).check()
            assert tree_digest(folder) == reference
        assert mid_run >= 2


def test_a_warm_victim_can_be_killed_by_what_it_prints(tmp_path: Path) -> None:
    with WarmVictims(f"{__name__}:write_slowly", warm=f"{__name__}:print_warm") as victims:
        outcome = victims.run_and_kill(str(tmp_path), 5, 0.05, when=WhenPrinted("wrote 1"))
    assert outcome.killed
    assert outcome.stdout == "wrote 0\nwrote 1\n", "the output before the call does not count"
    assert set(tree_digest(tmp_path)) == {"0.txt", "1.txt"}


def test_errors_of_the_work_and_of_its_imports_are_told_apart() -> None:
    with WarmVictims(f"{__name__}:fail") as victims:
        outcome = victims.complete("no such case")
        assert outcome.exit_code == 1
        assert "ValueError: no such case" in outcome.stderr
        assert victims.run_and_kill("again", when=AfterSeconds(60)).exit_code == 1
    with WarmVictims(f"{__name__}:exit_at_once") as victims:
        assert victims.complete().exit_code == 7
        assert victims.complete().exit_code == 7
    with (
        WarmVictims("no_such_module:f") as victims,
        pytest.raises(RuntimeError, match="no_such_module"),
    ):
        victims.complete()


def test_a_waiting_victim_ends_with_its_harness(tmp_path: Path) -> None:
    source = f"""
        import sys, os, time
        sys.path[:] = {sys.path!r}
        from tests.support.kill import WarmVictims
        with WarmVictims("time:sleep") as victims:
            victim = victims._waiting[0]
            victim.wait_until_ready(60)
            print(victim.process.pid, flush=True)
            os._exit(0)
    """
    pid = int(run(script(source)).check().stdout)
    deadline = time.monotonic() + 10
    while lives(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_watch_sees_what_is_wrong_only_for_a_moment(tmp_path: Path) -> None:
    def check() -> list[str]:
        return [f"{p.name} is empty" for p in tmp_path.glob("*.txt") if not p.stat().st_size]

    with InvariantWatch(check, interval_s=0.001) as watch:
        (tmp_path / "a.txt").touch()
        time.sleep(0.1)
        (tmp_path / "a.txt").write_text("full")
        time.sleep(0.1)
    assert watch.violations == ["a.txt is empty"]
    assert watch.looks > 10


def test_the_watch_reports_a_check_that_breaks() -> None:
    with InvariantWatch(lambda: fail("broken") or [], interval_s=0.001) as watch:  # type: ignore[func-returns-value]
        pass
    assert watch.violations == ["the check failed: ValueError('broken')"]


def test_the_digest_ignores_time_and_scratch_and_nothing_else(tmp_path: Path) -> None:
    def lay(root: Path, made: str, seconds: float, sha256: str = "s") -> Path:
        record = {"made": made, "sha256": sha256, "details": {"seconds": seconds, "rows": 3}}
        for name, text in {
            ".records/ecco/x/_.json": json.dumps(record),
            "ecco/x.nc": "bytes",
            "ecco/.x.nc.12ab.part": made,
            ".zgroup": "{}",
            "ecco/.sweep/x": made,
            ".locks/ecco/x.lock": made,
        }.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        return root

    first = lay(tmp_path / "a", "today", 1.0)
    second = lay(tmp_path / "b", "tomorrow", 2.0)
    assert tree_digest(first, ignore=["seconds"]) == tree_digest(second, ignore=["seconds"])
    assert set(tree_digest(first)) == {".records/ecco/x/_.json", "ecco/x.nc", ".zgroup"}
    assert tree_digest(first) != tree_digest(second)
    other = lay(tmp_path / "c", "today", 1.0, sha256="t")
    assert tree_digest(first) != tree_digest(other)
    assert scratch_files(first) == ["ecco/.sweep/x", "ecco/.x.nc.12ab.part"]
    as_objects = {p.relative_to(first).as_posix(): p.read_bytes() for p in files(first)}
    assert tree_digest(as_objects) == tree_digest(first)


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]
