"""Killed at any moment, the old or the new version is readable, and a rerun finishes."""

from __future__ import annotations

import json
import threading
from functools import partial
from pathlib import Path

import pytest

from dor_ecco_assets.errors import PartitionBusy
from dor_ecco_assets.settings import Place
from dor_ecco_assets.storage import open_storage
from dor_ecco_assets.stores.icechunk_store import IcechunkStore
from dor_ecco_assets.virtual.building import apply
from dor_ecco_assets.virtual.digest import content_digest
from dor_ecco_assets.virtual.reading import containers_of
from tests.support.kill import WarmVictims, WhenTrue, random_moments
from tests.support.s3 import S3Server
from tests.virtual.stores import Archive, deleted, spec, store_at

#: What the victims do one after the other: days to publish, then days to withdraw.
STEPS = (((0, 1, 2), ()), ((4, 5), ()), ((3,), ()), ((), (1,)))


def steps(archive):
    listed = {day: archive.daily(day) for day in range(6)}
    for new, gone in STEPS:
        yield [*(listed[day] for day in new), *(deleted(listed[day]) for day in gone)]


def build(folder: str, root: str) -> None:
    """The work to be killed; the granules are there already."""
    archive = Archive(Path(folder))
    store = store_at(Path(root), archive)
    for listed in known_steps(Path(folder)):
        apply(store, archive.spec, listed, archive)


def known_steps(folder):
    """The steps as they were listed when the archive was written."""
    from dor_ecco_assets.virtual.listing import Listed, ListedGranule

    for step in json.loads((folder / "steps.json").read_text()):
        yield [Listed(partition, ListedGranule(**granule)) for partition, granule in step]


def has_snapshots(root, count):
    return len(list((root / "virtual/SAMPLE/store/snapshots").glob("*"))) >= count


def warm() -> None:
    """Nothing more than the imports."""
    import xarray
    import zarr

    assert xarray
    assert zarr


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    from dataclasses import asdict

    archive = Archive(tmp_path_factory.mktemp("archive"))
    listed = [[(p, asdict(g)) for p, g in step] for step in steps(archive)]
    (archive.folder / "steps.json").write_text(json.dumps(listed))
    return archive


def test_a_killed_build_leaves_a_whole_version_and_is_finished_by_a_rerun(archive, tmp_path):
    clean = store_at(tmp_path / "clean", archive)
    wanted = []
    for listed in known_steps(archive.folder):
        apply(clean, archive.spec, listed, archive)
        wanted.append(content_digest(clean, values=True))
    seen = set()
    with WarmVictims(
        f"{__name__}:build",
        preload=["icechunk", "zarr", "cftime", "dor_ecco_assets.virtual.building"],
        warm=f"{__name__}:warm",
    ) as victims:
        whole = victims.complete(str(archive.folder), str(tmp_path / "timed")).check()
        # At any moment, and when a snapshot lies there that no branch may lead to yet.
        moments = [*random_moments(6, whole.seconds, 4), 2, 4]
        for number, moment in enumerate(moments):
            root = tmp_path / str(number)
            if isinstance(moment, int):
                moment = WhenTrue(partial(has_snapshots, root, moment))
            victims.run_and_kill(str(archive.folder), str(root), when=moment)
            store = store_at(root, archive)
            if (root / "virtual/SAMPLE/store").is_dir() and store.exists():
                versions = [v.snapshot for v in store.versions()][:-1]
                assert len(versions) <= len(STEPS)
                for snapshot, digest in zip(reversed(versions), wanted, strict=False):
                    assert content_digest(store, snapshot, values=True) == digest
                seen.add(len(versions))
            victims.complete(str(archive.folder), str(root)).check()
            assert content_digest(store_at(root, archive), values=True) == wanted[-1]
    assert len(seen) > 1  # killed in several places, not always before the first commit


@pytest.mark.parametrize("where", ["before", "after"])
def test_killed_right_before_and_right_after_a_commit(archive, tmp_path, where, monkeypatch):
    """The moments between which everything is decided, hit exactly."""
    clean = store_at(tmp_path / "clean", archive)
    batches = list(known_steps(archive.folder))
    wanted = []
    for listed in batches:
        apply(clean, archive.spec, listed, archive)
        wanted.append(content_digest(clean))
    store = store_at(tmp_path / "root", archive)
    commit = IcechunkStore.commit

    class Killed(BaseException):
        pass

    def killed(self, *args):
        if where == "after":
            commit(self, *args)
        raise Killed

    for number, listed in enumerate(batches):
        monkeypatch.setattr(IcechunkStore, "commit", killed)
        with pytest.raises(Killed):
            apply(store, archive.spec, listed, archive)
        monkeypatch.setattr(IcechunkStore, "commit", commit)
        if where == "after":
            assert content_digest(store) == wanted[number]
        elif number:
            assert content_digest(store) == wanted[number - 1]
        again = apply(store_at(tmp_path / "root", archive), archive.spec, listed, archive)
        assert again.commits == (1 if where == "before" else 0)
        assert content_digest(store_at(tmp_path / "root", archive)) == wanted[number]


def test_two_writers_in_a_bucket_both_win(archive, tmp_path, monkeypatch):
    with S3Server() as server:
        server.create_bucket("products")
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        local = spec(access={"local": f"{archive.folder}/"})

        def store():
            storage = open_storage(
                Place(root="s3://products/two", endpoint=server.endpoint, path_style=True)
            )
            return IcechunkStore(storage, "store", containers_of(local))

        listed = next(known_steps(archive.folder))
        apply(store(), local, listed[:1], Archive(archive.folder))
        others = [each for step in known_steps(archive.folder) for each in step][1:]
        errors = []
        start = threading.Barrier(2)

        def write(mine):
            try:
                start.wait()
                for each in mine:
                    apply(store(), local, [each], Archive(archive.folder))
            except BaseException as error:  # noqa: BLE001 - shown by the test
                errors.append(error)

        threads = [threading.Thread(target=write, args=(others[n::2],)) for n in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        clean = store_at(tmp_path / "clean", archive)
        everything = [each for step in known_steps(archive.folder) for each in step]
        apply(clean, local, everything, archive)
        assert content_digest(store(), values=True) == content_digest(clean, values=True)


def test_a_second_writer_in_a_folder_waits_for_the_first(archive, tmp_path):
    listed = next(known_steps(archive.folder))
    store = store_at(tmp_path / "root", archive)
    apply(store, archive.spec, listed[:1], archive)
    with store.writing(), pytest.raises(PartitionBusy):
        apply(store_at(tmp_path / "root", archive), archive.spec, listed, archive)
    with store.writing(), pytest.raises(PartitionBusy):
        store_at(tmp_path / "root", archive).rollback(store.head)
    assert list((tmp_path / "root" / ".locks").iterdir()) == []
    assert apply(store, archive.spec, listed, archive).published == 2
