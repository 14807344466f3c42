"""Quality reports: numbers against closed forms, one page that stands alone, bounded memory."""

import re
import tracemalloc
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dor_ecco_assets.ecco.gathered import QUALITY_REPORT
from dor_ecco_assets.ecco.quality_report import statistics
from dor_ecco_assets.ecco.report_page import page
from dor_ecco_assets.lineage.product import Member
from dor_ecco_assets.lineage.record import Record
from tests.ecco.production import (
    DAYS,
    SSH_LATLON,
    SSH_NATIVE,
    SSH_NATIVE_DAILY,
    granule_of,
    own_sample,
    root_of,
)

AREA = np.arange(1.0, 13 * 4 + 1).reshape(13, 2, 2)


def member(path: Path, values: np.ndarray, partition: str = "1992-01") -> Member:
    """A granule of a native 3-D variable, values of shape (k, 13, L, L)."""
    values = values.astype(np.float32)[np.newaxis]
    xr.Dataset(
        {"T": (("time", "k", "tile", "j", "i"), values, {"units": "degC"})},
        coords={"Z": ("k", -10.0 * np.arange(1, values.shape[1] + 1)), "time": [0.0]},
    ).to_netcdf(path, encoding={"T": {"zlib": True, "chunksizes": (1, 2, *values.shape[2:])}})
    return Member(
        "toy/t",
        partition,
        Record("", path.name, 0, "", ""),
        str(path),
        lambda: xr.open_dataset(path),
        lambda: closing(path.open("rb")),
        lambda: pytest.fail("the report opens its members as datasets"),
    )


def test_numbers_are_those_of_the_formula(tmp_path):
    rng = np.random.default_rng(3)
    now = [rng.normal(size=(5, 13, 2, 2)) for _ in range(3)]
    before = [rng.normal(size=(5, 13, 2, 2)) for _ in range(2)]
    land = rng.random((5, 13, 2, 2)) < 0.3
    land[4] = True
    for field in (*now, *before):
        field[land] = np.nan
    levels, surface = statistics(
        [member(tmp_path / f"n{n}.nc", field) for n, field in enumerate(now)],
        [member(tmp_path / f"b{n}.nc", field) for n, field in enumerate(before)],
        "T",
        AREA,
    )
    mean = np.mean(np.float32(now), axis=0, dtype=np.float64)
    earlier = np.mean(np.float32(before), axis=0, dtype=np.float64)
    np.testing.assert_allclose(surface, mean[0])
    assert [level.depth_m for level in levels] == [-10, -20, -30, -40, -50]
    for k in range(4):
        level, wet = levels[k], ~land[k]
        weights = AREA[wet] / AREA[wet].sum()
        assert level.wet_cells == wet.sum()
        assert level.minimum == np.float32(now)[:, k][:, wet].min()
        assert level.maximum == np.float32(now)[:, k][:, wet].max()
        assert level.mean == pytest.approx(np.sum(mean[k][wet] * weights))
        change = mean[k][wet] - earlier[k][wet]
        assert level.mean_change == pytest.approx(np.sum(change * weights))
        assert level.rms_change == pytest.approx(np.sqrt(np.sum(change**2 * weights)))
    assert levels[4].wet_cells == 0
    assert np.isnan([levels[4].mean, levels[4].minimum, levels[4].rms_change]).all()


def test_without_a_month_before_there_is_no_change(tmp_path):
    levels, _ = statistics([member(tmp_path / "n.nc", np.ones((2, 13, 2, 2)))], [], "T", AREA)
    assert [(x.mean, x.mean_change, x.rms_change) for x in levels] == [(1.0, None, None)] * 2


def test_memory_does_not_grow_with_granules_or_levels(tmp_path):
    def peak(granules: int, levels: int) -> int:
        members = [
            member(tmp_path / f"{granules}-{levels}-{n}.nc", np.full((levels, 13, 40, 40), n))
            for n in range(granules)
        ]
        area = np.ones((13, 40, 40))
        statistics(members[:1], [], "T", area)
        tracemalloc.start()
        statistics(members, members, "T", area)
        largest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return largest

    assert peak(8, 24) < 1.3 * peak(2, 6)


class Page(HTMLParser):
    """What a page holds that matters for reading it alone and aloud."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.requests: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.headers: list[dict[str, str | None]] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append(tag)
        if tag == "img":
            self.images.append(found)
        if tag == "th":
            self.headers.append(found)
        if "id" in found:
            self.ids.add(str(found["id"]))
        for name in ("src", "href"):
            value = str(found.get(name, ""))
            if value.startswith("#"):
                self.links.append(value[1:])
            elif value and not value.startswith("data:"):
                self.requests.append(value)


@pytest.fixture
def made(tmp_path, tmp_path_factory):
    own = own_sample(tmp_path_factory, tmp_path)
    space = own.workspace()
    for key in (SSH_NATIVE, SSH_LATLON):
        for month in ("1992-01", "1992-02"):
            space.make(key, month)
    for day in DAYS:
        space.make(SSH_NATIVE_DAILY, day)
    return own


def test_the_page_stands_alone_and_can_be_read_aloud(made):
    made.workspace().make(QUALITY_REPORT, "1992-02")
    text = (root_of(made) / "ecco/quality_report/1992-02.html").read_text()
    found = Page(text)
    assert found.requests == []
    assert "script" not in found.tags
    assert "url(" not in text
    assert set(found.links) == {SSH_NATIVE[5:], SSH_LATLON[5:]} <= found.ids
    assert len(found.images) == 7
    for image in found.images:
        assert re.match(r"Map of the mean SSH|Map of the mean ETAN", str(image["alt"]))
        assert str(image["alt"]).endswith(" m")
        assert str(image["src"]).startswith("data:image/png;base64,")
    assert all(header["scope"] in ("col", "row") for header in found.headers)
    assert '<html lang="en">' in text
    # Shadows that go with what is scrolled to, over those that stay: a narrow screen shows more.
    assert text.count("no-repeat local") == text.count("no-repeat scroll") == 2
    assert "<title>ECCO granules of February 1992</title>" in text


def test_a_report_says_what_its_granules_hold(made):
    record = made.workspace().make(QUALITY_REPORT, "1992-01").record
    text = (root_of(made) / record.uri).read_text()
    assert (record.details["datasets"], record.details["granules"]) == (3, 4)
    with xr.open_dataset(granule_of(made, SSH_LATLON, "1992-01")) as granule:
        field = granule["SSH"].values[0].astype(np.float64)
        weights = np.cos(np.radians(granule["latitude"].values.astype(np.float64)))
    wet = ~np.isnan(field)
    used = np.broadcast_to(weights[:, np.newaxis], field.shape)[wet]
    mean = np.sum(field[wet] * used) / used.sum()
    cells = [f"{wet.sum():,}", *(f"{v:.5g}" for v in (np.nanmin(field), mean, np.nanmax(field)))]
    row = "".join(f"<td>{cell.replace('-', '−')}</td>" for cell in cells)
    assert f"{row}<td>–</td><td>–</td>" in text  # no month before


def test_it_is_the_same_again_and_stale_when_the_month_before_changes(made):
    space = made.workspace()
    first = space.make(QUALITY_REPORT, "1992-02").record
    assert space.refreshed().make(QUALITY_REPORT, "1992-02").skipped
    space.storage.delete(".records/ecco/quality_report/1992-02.json")
    assert space.refreshed().make(QUALITY_REPORT, "1992-02").record.sha256 == first.sha256
    space.storage.delete(f".records/{SSH_NATIVE}/1992-01.json")
    state = space.refreshed().state(QUALITY_REPORT, "1992-02")
    assert state.reasons == (f"upstream {SSH_NATIVE} 1992-01 is gone",)


def test_names_and_units_are_escaped():
    assert "<script>" not in page("<script>", [])
