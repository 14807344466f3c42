"""A run that is killed at any moment and then run again ends like one that was never killed.

The default run kills four writers on each kind of storage. ``uv run pytest -m crash`` kills 200 on
each, ten of them whole Dagster runs; ``DOR_ECCO_KILLS=20 uv run pytest -m crash`` as many as
it says, one in twenty a Dagster run.
"""

import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import moto.backends
import pytest

from tests.crash.job import WORK, Variant, prepare
from tests.crash.roots import BucketRoot, LocalRoot, Root
from tests.crash.visible import of_clean_runs
from tests.support.kill import (
    AfterSeconds,
    InvariantWatch,
    Outcome,
    WarmVictims,
    When,
    run,
    run_and_kill,
)
from tests.support.s3 import S3Server

#: Read while tests are collected, before the session hides the user's variables.
KILLS = int(os.environ.get("DOR_ECCO_KILLS", "200"))
KILLS_IN_THE_DEFAULT_RUN = 4
#: Of as many kills one is of a whole Dagster run, which takes ten times as long.
KILLS_PER_DAGSTER_RUN = 20

#: Share of kills in a new root, and of those where only the granules change, which is quick.
NEW_ROOTS, NEW_DATES = 0.12, 0.66

JOB = "tests.crash.job"
STORAGES = ("local", "s3")


@dataclass
class SoonAfter:
    """A moment counted from the first change of what a root has on record."""

    root: Root
    delay_s: float
    _before: frozenset[str] = field(init=False, repr=False)
    _changed_at: float = field(init=False, repr=False, default=float("inf"))
    _look_at: float = field(init=False, repr=False, default=0.0)

    def __post_init__(self) -> None:
        self._before = self.root.records()

    def reached(self, seconds: float, printed: Callable[[], str]) -> bool:
        if self._changed_at > seconds >= self._look_at:
            if self.root.records() != self._before:
                self._changed_at = seconds
            # Looking all the time would take the processor that the victim works on.
            self._look_at = seconds + self.root.look_interval_s / 4
        return seconds >= self._changed_at + self.delay_s


@dataclass
class Bench:
    """Everything a series of kills needs; shared, because its making takes longer than a kill."""

    folder: Path
    server: S3Server
    environment: dict[str, str]
    variants: dict[str, Variant]
    victims: WarmVictims
    #: What each variant looks like after one clean run from nothing.
    clean: dict[str, dict[str, str]]
    _numbers: Iterator[int] = field(default_factory=count)

    def root(self, storage: str) -> Root:
        number = next(self._numbers)
        if storage == "local":
            return LocalRoot(self.folder / f"root-{number}")
        return BucketRoot(self.server, f"crash-{number}", self.folder / "scratch")

    def publish(self, root: Root, variant: Variant) -> float:
        """Run to the end in the process that is kept for it; returns the seconds it took."""
        return self.victims.complete(root.uri, variant).check().seconds

    def publish_and_kill(self, root: Root, variant: Variant, when: When) -> Outcome:
        return self.victims.run_and_kill(root.uri, variant, when=when)

    def dagster_run(self, root: Root, variant: Variant) -> tuple[list[str | Path], dict[str, str]]:
        """The command, and the variables, of a whole Dagster run that does the same."""
        keys = [key.split("/")[1] for key in WORK if key.startswith("ecco/")]
        partitions = WORK[f"ecco/{keys[0]}"]
        command: list[str | Path] = [Path(sys.executable).parent / "dor-ecco", "ecco", "granules"]
        command += [*keys, *(word for name in partitions for word in ("--partition", name))]
        command += ["--root", root.uri, "--data", variant.inputs, "--configs", variant.configs]
        home = str(self.folder / "dagster")
        epoch = variant.source_date_epoch
        return command, {**self.environment, "DAGSTER_HOME": home, "SOURCE_DATE_EPOCH": epoch}


@pytest.fixture(scope="module")
def swift_server(s3_server: S3Server) -> Iterator[S3Server]:
    """The S3 server without the listing of its own modules that it does for every request."""
    modules = tuple(moto.backends.list_of_moto_modules())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moto.backends, "list_of_moto_modules", lambda: modules)
        yield s3_server


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, swift_server: S3Server) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("crash")
    for name in ("scratch", "cache"):
        (folder / name).mkdir()
    environment = {
        **swift_server.environment(),
        "TMPDIR": str(folder / "scratch"),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    variants = prepare(folder)
    with WarmVictims(f"{JOB}:publish", warm=f"{JOB}:warm", env=environment) as victims:
        bench = Bench(folder, swift_server, environment, variants, victims, {})
        for variant in variants.values():
            root = bench.root("local")
            bench.publish(root, variant)
            bench.clean[variant.name] = root.digest()
            root.remove()
        yield bench


class Series:
    """Kill after kill on one kind of storage, each followed by a run to the end and a look.

    Parameters
    ----------
    bench : Bench
    storage : {"local", "s3"}
    seed : int
    """

    def __init__(self, bench: Bench, storage: str, seed: int) -> None:
        self._bench, self._storage, self._draw = bench, storage, random.Random(seed)
        self._known = of_clean_runs(bench.clean.values())
        self._root = bench.root(storage)
        self._clean_seconds: dict[str, float] = {}
        self._now = ""
        for name in ("early", "later", "other"):
            self._clean_seconds[name] = bench.publish(self._root, bench.variants[name])
            self._now = name
            self._expect(name, "replacing without a kill")
        #: How many kills came at which state of the work.
        self.found: Counter[str] = Counter()

    def kill(self, number: int) -> bool:
        """Whether a victim was killed; one that is through before its moment was not."""
        variant = self._next_variant()
        before = self._root.records()
        when = self._moment(variant)
        with self._root.watched(self._known) as watch:
            killed = self._bench.publish_and_kill(self._root, variant, when).killed
            if killed:
                self._see(before, watch)
            self._bench.publish(self._root, variant)
        self._expect(variant.name, f"kill {number}, {when}")
        return killed

    def kill_dagster_run(self, number: int, workers: int) -> bool:
        """The same with a whole Dagster run, `workers` processes and the command line around it."""
        variant = self._next_variant()
        before = self._root.records()
        command, environment = self._bench.dagster_run(self._root, variant)
        when = SoonAfter(self._root, self._draw.uniform(0, self._clean_seconds["other"]))
        words = [*command, "--workers", str(workers)] if workers > 1 else command
        with self._root.watched(self._known) as watch:
            options = {"env": environment, "cwd": self._bench.folder}
            killed = run_and_kill(words, when, **options).killed
            if killed:
                self._see(before, watch)
            if workers > 1:  # a run of another kind may complete it
                self._bench.publish(self._root, variant)
            else:
                run(command, **options).check()
        self._expect(variant.name, f"Dagster run {number}, {when}")
        return killed

    def _next_variant(self) -> Variant:
        """Another variant than the one published, or any one in a new root."""
        dates = {"early": "later", "later": "early"}
        kind = self._draw.random()
        if kind < NEW_ROOTS:
            self._root.remove()
            self._root, self._now = self._bench.root(self._storage), ""
            name = self._draw.choice(["early", "later", "other"])
        elif kind < NEW_ROOTS + NEW_DATES and self._now in dates:
            name = dates[self._now]
        else:
            name = self._draw.choice([n for n in self._bench.variants if n != self._now])
        return self._bench.variants[name]

    def _moment(self, variant: Variant) -> When:
        """Anywhere in the work, or, every other time, where records and bytes change."""
        few_dates = {self._now, variant.name} == {"early", "later"}
        clean = self._clean_seconds["later" if few_dates else "early"]
        if self._draw.random() < 0.5:
            return AfterSeconds(self._draw.uniform(0, clean))
        return SoonAfter(self._root, self._draw.choice([0.0, 0.02, 0.3]) * self._draw.random())

    def _see(self, before: frozenset[str], watch: InvariantWatch) -> None:
        """Wait for a look at what the kill left, and count what state that is."""
        looks = watch.looks
        after = self._root.records()
        self.found["scratch was there"] += bool(self._root.remains())
        self.found["a record was withdrawn"] += bool(before - after)
        self.found["some were made, some not"] += before != after and len(after) < 7
        while watch.looks < looks + 2:  # the first of them may have begun before the kill
            time.sleep(0.001)

    def _expect(self, variant: str, what: str) -> None:
        self._now = variant
        found, clean = self._root.digest(), self._bench.clean[variant]
        differing = {
            name for name in found.keys() | clean.keys() if found.get(name) != clean.get(name)
        }
        assert not differing, f"{what}: to {variant}, differs in {sorted(differing)}"
        assert self._root.remains() == [], f"{what}: to {variant}"


def kill_many(bench: Bench, storage: str, *, kills: int, dagster_runs: int) -> Series:
    series = Series(bench, storage, seed=20)
    began = time.monotonic()
    for number in range(kills):
        attempts = iter(range(10))
        if number < dagster_runs:
            while not series.kill_dagster_run(number, workers=1 + number % 2):
                assert next(attempts, None) is not None, "ten runs ended before their moment"
        else:
            while not series.kill(number):
                assert next(attempts, None) is not None, "ten runs ended before their moment"
    seconds = time.monotonic() - began
    print(f"\n{storage}: {kills} kills in {seconds:.0f} s; {dict(series.found)}")
    return series


@pytest.mark.parametrize("storage", STORAGES)
def test_a_few_killed_writers_leave_nothing_wrong(bench: Bench, storage: str) -> None:
    kill_many(bench, storage, kills=KILLS_IN_THE_DEFAULT_RUN, dagster_runs=0)


@pytest.mark.crash
@pytest.mark.parametrize("storage", STORAGES)
def test_many_killed_writers_leave_nothing_wrong(bench: Bench, storage: str) -> None:
    dagster_runs = -(-KILLS // KILLS_PER_DAGSTER_RUN)
    series = kill_many(bench, storage, kills=KILLS, dagster_runs=dagster_runs)
    if KILLS >= 20:  # else chance may have spared a state
        assert set(+series.found) == {
            "scratch was there",
            "a record was withdrawn",
            "some were made, some not",
        }
