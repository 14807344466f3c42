"""A store is what was listed, in whatever order it was told, and reads as the granules do."""

from __future__ import annotations

import itertools
import os
import random
import shutil
from dataclasses import replace
from datetime import timedelta

import h5py
import netCDF4
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dor_ecco_assets.errors import ConfigurationError, InputMissing, WorkFailed
from dor_ecco_assets.samples.virtual_granules import write_daily
from dor_ecco_assets.stores.ledger_arrays import read_ledger
from dor_ecco_assets.virtual.building import apply
from dor_ecco_assets.virtual.digest import content_digest
from dor_ecco_assets.virtual.listing import Listed
from dor_ecco_assets.virtual.reading import open_store
from dor_ecco_assets.virtual.versions import diff
from tests.virtual.stores import ORIGIN, TINY, Archive, deleted, revised, spec, store_at


@pytest.fixture
def archive(tmp_path):
    (tmp_path / "archive").mkdir()
    return Archive(tmp_path / "archive")


@pytest.fixture
def store(tmp_path, archive):
    return store_at(tmp_path / "root", archive)


def states(store):
    return {e.key: e.state for e in read_ledger(store.reading().store).entries()}


def reason_of(store, key):
    (entry,) = read_ledger(store.reading().store).find([key])
    return entry.reason_code


def assert_reads_as(store, paths, **options):
    """The store's values are those of the files, in the order given."""
    found = open_store(store, **options)
    with xr.open_mfdataset(
        paths,
        combine="nested",
        concat_dim="time",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="override",
    ) as wanted:
        assert set(found.variables) == set(wanted.variables)
        for name in wanted.variables:
            np.testing.assert_array_equal(found[name].values, wanted[name].values, name)
            assert found[name].dtype == wanted[name].dtype
            assert found[name].dims == wanted[name].dims
            assert {k: v for k, v in found[name].attrs.items() if k != "comment"} == {
                k: v for k, v in wanted[name].attrs.items() if k != "comment"
            }


def paths(archive, days):
    return [archive.folder / f"day{day:04d}.nc" for day in days]


def test_a_batch_is_one_commit_and_reads_as_its_granules(store, archive):
    report = apply(store, archive.spec, [archive.daily(day) for day in (2, 0, 1)], archive)
    assert (report.commits, report.published, report.references) == (1, 3, 12)
    assert_reads_as(store, paths(archive, range(3)))
    assert len(list(store.versions())) == 2  # with the empty one


def test_what_is_there_is_not_asked_for_nor_written_again(store, archive):
    listed = [archive.daily(day) for day in range(3)]
    first = apply(store, archive.spec, listed, archive)
    archive.asked.clear()
    again = apply(store, archive.spec, [*listed, *listed], archive)
    assert (again.commits, again.snapshot, archive.asked) == (0, first.snapshot, [])


def test_a_late_granule_finds_its_place(store, archive):
    listed = [archive.daily(day) for day in range(8)]
    apply(store, archive.spec, [each for n, each in enumerate(listed) if n not in (0, 3)], archive)
    report = apply(store, archive.spec, [listed[3], listed[0]], archive)
    assert report.late == 2
    assert_reads_as(store, paths(archive, range(8)))


def test_a_revision_replaces_what_was_there(store, archive):
    listed = [archive.daily(day) for day in range(4)]
    apply(store, archive.spec, listed, archive)
    write_daily(archive.folder / "day0002.nc", 2, grid=TINY, deviation="other level")
    size = (archive.folder / "day0002.nc").stat().st_size
    report = apply(store, archive.spec, [revised(listed[2], size_bytes=size)], archive)
    assert (report.replaced, report.published, report.references) == (1, 0, 4)
    assert_reads_as(store, paths(archive, range(4)))


def test_a_revision_of_the_record_alone_writes_no_references(store, archive):
    listed = [archive.daily(day) for day in range(3)]
    listed = [
        Listed(each.partition, replace(each.granule, checksum=("MD5", f"{n}")))
        for n, each in enumerate(listed)
    ]
    apply(store, archive.spec, listed, archive)
    archive.asked.clear()
    report = apply(store, archive.spec, [revised(listed[1])], archive)
    assert (report.references, archive.asked) == (0, [])
    assert states(store)["G-day0001"] == "published"


def test_chunks_that_a_revision_does_not_have_read_as_missing(store, archive):
    listed = [archive.daily(day) for day in range(3)]
    apply(store, archive.spec, listed, archive)

    def sparse(entries, **options):
        for granule in archive(entries, **options):
            array = granule.arrays["analysed_sst"]
            lengths = array.lengths.copy()
            lengths[0, 1, 1] = 0
            arrays = {**granule.arrays, "analysed_sst": replace(array, lengths=lengths)}
            yield replace(granule, arrays=arrays)

    apply(store, archive.spec, [revised(listed[1])], sparse)
    values = open_store(store)["analysed_sst"].values
    assert np.isnan(values[1, 2:, 3:]).all()
    assert not np.isnan(values[1, 1:2]).any()
    assert not np.isnan(values[2, 1:]).any()


def test_a_withdrawn_granule_leaves_no_gap_on_an_irregular_axis(store, archive):
    listed = [archive.daily(day) for day in range(5)]
    apply(store, archive.spec, listed, archive)
    report = apply(store, archive.spec, [deleted(listed[4]), deleted(listed[1])], archive)
    assert report.withdrawn == 2
    assert_reads_as(store, paths(archive, (0, 2, 3)))
    assert open_store(store).attrs["time_coverage_end"] == "2002-06-04T23:59:59Z"


def test_a_regular_axis_has_holes_with_a_time(store, archive):
    archive.spec = spec(concat={"step": "P1D", "on_gap": "hole"})
    listed = {day: archive.daily(day) for day in (2, 3, 6, 8)}
    apply(store, archive.spec, [listed[3], listed[8]], archive)
    apply(store, archive.spec, [listed[6]], archive)
    apply(store, archive.spec, [listed[2]], archive)
    found = open_store(store)
    wanted = np.arange("2002-06-03", "2002-06-10", dtype="M8[D]").astype("M8[ns]")
    np.testing.assert_array_equal(found["time"].values, wanted)
    for slot, day in enumerate(range(2, 9)):
        values = found["analysed_sst"][slot].values
        if day in listed:
            with xr.open_dataset(paths(archive, [day])[0]) as granule:
                np.testing.assert_array_equal(values, granule["analysed_sst"].values[0])
        else:
            assert np.isnan(values).all()
    apply(store, archive.spec, [deleted(listed[6]), deleted(listed[2])], archive)
    found = open_store(store)
    np.testing.assert_array_equal(found["time"].values, wanted[1:])
    assert np.isnan(found["analysed_sst"][3].values).all()


def test_all_withdrawn_leaves_an_empty_store(store, archive):
    listed = [archive.daily(day) for day in range(2)]
    apply(store, archive.spec, listed, archive)
    apply(store, archive.spec, [deleted(each) for each in listed], archive)
    assert open_store(store).sizes["time"] == 0
    again = [
        Listed(
            each.partition,
            replace(each.granule, revision_id=2, revision_date="2005-01-01T00:00:00.000Z"),
        )
        for each in listed
    ]
    apply(store, archive.spec, again, archive)
    assert_reads_as(store, paths(archive, range(2)))


def test_of_one_identity_the_latest_product_is_published_and_the_other_comes_back(store, archive):
    quick, final = archive.daily(1), archive.daily(1, "final.nc", deviation="other level")
    quick, final = (
        Listed(
            each.partition,
            replace(each.granule, identity="day 1", production_date=f"2002-0{n}-01T00:00:00Z"),
        )
        for each, n in ((quick, 7), (final, 9))
    )
    assert apply(store, archive.spec, [archive.daily(0), quick], archive).published == 2
    report = apply(store, archive.spec, [final], archive)
    assert (report.published, report.superseded) == (1, 1)
    assert_reads_as(store, [*paths(archive, [0]), archive.folder / "final.nc"])
    apply(store, archive.spec, [deleted(final)], archive)
    assert states(store) == {
        "G-day0000": "published",
        "G-day0001": "published",
        "G-final": "withdrawn",
    }
    assert_reads_as(store, paths(archive, range(2)))


def test_times_in_other_units_are_kept_in_the_stores(store, archive):
    listed = [archive.daily(0), archive.daily(1, deviation="other epoch"), archive.daily(2)]
    apply(store, archive.spec, listed, archive)
    assert_reads_as(store, paths(archive, range(3)))


@pytest.mark.parametrize(
    ("deviation", "code"),
    [
        ("packing", "PackingMismatch"),
        ("fill", "FillMismatch"),
        ("chunks", "ChunkMismatch"),
        ("dtype", "DtypeMismatch"),
        ("no filters", "CodecMismatch"),
        ("fletcher32", "CodecMismatch"),
        ("fewer rows", "DimMismatch"),
        ("shifted latitude", "CoordMismatch"),
        ("duplicate time", "TimeInvalid"),
    ],
)
def test_a_granule_that_does_not_fit_is_quarantined_with_its_cause(store, archive, deviation, code):
    listed = [archive.daily(day) for day in range(3)]
    listed.append(archive.daily(3, deviation=deviation))
    report = apply(store, archive.spec, listed, archive)
    assert list(report.quarantined) == ["G-day0003"]
    assert report.quarantined["G-day0003"].startswith(f"{code}: ")
    assert reason_of(store, "G-day0003") == code
    assert_reads_as(store, paths(archive, range(3)))
    archive.asked.clear()
    assert apply(store, archive.spec, listed, archive).commits == 0
    assert archive.asked == []  # not tried again under the same configuration


@pytest.mark.parametrize(
    "deviation", ["packing", "fill", "chunks", "dtype", "no filters", "fletcher32"]
)
def test_a_granule_that_does_not_fit_can_be_copied(store, archive, deviation):
    archive.spec = spec(incompatible="materialise")
    listed = [archive.daily(day) for day in range(3)]
    listed.insert(1, archive.daily(3, deviation=deviation))
    report = apply(store, archive.spec, listed, archive)
    assert (report.published, report.materialised) == (4, 1)
    found = open_store(store)["analysed_sst"].values
    with xr.open_dataset(paths(archive, [3])[0]) as granule:
        # Within half a step of the store's packing.
        wanted = granule["analysed_sst"].values[0]
        np.testing.assert_allclose(found[3], wanted, atol=0.0005 + 1e-9, rtol=0)
        assert np.isnan(found[3][0, 0])
    apply(store, archive.spec, [archive.daily(4)], archive)
    apply(store, archive.spec, [deleted(listed[0])], archive)
    again = open_store(store)["analysed_sst"].values
    np.testing.assert_array_equal(again[2], found[3])


def rewritten(path, write):
    """A granule whose field is stored as `write` does it, in plain HDF5."""
    with h5py.File(path, "r+") as file:
        old = file["analysed_sst"]
        data, attributes = old[...], dict(old.attrs)
        fill, chunks = old.fillvalue, old.chunks
        del file["analysed_sst"]
        made = write(file, data, fill, chunks)
        for name, value in attributes.items():
            if name not in ("DIMENSION_LIST", "_Netcdf4Coordinates", "_Netcdf4Dimid"):
                made.attrs[name] = value
        for axis, name in enumerate(("time", "lat", "lon")):
            made.dims[axis].attach_scale(file[name])


def in_lzf(file, data, fill, chunks):
    return file.create_dataset(
        "analysed_sst", data=data, chunks=chunks, compression="lzf", fillvalue=fill
    )


def with_a_chunk_stored_plainly(file, data, fill, chunks):
    made = file.create_dataset(
        "analysed_sst", data=data, chunks=chunks, compression="gzip", shuffle=True, fillvalue=fill
    )
    made.id.write_direct_chunk((0, 0, 0), data[:, : chunks[1], : chunks[2]].tobytes(), 0b11)
    return made


@pytest.mark.parametrize(
    ("write", "code"),
    [(in_lzf, "CodecUnsupported"), (with_a_chunk_stored_plainly, "FilterMask")],
)
def test_what_no_reader_could_decode_is_copied_or_quarantined(store, archive, write, code):
    listed = [archive.daily(day) for day in range(4)]
    path = archive.folder / "day0002.nc"
    same = shutil.copyfile(path, archive.folder / "same.nc")
    rewritten(path, write)
    listed[2] = Listed(
        listed[2].partition, replace(listed[2].granule, size_bytes=path.stat().st_size)
    )
    report = apply(store, archive.spec, listed, archive)
    assert report.quarantined["G-day0002"].startswith(f"{code}: ")
    assert_reads_as(store, paths(archive, (0, 1, 3)))
    archive.spec = spec(incompatible="materialise")  # tried again under another configuration
    report = apply(store, archive.spec, listed, archive)
    assert (report.published, report.materialised) == (1, 1)
    day0, day1, _, day3 = paths(archive, range(4))
    assert_reads_as(store, [day0, day1, same, day3])


def test_the_arrays_that_all_have(store, archive):
    archive.spec = spec(variables="intersection")
    both = replace(TINY, variables=("analysed_sst", "analysis_error"))
    listed = [archive.daily(0), archive.daily(1, grid=both), archive.daily(2, grid=both)]
    assert apply(store, archive.spec, listed, archive).published == 3
    assert "analysis_error" not in open_store(store)


def test_a_copy_that_would_lose_digits_is_refused(store, archive):
    archive.spec = spec(incompatible="materialise")
    listed = [archive.daily(day) for day in range(3)]
    listed.append(archive.daily(3, scale_factor=0.0001))
    report = apply(store, archive.spec, listed, archive)
    assert "PackingMismatch" in report.quarantined["G-day0003"]
    assert "steps are 0.0001" in report.quarantined["G-day0003"]


def test_many_granules_of_another_schema_open_an_epoch(store, archive):
    archive.spec = spec(schema_epochs="auto", most_quarantined=1.0)
    old = [archive.daily(day) for day in range(7)]
    new = [archive.daily(day, deviation="chunks") for day in range(7, 19)]
    report = apply(store, archive.spec, [*old, *new[:6]], archive)
    assert (report.published, len(report.quarantined)) == (7, 6)
    report = apply(store, archive.spec, new[6:], archive)
    assert (report.published, len(report.quarantined)) == (12, 0)
    assert_reads_as(store, paths(archive, range(7)))
    assert_reads_as(store, paths(archive, range(7, 19)), epoch=1)
    apply(store, archive.spec, [archive.daily(19, deviation="chunks")], archive)
    assert_reads_as(store, paths(archive, range(7, 20)), epoch=1)
    with pytest.raises(ConfigurationError, match="there is no 2"):
        open_store(store, epoch=2)


def test_too_many_unusable_granules_commit_nothing(store, archive):
    apply(store, archive.spec, [archive.daily(0)], archive)
    before = store.head
    bad = [archive.daily(day, deviation="chunks") for day in range(1, 3)]
    with pytest.raises(WorkFailed, match="2 of 4 granules cannot be used: ChunkMismatch") as caught:
        apply(store, archive.spec, [archive.daily(3), archive.daily(4), *bad], archive)
    assert caught.value.code == "TooManyQuarantined"
    assert store.head == before
    report = apply(store, archive.spec, bad, archive, accept_quarantine=True)
    assert len(report.quarantined) == 2


def test_too_many_copies_commit_nothing(store, archive):
    archive.spec = spec(incompatible="materialise")
    listed = [archive.daily(day) for day in range(3)]
    listed += [archive.daily(day, deviation="chunks") for day in range(3, 5)]
    with pytest.raises(WorkFailed, match="2 of 5 granules would be copied") as caught:
        apply(store, archive.spec, listed, archive)
    assert caught.value.code == "TooManyCopied"
    assert len(list(store.versions())) == 1
    archive.spec = spec(incompatible="materialise", most_copied=0.4)
    assert apply(store, archive.spec, listed, archive).materialised == 2


def test_chunks_that_reach_over_the_axis_must_be_loaded(store, archive):
    path = archive.folder / "deep.nc"
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("time", None), ("lat", 4)):
            file.createDimension(name, size)
        time = file.createVariable("time", "i4", ("time",))
        time.units = "seconds since 2002-06-01"
        time[:] = [0]
        values = file.createVariable("depth", "f4", ("time", "lat"), zlib=True, chunksizes=(3, 4))
        values[0] = np.arange(4)
    archive.spec = spec(load=["time"])
    with pytest.raises(ConfigurationError, match="chunks of 3 along time") as caught:
        apply(store, archive.spec, [archive.listed(path, ORIGIN)], archive)
    assert caught.value.code == "UnalignedAppend"


def test_incompatible_fail_commits_nothing(store, archive):
    archive.spec = spec(incompatible="fail")
    apply(store, archive.spec, [archive.daily(0)], archive)
    with pytest.raises(WorkFailed, match="chunks would land") as caught:
        apply(store, archive.spec, [archive.daily(1, deviation="chunks")], archive)
    assert caught.value.code == "Incompatible"


def test_a_missing_or_damaged_file_keeps_no_other_from_being_published(store, archive):
    listed = [archive.daily(day) for day in range(4)]
    (archive.folder / "day0001.nc").unlink()
    (archive.folder / "day0002.nc").write_bytes(b"<html>log in</html>")
    listed[2] = Listed(listed[2].partition, replace(listed[2].granule, size_bytes=None))
    report = apply(store, archive.spec, listed, archive)
    assert report.published == 2
    assert states(store)["G-day0001"] == "pending"
    assert reason_of(store, "G-day0002") == "Unreadable"
    archive.daily(1)
    report = apply(store, archive.spec, listed, archive)
    assert report.published == 1
    assert_reads_as(store, paths(archive, (0, 1, 3)))


def test_a_file_of_another_size_than_listed_is_quarantined(store, archive):
    listed = [archive.daily(day) for day in range(2)]
    listed[1] = Listed(listed[1].partition, replace(listed[1].granule, size_bytes=17))
    apply(store, archive.spec, listed, archive)
    assert reason_of(store, "G-day0001") == "SizeMismatch"


def test_a_missing_variable_is_a_hole_and_an_extra_one_a_note(store, archive):
    both = replace(TINY, variables=("analysed_sst", "analysis_error"))
    listed = [
        archive.daily(0, grid=both),
        archive.daily(1, grid=both, deviation="variable missing"),
        archive.daily(2, grid=both, deviation="variable extra"),
    ]
    report = apply(store, archive.spec, [listed[0]], archive)
    report = apply(store, archive.spec, listed[1:], archive)
    assert report.notes == {
        "G-day0001": "analysis_error is missing",
        "G-day0002": "sea_ice_fraction is not in the store",
    }
    lacking_first = store_at(archive.folder.parent / "lacking", archive)
    others = [archive.daily(day, grid=both) for day in (5, 6)]
    apply(lacking_first, archive.spec, [listed[1], *others], archive)
    assert open_store(lacking_first)["analysis_error"].attrs["long_name"] == "analysis error"
    found = open_store(store)
    assert np.isnan(found["analysis_error"][1].values).all()
    assert "sea_ice_fraction" not in found
    archive.spec = spec(variables="strict")
    strict = store_at(archive.folder.parent / "strict", archive)
    apply(strict, archive.spec, [listed[0]], archive)
    report = apply(strict, archive.spec, listed[1:], archive, accept_quarantine=True)
    assert len(report.quarantined) == 2


def test_an_array_without_the_axis_must_be_loaded(store, archive):
    archive.spec = spec(load=["time"])
    with pytest.raises(ConfigurationError, match="lat, lon: no axis 'time'") as caught:
        apply(store, archive.spec, [archive.daily(0)], archive)
    assert caught.value.code == "StaticNotLoaded"


def test_packing_that_differs_is_served_bit_for_bit(store, archive):
    archive.spec = spec(packing="raw")
    listed = [
        archive.daily(day, scale_factor=0.001 * (1 + day % 3), add_offset=270.0 + 0.5 * day)
        for day in range(6)
    ]
    apply(store, archive.spec, listed[2:], archive)
    apply(store, archive.spec, listed, archive)
    assert_reads_as(store, paths(archive, range(6)))
    plain = open_store(store, decode=False)
    assert "analysed_sst" not in plain
    assert plain["analysed_sst_packed"].dtype == np.dtype("i2")
    assert "units" not in plain["analysed_sst_packed"].attrs
    found = open_store(store)["analysed_sst"]
    whole = found.values
    for key in (np.s_[3], np.s_[1:4, 2], np.s_[[4, 0], :, 1:3], np.s_[:, 1, 2], np.s_[-1, -1, -1]):
        np.testing.assert_array_equal(found[key].values, whole[key])


def test_what_changed_at_the_source_is_refused_when_read(store, archive):
    apply(store, archive.spec, [archive.daily(day) for day in range(2)], archive)
    path = archive.folder / "day0001.nc"
    data = path.read_bytes()
    path.write_bytes(data)
    later = path.stat().st_mtime + 5
    os.utime(path, (later, later))
    found = open_store(store)
    assert not np.isnan(found["analysed_sst"][0].values).all()
    with pytest.raises(Exception, match="has changed"):
        found["analysed_sst"][1].load()


# Any order


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """Two dozen events of an archive: late, revised, withdrawn and returned granules, one bad."""
    folder = tmp_path_factory.mktemp("archive")
    archive = Archive(folder)
    days = [archive.daily(day) for day in range(14)]
    bad = archive.daily(14, deviation="duplicate time")
    quick, final = archive.daily(15), archive.daily(15, "final.nc", deviation="other level")
    pair = [
        Listed(
            each.partition,
            replace(each.granule, identity="15", production_date=f"2002-0{n}-01T00:00:00Z"),
        )
        for each, n in ((quick, 7), (final, 9))
    ]
    returned = Listed(
        days[4].partition,
        replace(days[4].granule, revision_id=2, revision_date="2005-01-01T00:00:00.000Z"),
    )
    events = [
        *days,
        bad,
        *pair,
        deleted(days[2]),
        deleted(days[0]),
        deleted(days[4]),
        returned,
        revised(days[6]),
        revised(revised(days[6])),
        deleted(pair[1]),
    ]
    return archive, events


@pytest.mark.parametrize("step", [None, "P1D"])
def test_any_order_with_repetitions_gives_the_same_content(history, tmp_path_factory, step):
    archive, events = history
    archive.spec = spec(
        concat={"step": step, "on_gap": "hole" if step else "close"}, most_quarantined=1.0
    )
    folder = tmp_path_factory.mktemp("stores")
    clean = store_at(folder / "clean", archive)
    apply(clean, archive.spec, events, archive)
    wanted = content_digest(clean, values=True)
    number = itertools.count()

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.randoms(use_true_random=False), st.integers(1, 8))
    def check(draw: random.Random, batches: int) -> None:
        order = [*events, *draw.sample(events, 6)]
        draw.shuffle(order)
        cuts = sorted(draw.sample(range(1, len(order)), batches - 1))
        place = folder / str(next(number))
        store = store_at(place, archive)
        for start, stop in zip([0, *cuts], [*cuts, len(order)], strict=True):
            apply(store, archive.spec, order[start:stop], archive)
        assert content_digest(store, values=True) == wanted
        before = store.head
        assert apply(store, archive.spec, order, archive).commits == 0
        assert store.head == before
        shutil.rmtree(place)

    check()


def test_how_hard_the_first_granules_writer_compressed_leaves_no_trace(archive, tmp_path):
    listed = [archive.daily(0), archive.daily(1, deviation="other level")]
    stores = [store_at(tmp_path / name, archive) for name in ("a", "b")]
    for store, order in zip(stores, (listed, listed[::-1]), strict=True):
        for each in order:
            apply(store, archive.spec, [each], archive)
    assert len({content_digest(store, values=True) for store in stores}) == 1


def test_500_granules_in_any_order(tmp_path):
    """As above, larger: references of granules that no file backs, the digest without values."""
    (tmp_path / "archive").mkdir()
    archive = Archive(tmp_path / "archive")
    template = archive.daily(0)
    (granule,) = archive([_entry(archive, template)])

    def references(entries, **options):
        for entry in entries:
            day = int(entry.labels["cycle"])
            time = granule.arrays["time"]
            arrays = {**granule.arrays, "time": replace(time, values=time.values + 86400 * day)}
            yield replace(granule, arrays=arrays, size=0, e_tag=f"{entry.key}.{entry.revision}")

    listed = []
    for day in range(500):
        begin = ORIGIN + timedelta(days=day)
        one = archive.listed(
            archive.folder / "day0000.nc",
            begin,
            concept_id=f"G{day}",
            identity=f"{day}",
            cycle=day,
        )
        listed.append(one)
    events = [
        *listed,
        *(revised(each) for each in listed[::23]),
        *(deleted(each) for each in listed[5::41]),
    ]
    clean = store_at(tmp_path / "clean", archive)
    apply(clean, archive.spec, events, references)
    draw = random.Random(6)
    order = [*events, *draw.sample(events, 60)]
    draw.shuffle(order)
    store = store_at(tmp_path / "other", archive)
    for start in range(0, len(order), 45):
        apply(store, archive.spec, order[start : start + 45], references)
    assert content_digest(store) == content_digest(clean)
    assert apply(store, archive.spec, order, references).commits == 0
    assert open_store(store).sizes["time"] == 500 - len(listed[5::41])


def _entry(archive, listed):
    from dor_ecco_assets.virtual.building import entry_of

    return entry_of(archive.spec, listed)


def test_two_versions_differ_by_the_granules_that_changed(store, archive):
    listed = [archive.daily(day) for day in range(4)]
    one = apply(store, archive.spec, listed[:3], archive).snapshot
    write_daily(archive.folder / "day0001.nc", 1, grid=TINY, deviation="other level")
    size = (archive.folder / "day0001.nc").stat().st_size
    bad = archive.daily(9, deviation="chunks")
    apply(
        store,
        archive.spec,
        [revised(listed[1], size_bytes=size), deleted(listed[0]), listed[3], bad],
        archive,
    )
    found = {each.name: (each.what, each.before, each.after) for each in diff(store, one)}
    assert found == {
        "day0000": ("removed", "published, revision 1", "withdrawn, revision 1"),
        "day0001": ("replaced", "published, revision 1", "published, revision 2"),
        "day0003": ("added", "not listed", "published, revision 1"),
        "day0009": ("state", "not listed", "quarantined (ChunkMismatch), revision 1"),
    }
    assert diff(store, one, one) == []
    store.rollback(one)
    assert open_store(store).sizes["time"] == 3


def test_times_that_the_stores_units_cannot_hold_are_quarantined(store, archive):
    listed = [archive.daily(day) for day in range(3)]

    def fractional(entries, **options):
        for granule, entry in zip(archive(entries, **options), entries, strict=True):
            time = granule.arrays["time"]
            if entry.key == "G-day0001":
                attributes = {**time.attributes, "units": "milliseconds since 2002-06-02"}
                time = replace(time, values=np.array([1], "i4"), attributes=attributes)
            yield replace(granule, arrays={**granule.arrays, "time": time})

    report = apply(store, archive.spec, listed, fractional)
    assert report.quarantined["G-day0001"].startswith("TimeInvalid: time: times in 'milli")
    assert report.published == 2


def test_loaded_arrays_that_are_packed_otherwise_are_quarantined(store, archive):
    archive.spec = spec(load=["time", "lat", "lon", "analysed_sst"], variables="strict")
    both = replace(TINY, variables=("analysed_sst", "analysis_error"))
    listed = [archive.daily(day, grid=both) for day in range(2)]
    listed.append(archive.daily(2, grid=both, scale_factor=0.002))
    report = apply(store, archive.spec, listed, archive)
    assert report.published == 2
    assert report.quarantined["G-day0002"].startswith("PackingMismatch: ")


def test_loaded_fields_whose_missing_value_is_nan(store, archive):
    """NaN equals nothing, and yet all say the same."""
    archive.spec = spec(load=["time", "lat", "lon", "speed"])
    listed = [archive.daily(day) for day in range(3)]
    for day, path in enumerate(paths(archive, range(3))):
        with netCDF4.Dataset(path, "a") as file:
            speed = file.createVariable("speed", "f4", ("time", "lat"), fill_value=np.nan)
            speed[0] = np.where(np.arange(4) == day, np.nan, day)
    listed = [
        archive.listed(path, ORIGIN + timedelta(days=n))
        for n, path in enumerate(paths(archive, range(3)))
    ]
    apply(store, archive.spec, listed[:2], archive)
    assert (
        apply(
            store_at(archive.folder.parent / "root", archive), archive.spec, listed, archive
        ).published
        == 1
    )
    assert_reads_as(store_at(archive.folder.parent / "root", archive), paths(archive, range(3)))


def test_chunks_that_a_revision_lacks_are_gone_though_the_granule_moves_on(store, archive):
    """The last granule is revised with fewer chunks while an earlier one arrives late."""
    listed = [archive.daily(day) for day in range(4)]
    apply(store, archive.spec, [listed[0], *listed[2:]], archive)

    def sparse(entries, **options):
        for entry, granule in zip(entries, archive(entries, **options), strict=True):
            array = granule.arrays["analysed_sst"]
            lengths = array.lengths.copy()
            lengths[0, 1, 1] = lengths[0, 1, 1] * (entry.key != "G-day0003")
            arrays = {**granule.arrays, "analysed_sst": replace(array, lengths=lengths)}
            yield replace(granule, arrays=arrays)

    apply(store, archive.spec, [listed[1], revised(listed[3])], sparse)
    values = open_store(store)["analysed_sst"].values
    assert np.isnan(values[3, 2:, 3:]).all()
    assert not np.isnan(values[:3, 2:]).any()
    assert not np.isnan(values[3, 2:, :3]).any()


def test_a_granule_with_more_steps_than_its_siblings_is_quarantined(store, archive):
    listed = [archive.daily(day) for day in range(3)]
    longer = archive.folder / "longer.nc"
    write_daily(longer, 3, grid=TINY)
    with netCDF4.Dataset(longer, "a") as file:
        file["time"][1] = int(file["time"][0]) + 3600
        file["analysed_sst"][1] = file["analysed_sst"][0]
    listed.append(archive.listed(longer, ORIGIN + timedelta(days=3)))
    report = apply(store, archive.spec, listed, archive)
    assert report.quarantined["G-longer"].startswith("UnalignedAppend: ")
    assert_reads_as(store, paths(archive, range(3)))


def test_times_that_do_not_rise_within_a_granule_are_quarantined(store, archive):
    listed = [archive.daily(day) for day in range(2)]

    def back_and_forth(entries, **options):
        for granule, entry in zip(archive(entries, **options), entries, strict=True):
            time = granule.arrays["time"]
            if entry.key == "G-day0001":
                time = replace(time, shape=(2,), values=np.repeat(time.values, 2))
            yield replace(granule, arrays={**granule.arrays, "time": time})

    report = apply(store, archive.spec, listed, back_and_forth)
    assert report.quarantined["G-day0001"].startswith("UnalignedAppend: time has 2 steps")
    both = [archive.daily(day) for day in range(4, 6)]
    for each in both:
        with netCDF4.Dataset(archive.folder / each.granule.key, "a") as file:
            file["time"][1] = int(file["time"][0]) + 3600 * (each is both[0])
            file["analysed_sst"][1] = file["analysed_sst"][0]
    both = [
        archive.listed(archive.folder / each.granule.key, ORIGIN + timedelta(days=4 + n))
        for n, each in enumerate(both)
    ]
    two_a_file = store_at(archive.folder.parent / "two", archive)
    report = apply(two_a_file, archive.spec, both, archive)
    assert report.quarantined["G-day0005"] == "TimeInvalid: time does not rise"
    assert open_store(two_a_file).sizes["time"] == 2


def test_packing_in_another_type_is_quarantined_where_each_has_its_own(store, archive):
    """The digits of a physical value depend on the type of the packing's numbers."""
    archive.spec = spec(packing="raw")
    listed = [archive.daily(day, scale_factor=0.5, add_offset=np.float32(250)) for day in range(2)]
    listed.append(archive.daily(2, scale_factor=0.5, add_offset=250.0))
    report = apply(store, archive.spec, listed, archive)
    assert report.quarantined["G-day0002"].startswith("PackingMismatch: analysed_sst is packed in")
    assert_reads_as(store, paths(archive, range(2)))


def test_attributes_of_a_granule_whose_file_is_gone_are_read_another_time(store, archive):
    """The first granule is withdrawn when the file of the next cannot be read again."""
    listed = [archive.daily(day) for day in range(3)]
    for day, path in enumerate(paths(archive, range(3))):
        with netCDF4.Dataset(path, "a") as file:
            file.setncattr("of_day", day)
    listed = [
        archive.listed(path, ORIGIN + timedelta(days=n))
        for n, path in enumerate(paths(archive, range(3)))
    ]
    apply(store, archive.spec, listed, archive)

    def unreadable(entries, *, described=False, **options):
        for found in archive(entries, **options):
            yield InputMissing("not now", code="NotFound") if described else found

    apply(store, archive.spec, [deleted(listed[0])], unreadable)
    assert open_store(store).attrs["of_day"] == 0
    apply(store, archive.spec, [archive.daily(5)], archive)
    assert open_store(store).attrs["of_day"] == 1
