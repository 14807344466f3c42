"""Every value is the original's through every sink and by each way, of samples and real granules.

Built as the assets build it: listed from records, parsed from the bucket, kept in shards.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from dor_ecco_assets.samples.virtual_granules import (
    BUCKET,
    GROUPED,
    REPACKED,
    SWATHS,
    Collection,
    umm_item,
    write_archive,
)
from dor_ecco_assets.storage import Directory
from dor_ecco_assets.virtual.access import VARIABLE, Archives
from dor_ecco_assets.virtual.building import Report, apply
from dor_ecco_assets.virtual.collections import StoreSpec
from dor_ecco_assets.virtual.exports import collect
from dor_ecco_assets.virtual.granule_records import parse_umm
from dor_ecco_assets.virtual.hdf5 import parse_hdf5
from dor_ecco_assets.virtual.kerchunk_files import as_written, write_json, write_parquet
from dor_ecco_assets.virtual.layout import PACKED, needs_loading
from dor_ecco_assets.virtual.listing import listed_granule
from dor_ecco_assets.virtual.probing import probe
from dor_ecco_assets.virtual.reading import open_store, virtual_store
from dor_ecco_assets.virtual.referencing import References, parsing_of, reference_partition
from dor_ecco_assets.virtual.shards import read_shard, write_shard
from tests.support.data import real_data
from tests.support.ranges import RangeServer
from tests.support.s3 import ACCESS_KEY_ID, SECRET_ACCESS_KEY

# What fsspec reads Parquet references with.
pytestmark = pytest.mark.filterwarnings("ignore:The 'fastparquet' engine is deprecated")

WAYS = ("s3", "https", "local")
RAW = {"mask_and_scale": False, "decode_times": False}


@dataclass
class Made:
    """A store of some files, and where they can be reached."""

    folder: Path
    spec: StoreSpec
    files: list[Path]
    report: Report
    shards: dict[str, Any]
    storage: Directory

    def opened(self, way, **options):
        return open_store(virtual_store(self.storage, self.spec, way), **options)

    def kerchunk(self):
        """Paths of all kerchunk exports by form and way."""
        place = self.spec.access[0]
        session = virtual_store(self.storage, self.spec, "s3").reading()
        export, _ = collect(session, self.shards.get)
        assert export.left_out == {}
        for way in ("s3", "https"):
            root = str(getattr(place, way))
            write_json(self.folder / f"{way}.json", export, {place.name: root})
            yield self.folder / f"{way}.json", way
            write_parquet(
                self.folder / f"{way}.parquet",
                export,
                lambda _, key, root=root: root + as_written(root, key),
                record_size=11,
            )
            yield self.folder / f"{way}.parquet", way


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A folder that is served over HTTP, and is a bucket's copy."""
    folder = tmp_path_factory.mktemp("archive")
    with RangeServer(folder) as web:
        yield folder, web


@pytest.fixture
def make(archive, s3_server, s3_environment, tmp_path, monkeypatch):
    """Put files into the archive and build their store from the bucket's."""
    folder, web = archive
    monkeypatch.setenv(VARIABLE, "s3")
    s3_server.create_bucket(BUCKET)

    def build(name, files, begins, tracks=None, *, tell_load=True, **given):
        collection = Collection("C1-REAL", name)
        (folder / name).mkdir(exist_ok=True)
        access = {
            "s3": f"s3://{BUCKET}/",
            "https": f"{web.endpoint}/",
            "local": f"{folder}/",
            "endpoint": s3_server.endpoint,
        }
        text = {
            "collection": {"concept_id": collection.concept_id, "short_name": name},
            "access": access,
            "checksum": "last_modified",  # which all three ways can hold against the bytes
            "most_quarantined": 1.0,
            **given,
        }
        spec = StoreSpec.model_validate(text)
        if tell_load:
            missing = needs_loading(spec, parse_hdf5(str(files[0]), load=spec.load))
            spec = StoreSpec.model_validate(text | {"load": [*spec.load, *missing]})
        listed = []
        there = []
        for number, (path, begin) in enumerate(zip(files, begins, strict=True)):
            copy = shutil.copyfile(path, folder / name / path.name)
            os.utime(copy, (1e9, 1e9))
            data = copy.read_bytes()
            s3_server.client().put_object(Bucket=BUCKET, Key=f"{name}/{path.name}", Body=data)
            item = umm_item(
                collection,
                path.name,
                number=number,
                begin=begin,
                end=begin + timedelta(days=1, seconds=-1),
                revision_date=datetime(2025, 1, 1, tzinfo=UTC),
                data=data,
                track=None if tracks is None else tracks[number],
            )
            listed.append(listed_granule(spec, parse_umm(item)))
            there.append(copy)
        return _built(tmp_path, spec, listed, there)

    return build


def _built(folder, spec, listed, files):
    partitions = defaultdict(list)
    for partition, granule in listed:
        partitions[partition].append(granule)
    shards = {}
    for partition, granules in partitions.items():
        shard, _ = reference_partition(spec, granules, None, Archives(spec))
        place = folder / "shards" / partition
        write_shard(place, shard)
        shards[partition] = read_shard(lambda n, p=place: (p / n).read_bytes(), parsing_of(spec))
        assert shards[partition] is not None
    by_revision = {granule.revision: granule for _, granule in listed}
    source = References(spec, lambda _: by_revision, shards.get, Archives(spec))
    storage = Directory(folder / "root")
    report = apply(virtual_store(storage, spec), spec, listed, source)
    return Made(folder, spec, files, report, shards, storage)


def begins_of(files, name):
    for path in files:
        with xr.open_dataset(path, decode_timedelta=False) as granule:
            first = np.atleast_1d(granule[name].values)[0]
        yield datetime.fromtimestamp(int(first.astype("M8[s]").astype(int)), UTC)


def days(count):
    return [datetime(2001, 1, 1, tzinfo=UTC) + timedelta(days=n) for n in range(count)]


def slot_of(dataset, name, spec, slot, shape):
    """What a store has of an array of one granule."""
    if spec.swath is not None:
        found = dataset[name]
        found = found[slot] if spec.swath.dim in found.dims else found
        return found[tuple(slice(0, n) for n in shape)].values
    if spec.concat.dim in dataset[name].dims:
        return dataset[name].isel({spec.concat.dim: [slot]}).values
    return dataset[name].values


def assert_reads_as_the_originals(made, groups=("",), slots=None):
    slots = range(len(made.files)) if slots is None else slots
    compared = 0
    exports = list(made.kerchunk())
    for group in groups:
        opened = [made.opened(way, group=group) for way in WAYS]
        plain = [kerchunk_opened(made, path, way, group) for path, way in exports]
        for slot, path in zip(slots, made.files, strict=True):
            compared += _compared(made, group, slot, path, opened, plain)
        for found in plain:
            found.close()
    return compared


def kerchunk_opened(made, path, way, group):
    told: dict[str, Any] = {"remote_protocol": "s3" if way == "s3" else "http"}
    if way == "s3":
        told["remote_options"] = {
            "key": ACCESS_KEY_ID,
            "secret": SECRET_ACCESS_KEY,
            "endpoint_url": made.spec.access[0].endpoint,
        }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return xr.open_dataset(
            str(path), engine="kerchunk", storage_options=told, group=group or None, **RAW
        )


def _compared(made, group, slot, path, opened, plain):
    inside = group or None
    count = 0
    with xr.open_dataset(path, group=inside) as wanted:
        for name in wanted.variables:
            values = wanted[name].values
            for way, dataset in zip(WAYS, opened, strict=True):
                here = slot_of(dataset, name, made.spec, slot, values.shape)
                if here.dtype.kind == "f" and values.dtype.kind in "mM":
                    continue  # a ragged time step, which xarray cannot decode with its fill
                assert here.dtype == values.dtype, (name, way)
                np.testing.assert_array_equal(here, values, f"{name} by {way}")
                count += values.size
    with xr.open_dataset(path, group=inside, **RAW) as wanted:
        for name in wanted.variables:
            values = wanted[name].values
            for number, dataset in enumerate(plain):
                stored = name if name in dataset else f"{name}{PACKED}"
                here = slot_of(dataset, stored, made.spec, slot, values.shape)
                np.testing.assert_array_equal(here, values, f"{name} by kerchunk {number}")
                count += values.size
    return count


# --- samples -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    write_archive(folder, days=0, repacked=5, cycles=4, passes=2)
    return folder


@pytest.mark.parametrize(
    ("collection", "group"), [(SWATHS, ""), (GROUPED, "data_01")], ids=["plain", "grouped"]
)
def test_swaths(make, samples, collection, group):
    files = sorted((samples / collection.short_name).glob("*.nc"))
    tracks = [(int(path.stem[-7:-4]), int(path.stem[-3:])) for path in files]
    made = make(
        collection.short_name,
        files,
        days(len(files)),
        tracks,
        level="L2",
        swath={"dim": "granule", "ragged": ["num_lines"]},
        concat={"order": "cycle_pass"},
        identity="cycle_pass",
    )
    assert sorted(made.shards) == sorted({f"{cycle:04d}" for cycle, _ in tracks})
    assert made.report.published == len(files) == 4
    assert assert_reads_as_the_originals(made, (group,)) > 0


def test_packing_that_differs(make, samples):
    files = sorted((samples / REPACKED.short_name).glob("*.nc"))
    made = make(
        REPACKED.short_name,
        files,
        begins_of(files, "time"),
        level="L3",
        packing="raw",
        load=["time"],
    )
    assert made.report.published == len(files)
    assert assert_reads_as_the_originals(made) > 0


def test_a_name_in_which_urls_reserve_characters(make, samples):
    files = sorted((samples / REPACKED.short_name).glob("*.nc"))[:1]
    odd = shutil.copyfile(files[0], samples / "day 1 100%41#1.nc")
    made = make("ODD", [odd], begins_of([odd], "time"), level="L3", load=["time"])
    assert made.report.published == 1, made.report
    assert assert_reads_as_the_originals(made) > 0


# --- real granules -------------------------------------------------------------------------------


def real_files(*parts, pattern="*.nc", most=None):
    return sorted(real_data(*parts).glob(pattern))[:most]


@pytest.mark.parametrize(
    ("parts", "pattern", "time", "given"),
    [
        (("imos", "gsla"), "*2024*.nc", "TIME", {"concat": {"dim": "TIME"}}),
        (("ecco_granules",), "*.nc", "time", {}),
        (("podaac", "ghrsst_l2p"), "*.nc", "time", {"level": "L2"}),
    ],
    ids=["gsla", "ecco", "ghrsst"],
)
def test_real_grids(make, parts, pattern, time, given):
    files = real_files(*parts, pattern=pattern)
    bounds = ["time_bnds"] if "ecco_granules" in parts else []
    name = parts[-1].upper()
    made = make(
        name, files, begins_of(files, time), load=[time, *bounds], **{"level": "L4"} | given
    )
    assert made.report.published == len(files), made.report.quarantined
    assert assert_reads_as_the_originals(made) > 0


def test_real_netcdf3(make):
    files = real_files("podaac", "globcurrent", most=3)
    load = ["time", "lat", "lon"]
    begins = begins_of(files, "time")
    made = make("GLOBCURRENT", files, begins, level="L4", load=load, tell_load=False)
    assert made.report.published == len(files), made.report.quarantined
    assert assert_reads_as_the_originals(made) > 0
    # What compares a store with its originals reads them by the library of their format.
    compared = probe(made.storage, made.spec, 3, WAYS)
    assert {each.problem for each in compared} == {""}
    assert sum(each.values for each in compared) > 0


@pytest.mark.parametrize(
    ("parts", "ragged"),
    [
        (("podaac", "sentinel6_groups"), "time"),
        (("podaac", "swot_gpr"), "time"),
        (("podaac", "ascat"), "NUMROWS"),
    ],
    ids=["sentinel6", "swot_gpr", "ascat"],
)
def test_real_swaths(make, parts, ragged):
    files = real_files(*parts)
    made = make(
        parts[-1].upper(),
        files,
        days(len(files)),
        [(14, number + 1) for number in range(len(files))],
        tell_load=False,
        level="L2",
        swath={"dim": "granule", "ragged": [ragged]},
        concat={"order": "cycle_pass"},
    )
    assert list(made.shards) == ["0014"]
    assert made.report.published == len(files), made.report.quarantined
    with xr.open_datatree(files[0], decode_times=False) as tree:
        groups = [node.path.strip("/") for node in tree.subtree if node.data_vars]
    assert groups == [""] if "ascat" in parts else len(groups) > 1
    # Of many groups some: the others hold arrays of the same kinds.
    assert assert_reads_as_the_originals(made, groups[:: 1 + len(groups) // 3]) > 0


def test_a_real_granule_of_an_older_product_is_quarantined_with_the_reason(make):
    files = real_files("imos", "gsla")[::-1]  # the newest first: it tells what to load
    begins = begins_of(files, "TIME")
    load = ["TIME", "LATITUDE", "LONGITUDE"]
    made = make("GSLA_ALL", files, begins, level="L4", concat={"dim": "TIME"}, load=load)
    (reason,) = made.report.quarantined.values()
    assert reason.startswith("DtypeMismatch: DtypeMismatch in GSL: found >i2, expected <i2")
    assert made.report.published == 2
    made.files = [path for path in sorted(made.files) if "2024" in path.name]
    assert assert_reads_as_the_originals(made) > 0
