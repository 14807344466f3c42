"""The sample archive is the same each time, varied, and listed as it lies."""

from __future__ import annotations

import hashlib
from collections import Counter

import netCDF4
import numpy as np
import pytest

from dor_ecco_assets.samples.virtual_granules import (
    BUCKET,
    FILL,
    stored_sst,
    write_archive,
)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return write_archive(tmp_path_factory.mktemp("archive"))


def digests(granules):
    return [
        (g.path.name, hashlib.sha256(g.path.read_bytes()).hexdigest(), g.item) for g in granules
    ]


def test_it_is_the_same_each_time(archive, tmp_path):
    assert digests(write_archive(tmp_path)) == digests(archive)


def test_it_has_late_revised_and_withdrawn_granules(archive):
    assert len(archive) > 220
    times = Counter(g.item["meta"]["concept-id"] for g in archive)
    assert sum(n == 2 for n in times.values()) == 5
    assert sum(g.deleted is not None for g in archive) == 3
    stamps = [g.item["meta"]["revision-date"] for g in archive]
    assert stamps == sorted(stamps)
    daily = [g.item for g in archive if "DAILY" in str(g.path)]
    begins = [item["umm"]["TemporalExtent"]["RangeDateTime"]["BeginningDateTime"] for item in daily]
    assert begins != sorted(begins)


def test_records_name_the_file_its_size_and_its_checksum(archive):
    for granule in archive:
        files = granule.item["umm"]["DataGranule"]["ArchiveAndDistributionInformation"]
        entry = next(file for file in files if file["Name"].endswith(".nc"))
        data = granule.path.read_bytes()
        assert entry["SizeInBytes"] == len(data)
        digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
        assert entry["Checksum"]["Value"] == digest
        urls = [link["URL"] for link in granule.item["umm"]["RelatedUrls"]]
        assert f"s3://{BUCKET}/{granule.path.parent.name}/{entry['Name']}" in urls


def test_a_reader_gets_the_values_in_closed_form(archive):
    granule = next(g for g in archive if "REPACKED" in str(g.path))
    with netCDF4.Dataset(granule.path) as file:
        packed = stored_sst(0, (12, 24)).astype(np.float64)
        expected = np.where(packed == FILL, np.nan, packed * 0.001 + 273.15)
        np.testing.assert_allclose(file["analysed_sst"][0].filled(np.nan), expected, rtol=1e-12)


def test_swaths_are_of_many_lengths(archive):
    lengths = set()
    for granule in archive:
        if "SWATHS" in str(granule.path):
            with netCDF4.Dataset(granule.path) as file:
                lengths.add(len(file.dimensions["num_lines"]))
    assert len(lengths) > 8
