"""The built page in a real browser, on a small atlas whose every value is known."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import xarray as xr
import zarr
from numcodecs import Zlib
from PIL import Image

from dor_ecco_assets.pyramids.serving import PageServer, find_shown, page_path
from dor_ecco_assets.storage import Directory
from tests.support.pyramid_store import FILL, SmallAtlas

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page, Playwright

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
VIEWER = Path(__file__).parents[2] / "viewer"
MODULES = VIEWER / "node_modules"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on PATH"),
    pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part"),
]
needs_modules = pytest.mark.skipif(
    not MODULES.is_dir(), reason="viewer/node_modules is absent: `cd viewer && npm ci`"
)

WIDE, PHONE = (1440, 900), (375, 812)
#: What a browser on a loaded machine may take, ms.
PATIENCE_MS = 60_000
SWITCHES = (
    "--use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader --no-sandbox "
    "--disable-quic --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --disable-dev-shm-usage"
)
ALONE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
#: What other programs may rely on.
IDS = ("map", "time", "variable", "band", "polygon", "injection", "efficiency-chart", "year")
IDS += ("month", "play", "choropleth")
#: Colours of Matplotlib, evenly spaced.
PLASMA = "0d0887 4c02a1 7e03a8 aa2395 cc4778 e66c5c f89540 fdc527 f0f921"
VIRIDIS = "440154 472d7b 3b528b 2c728e 21918c 28ae80 5ec962 addc30 fde725"
RD_BU_R = "053061 2065ab 4393c3 90c4dd d1e5f0 f6f7f7 fddbc7 f3a481 d6604d b1182b 67001f"


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> SmallAtlas:
    return SmallAtlas(tmp_path_factory.mktemp("atlas")).write()


@pytest.fixture(scope="module")
def server(atlas: SmallAtlas) -> Iterator[PageServer]:
    with PageServer(Directory(atlas.folder)) as running:
        yield running


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        yield started


@contextmanager
def chromium(playwright: Playwright, *switches: str) -> Iterator[Browser]:
    browser = playwright.chromium.launch(
        executable_path=CHROMIUM, headless=True, args=[*SWITCHES.split(), ALONE, *switches]
    )
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    with chromium(playwright) as running:
        yield running


class Visit:
    """One page, with what it asked for and what it complained about."""

    def __init__(self, browser: Browser, size: tuple[int, int] = WIDE, **options: Any) -> None:
        viewport = {"width": size[0], "height": size[1]}
        self.context = browser.new_context(viewport=viewport, **options)
        self.context.set_default_timeout(PATIENCE_MS)
        self.page: Page = self.context.new_page()
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _hear(self, message) -> None:
        if message.type == "error":
            self.complaints.append(f"{message.text} {message.location.get('url', '')}")

    def open(self, url: str) -> Page:
        self.page.goto(url)
        return self.settle()

    def settle(self) -> Page:
        """Wait until the page shows what was chosen."""
        self.page.wait_for_function(
            "() => document.body.dataset.state === 'failed' || "
            "(document.body.dataset.state === 'ready' && (!window.map?.loaded || "
            "(window.map.loaded() && !window.state.loading)))"
        )
        self.page.wait_for_timeout(250)  # one more frame of a software renderer
        return self.page

    def requests_of(self, act) -> list[str]:
        """Chunks asked for while something is done."""
        before = len(self.asked)
        act()
        self.settle()
        return [urlsplit(url).path for url in self.asked[before:]]

    def hosts(self) -> set[str | None]:
        return {urlsplit(url).hostname for url in self.asked} - {None}


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """A visit that must not complain or ask another host."""
    made = Visit(browser)
    yield made
    made.context.close()
    assert made.complaints == []
    assert made.hosts() <= {"127.0.0.1"}


@pytest.fixture
def tolerant(browser: Browser) -> Iterator[Visit]:
    """A visit to something broken: a browser notes 404s in its console."""
    made = Visit(browser)
    yield made
    made.context.close()
    assert [each for each in made.complaints if "Failed to load resource" not in each] == []
    assert made.hosts() <= {"127.0.0.1"}


def address(server: PageServer, store: str = "pyramids/atlas", fragment: str = "") -> str:
    return f"{server.url}{page_path(find_shown(server.storage, store))}{fragment}"


def colour(stops: str, share: float) -> np.ndarray:
    """Colour at a share of a colour map."""
    known = np.array([[int(stop[i : i + 2], 16) for i in (0, 2, 4)] for stop in stops.split()])
    at = np.clip(share, 0, 1) * (len(known) - 1)
    return np.array([np.interp(at, range(len(known)), part) for part in known.T])


def pixels(page: Page, places: np.ndarray) -> np.ndarray:
    """Colours of the map at longitudes and latitudes, lines and outlines taken away."""
    found = page.evaluate(
        """async (places) => {
          for (const id of ['coast', 'polygon-lines', 'chosen-edge', 'chosen', 'point'])
            map.setLayoutProperty(id, 'visibility', 'none');
          await new Promise((resolve) => { map.once('render', resolve); map.triggerRepaint() });
          const drawn = map.getCanvas();
          const copy = document.createElement('canvas');
          copy.width = drawn.width; copy.height = drawn.height;
          const pen = copy.getContext('2d');
          pen.drawImage(drawn, 0, 0);
          const ratio = drawn.width / drawn.clientWidth;
          const found = places.map(([lon, lat]) => {
            const at = map.project([lon, lat]);
            const [x, y] = [at.x, at.y].map((each) => Math.floor(each * ratio));
            return [...pen.getImageData(x, y, 1, 1).data];
          });
          for (const id of ['coast', 'polygon-lines', 'chosen-edge', 'chosen', 'point'])
            map.setLayoutProperty(id, 'visibility', 'visible');
          return found;
        }""",
        [[float(lon), float(lat)] for lon, lat in places],
    )
    return np.array(found)[:, :3]


def in_view(atlas: SmallAtlas, level: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row and column of pixels that a wide map shows, and where their centres lie."""
    lon, lat = atlas.centres(level)
    rows, columns = np.meshgrid(range(len(lat)), range(len(lon)), indexing="ij")
    shown = (np.abs(lat) < 60)[:, None] & (lon < -20)[None]  # left of the land, right of the edge
    rows, columns = rows[shown], columns[shown]
    return rows, columns, np.stack([lon[columns], lat[rows]], axis=1)


def assert_pixels(page: Page, atlas, stops, clim, *, level=1, **case) -> None:
    rows, columns, places = in_view(atlas, level)
    stored = atlas.field(level=level, **case)[rows, columns]
    assert np.isfinite(stored).all()
    assert np.ptp(stored) > 0.1 * (clim[1] - clim[0])  # a flat map would prove little
    expected = [colour(stops, (value - clim[0]) / (clim[1] - clim[0])) for value in stored]
    difference = np.abs(pixels(page, places) - np.array(expected)).max(axis=1)
    assert np.percentile(difference, 100) <= 8, difference


def of_style(page: Page, name: str) -> np.ndarray:
    """A colour of the page's style sheet."""
    text = page.evaluate(
        "(name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim()", name
    )
    return np.array([int(text[i : i + 2], 16) for i in (1, 3, 5)])


def rows_of(page: Page, figure: str) -> list[list[str]]:
    """Cells of the table below a chart."""
    return page.evaluate(
        "(id) => [...document.querySelectorAll(`#${id} tbody tr`)].map("
        "(row) => [...row.children].map((cell) => cell.textContent))",
        figure,
    )


def numbers(rows: list[list[str]], column: int) -> np.ndarray:
    return np.array([np.nan if row[column] == "–" else float(row[column]) for row in rows])


def test_the_map_is_there_in_five_seconds_and_shows_the_stored_values(visit, server, atlas):
    start = time.monotonic()
    page = visit.open(address(server, fragment="#variable=PH&band=experimental"))
    seconds = time.monotonic() - start
    print(f"first map after {seconds:.1f} s, {len(visit.asked)} requests")
    others = os.getloadavg()[0] / (os.cpu_count() or 1)  # who share the processors
    assert seconds <= 5 * max(1.0, others + 1)
    case = {"polygon": 0, "month": 1, "elapsed": 0}
    assert_pixels(page, atlas, PLASMA, (7.9, 8.2), variable="PH", band="experimental", **case)
    assert page.locator("#colorbar").inner_text().startswith("Surface pH")
    for name in IDS:
        assert page.locator(f"#{name}").count() == 1, name


def test_land_is_not_painted(visit, server, atlas):
    page = visit.open(address(server, fragment="#view=1.2/10.00/0.00"))
    ocean, africa = pixels(page, np.array([[-11.25, 0.5], [22.0, 0.5]]))
    assert np.abs(ocean - of_style(page, "--map-water")).max() <= 2
    assert np.abs(africa - of_style(page, "--map-land")).max() <= 2


def test_a_year_step_asks_for_nothing_and_a_month_step_for_four_chunks(visit, server, atlas):
    page = visit.open(address(server))
    assert visit.requests_of(lambda: page.select_option("#year", "2")) == []
    assert_pixels(
        page, atlas, RD_BU_R, (-1000, 1000),
        variable="DIC", band="delta", polygon=0, month=1, elapsed=12,
    )  # fmt: skip
    assert visit.requests_of(lambda: page.select_option("#year", "3")) == []
    asked = visit.requests_of(lambda: page.select_option("#month", "4"))
    print(f"a month step asks for {asked}")
    assert 1 <= len(asked) <= 4
    assert all("/1/DIC/0.0.0.3.0." in path for path in asked)
    assert visit.requests_of(lambda: page.select_option("#year", "1")) == []
    assert visit.requests_of(lambda: page.select_option("#month", "1")) == []  # kept


def test_variable_band_and_injection_month_are_chosen(visit, server, atlas):
    page = visit.open(address(server))
    page.select_option("#variable", "FG")
    visit.settle()
    bar = page.locator("#colorbar")
    assert "mol/m²/yr" in bar.inner_text()
    # The factor is negative: the lowest shown value is the highest stored one.
    assert bar.locator(".mark").first.inner_text() == "−0.5"
    assert_pixels(
        page, atlas, RD_BU_R, (-0.002, 0.002),
        variable="FG", band="delta", polygon=0, month=1, elapsed=0,
    )  # fmt: skip
    page.select_option("#band", "experimental")
    page.select_option("#variable", "PH")
    page.select_option("#injection", "7")
    visit.settle()
    assert_pixels(
        page, atlas, PLASMA, (7.9, 8.2),
        variable="PH", band="experimental", polygon=0, month=7, elapsed=0,
    )  # fmt: skip
    assert "July" in page.locator("#case").inner_text()


def test_colours_fit_the_values_in_view(visit, server, atlas):
    page = visit.open(address(server, fragment="#year=3&month=12&variable=DIC"))
    before = page.locator("#colorbar .mark").all_inner_texts()
    assert visit.requests_of(lambda: page.check("#fit")) == []
    assert page.locator("#colorbar .mark").all_inner_texts() != before
    low, high = page.evaluate("() => layer.clim")
    assert low == -high
    shown = np.abs(atlas.field("DIC", "delta", 0, 1, 35, 1))
    assert np.nanpercentile(shown, 90) < high <= np.nanmax(shown)
    assert_pixels(
        page, atlas, RD_BU_R, (low, high),
        variable="DIC", band="delta", polygon=0, month=1, elapsed=35,
    )  # fmt: skip
    page.uncheck("#fit")
    visit.settle()
    assert page.locator("#colorbar .mark").all_inner_texts() == before


def click_at(page: Page, lon: float, lat: float) -> None:
    at = page.evaluate("([lon, lat]) => map.project([lon, lat])", [lon, lat])
    page.locator("#map canvas").click(position={"x": at["x"], "y": at["y"]})


def test_a_clicked_polygon_shows_its_curves_and_the_published_one(visit, server, atlas):
    page = visit.open(address(server, fragment="#view=1.02/10.00/-160.00&injection=1"))
    click_at(page, 75 - 360, -30)
    visit.settle()
    assert page.input_value("#polygon") == "1"
    rows = rows_of(page, "efficiency-chart")
    assert [row[:2] for row in rows[:13:12]] == [["1", "1"], ["2", "1"]]
    stored = zarr.open_group(atlas.folder / "dor/efficiency_store.zarr", mode="r")
    np.testing.assert_allclose(numbers(rows, 2), stored["DOR_efficiency"][:, 1, 0], rtol=1e-5)
    np.testing.assert_allclose(numbers(rows, 2), atlas.efficiency(1, 1), rtol=1e-5)
    np.testing.assert_allclose(numbers(rows, 3), atlas.published(1, 1), rtol=1e-5)
    inside = rows_of(page, "uptake-chart")
    for radius in range(3):
        np.testing.assert_allclose(
            numbers(inside, 2 + radius), atlas.uptake(1, 1)[:, radius], rtol=1e-5
        )
    heads = page.locator("#uptake-chart thead th").all_text_contents()
    assert heads == ["Year", "Month", *(f"Within {km} km (%)" for km in (500, 1000, 2000))]
    # Drawn where the table says: the last point of the curve, on an axis from 0.
    drawn = page.locator("#efficiency-chart .plot path.line.series-0").get_attribute("d")
    last = [float(part) for part in re.findall(r"[\d.]+", drawn or "")[-2:]]
    ticks = page.evaluate(
        "() => [...document.querySelectorAll('#efficiency-chart text.end')].map("
        "(each) => [Number(each.textContent), each.getAttribute('y') - 4])"
    )
    (low, y_low), (high, y_high) = ticks[0], ticks[-1]
    value = low + (last[1] - y_low) / (y_high - y_low) * (high - low)
    assert value == pytest.approx(atlas.efficiency(1, 1)[-1], abs=0.01)


def test_it_plays_and_pauses(visit, server):
    page = visit.open(address(server))
    page.click("#play")
    page.wait_for_function("() => document.querySelector('#month').value >= 4")
    assert page.locator("#play").inner_text() == "Pause"
    page.click("#play")
    visit.settle()
    stopped = page.input_value("#time")
    page.wait_for_timeout(900)
    assert page.input_value("#time") == stopped
    assert int(stopped) >= 3


def test_the_keyboard_steps_plays_moves_and_reads(visit, server):
    page = visit.open(address(server))
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    visit.settle()
    assert (page.input_value("#year"), page.input_value("#month")) == ("2", "2")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowDown")
    visit.settle()
    assert page.input_value("#time") == "0"
    page.keyboard.press("Space")
    page.wait_for_function("() => document.querySelector('#time').value >= 1")
    page.keyboard.press("Space")
    before = page.evaluate("() => map.getCenter().lng")
    page.keyboard.press("Shift+ArrowRight")
    page.wait_for_function("(before) => map.getCenter().lng > before + 5", arg=before)
    page.locator("#map canvas").focus()
    assert (
        page.evaluate("() => getComputedStyle(document.querySelector('#map canvas')).outlineStyle")
        == "solid"
    )
    page.keyboard.press("Enter")
    page.locator("#point-value").wait_for()
    visit.settle()


def test_the_choropleth_shows_the_efficiency_at_the_end_of_the_year(visit, server, atlas):
    page = visit.open(address(server, fragment="#year=2&month=5&injection=4"))
    page.check("#choropleth")
    visit.settle()
    shown = pixels(page, np.array([[-150.0, 20.0], [75.0 - 360, -30.0]]))
    for polygon, found in enumerate(shown):
        expected = colour(VIRIDIS, atlas.efficiency(polygon, 4)[23])
        assert np.abs(found - expected).max() <= 8
    assert "at the end of year 2" in page.locator("#colorbar").inner_text()
    page.select_option("#source", "published")
    page.select_option("#year", "3")
    visit.settle()
    shown = pixels(page, np.array([[-150.0, 20.0]]))
    assert np.abs(shown[0] - colour(VIRIDIS, atlas.published(0, 4)[35])).max() <= 8
    page.select_option("#source", "atlas")
    page.select_option("#injection", "10")  # of polygon 1 there is no efficiency
    visit.settle()
    assert (
        np.abs(
            pixels(page, np.array([[75.0 - 360, -30.0]]))[0] - of_style(page, "--map-none")
        ).max()
        <= 2
    )
    page.uncheck("#choropleth")
    visit.settle()
    assert_pixels(
        page, atlas, RD_BU_R, (-1000, 1000),
        variable="DIC", band="delta", polygon=0, month=10, elapsed=28,
    )  # fmt: skip


def test_a_click_reads_the_value_and_its_time_series(visit, server, atlas):
    page = visit.open(address(server, fragment="#variable=FG&band=experimental&injection=7"))
    page.get_by_text("Read value", exact=True).click()
    lon, lat = (part[at] for part, at in zip(atlas.centres(1), (5, 12), strict=True))
    click_at(page, lon, lat)
    visit.settle()
    stored = [atlas.field("FG", "experimental", 0, 7, elapsed, 1)[12, 5] for elapsed in range(36)]
    rows = rows_of(page, "point-chart")
    np.testing.assert_allclose(numbers(rows, 2), np.array(stored) * -315.36, rtol=2e-5)
    value = page.locator("#point-value").inner_text()
    assert value.endswith("mol/m²/yr")
    told = float(value.split()[0].replace("−", "-"))
    assert told == pytest.approx(stored[0] * -315.36, rel=1e-3)
    assert visit.requests_of(lambda: page.select_option("#month", "6")) is not None
    told = float(page.locator("#point-value").inner_text().split()[0].replace("−", "-"))
    assert told == pytest.approx(stored[5] * -315.36, rel=1e-3)
    click_at(page, 10, 0)
    visit.settle()
    assert "land" in page.locator("#point-chart").inner_text()


def test_the_address_keeps_what_is_shown(visit, server, atlas):
    page = visit.open(address(server))
    page.select_option("#variable", "PH")
    page.select_option("#band", "experimental")
    page.select_option("#polygon", "1")
    page.select_option("#injection", "1")
    page.select_option("#year", "2")
    visit.settle()
    page.evaluate("() => map.jumpTo({center: [-120, -5], zoom: 1.4})")
    visit.settle()
    url = page.url
    again = visit.context.new_page()
    again.goto(url)
    again.wait_for_function("() => document.body.dataset.state === 'ready'")
    ids = ("variable", "band", "polygon", "injection", "year", "month")
    found = [again.input_value(f"#{name}") for name in ids]
    assert found == ["PH", "experimental", "1", "1", "2", "1"]
    assert again.evaluate("() => map.getZoom()") == pytest.approx(1.4, abs=0.01)
    assert again.evaluate("() => map.getCenter().lng") == pytest.approx(-120, abs=0.01)
    again.close()
    page.evaluate("() => { location.hash = '#variable=FG&polygon=0&injection=1&year=99&month=1' }")
    visit.settle()
    assert [page.input_value(f"#{name}") for name in ids] == ["FG", "delta", "0", "1", "3", "12"]


def test_what_is_shown_can_be_taken_away(visit, server, atlas, tmp_path):
    page = visit.open(address(server, fragment="#variable=PH&band=experimental&year=2"))
    with page.expect_download() as started:
        page.click("#save-png")
    started.value.save_as(tmp_path / "map.png")
    picture = Image.open(tmp_path / "map.png").convert("RGB")
    assert picture.width == page.evaluate("() => map.getCanvas().width")
    assert picture.height > page.evaluate("() => map.getCanvas().height") + 80
    assert len(picture.getcolors(1 << 24) or []) > 500
    with page.expect_download() as started:
        page.click("#save-csv")
    about, *lines = Path(started.value.path()).read_text().splitlines()
    assert "surface pH" in about
    rows = list(csv.reader(io.StringIO("\n".join(lines))))
    assert rows[0] == ["lon", "lat", "PH"]
    field = atlas.field("PH", "experimental", 0, 1, 12, 1)
    assert len(rows) - 1 == np.isfinite(field).sum()
    lon, lat = atlas.centres(1)
    for east, north, value in rows[1::50]:
        row, column = np.abs(lat - float(north)).argmin(), np.abs(lon - float(east)).argmin()
        assert float(value) == pytest.approx(field[row, column], rel=1e-6)
    with page.expect_download() as started:
        page.locator("#efficiency-chart button").click()
    lines = Path(started.value.path()).read_text().splitlines()[1:]
    table = np.genfromtxt(lines, delimiter=",", skip_header=1)
    np.testing.assert_allclose(table[:, 2], atlas.efficiency(0, 1), rtol=1e-6)
    np.testing.assert_allclose(table[:, 3], atlas.published(0, 1), rtol=1e-6)


# What is not whole


def test_a_case_that_is_being_written_is_not_shown_as_complete(tolerant, server, atlas):
    page = tolerant.open(address(server, fragment="#polygon=1&injection=10"))
    notice = page.locator("#notice")
    assert "South Indian 1 (id 1), October: no map" in notice.inner_text()
    assert "being written" in notice.inner_text()
    assert not any("/DIC/" in url for url in tolerant.asked)
    assert "failed" in page.locator("#uptake-chart").inner_text()
    assert page.locator("#efficiency-chart .series-0").count() == 0  # the published one alone
    assert numbers(rows_of(page, "efficiency-chart"), 2)[11] == pytest.approx(
        atlas.published(1, 10)[11], rel=1e-5
    )
    page.select_option("#injection", "1")
    tolerant.settle()
    assert notice.is_hidden()
    assert any("/DIC/0.1.0." in url for url in tolerant.asked)


def test_a_case_that_was_never_made_says_so_without_asking(visit, server):
    page = visit.open(address(server, fragment="#polygon=1&injection=7"))
    assert "July: no map, because this case is not complete" in page.locator("#notice").inner_text()
    assert "no uptake of this case yet" in page.locator("#uptake-chart").inner_text()
    assert not any("/1.1" in url for url in visit.asked)


def test_missing_chunks_are_told(tolerant, server):
    page = tolerant.open(address(server, fragment="#polygon=1&injection=4"))
    text = page.locator("#notice").inner_text()
    assert "1 of 4 tiles in view are not in the store" in text
    page.select_option("#injection", "1")
    tolerant.settle()
    assert page.locator("#notice").is_hidden()


@pytest.mark.parametrize(
    ("index", "told"),
    [
        ("none/index.json", "There is no http://127.0.0.1"),
        ("broken.json", "is not JSON"),
        ("other.json", 'kind is undefined, expected "atlas" or "dataset"'),
        ("absent.json", "There is no Zarr store at"),
        ("swapped.json", "announces (time, y, x)"),
        ("lost.json", "has no array 0/ALK"),
        ("../../dor/efficiency_store.zarr/", "not a pyramid"),
        ("square.zarr/", "is 16 x 24 pixels in chunks of 16 x 16"),
    ],
)
def test_what_cannot_be_opened_is_said(tolerant, server, atlas, index, told):
    folder = atlas.index.parent
    whole = atlas.index_content()
    (folder / "broken.json").write_text("<html>")
    (folder / "other.json").write_text('{"type": "FeatureCollection"}')
    absent = {**whole, "stores": {**whole["stores"], "maps": {"v2": "v9.zarr"}}}
    (folder / "absent.json").write_text(json.dumps(absent))
    times = {"dimension": "time", "values": [0], "labels": ["1992-01"]}
    (folder / "swapped.json").write_text(json.dumps({**whole, "kind": "dataset", "times": times}))
    lost = {**whole["variables"][0], "name": "ALK"}
    (folder / "lost.json").write_text(json.dumps({**whole, "variables": [lost]}))
    if not (folder / "square.zarr").exists():
        root = zarr.open_group(folder / "square.zarr", mode="w", zarr_format=2)
        dims = {"_ARRAY_DIMENSIONS": ["y", "x"]}
        root.create_group("0").create_array(
            "t", shape=(16, 24), chunks=(16, 16), dtype="f4", attributes=dims, compressors=Zlib(1)
        )
        root.attrs["multiscales"] = [{"datasets": [{"path": "0", "pixels_per_tile": 16}]}]
        zarr.consolidate_metadata(folder / "square.zarr")
    page = tolerant.open(f"{server.url}/?index=data/pyramids/atlas/{index}")
    notice = page.locator("#notice")
    assert told in notice.inner_text()
    assert "undefined is" not in notice.inner_text()
    assert page.locator("#play").is_hidden()


def test_stores_of_curves_that_are_gone_leave_the_map(tolerant, server, atlas):
    whole = atlas.index_content()
    gone = {"url": "../../dor/none.zarr", "variable": "OAE_efficiency"}
    changed = {**whole, "stores": {**whole["stores"], "published": gone}, "polygons": "no.geojson"}
    (atlas.index.parent / "gone.json").write_text(json.dumps(changed))
    page = tolerant.open(f"{server.url}/?index=data/pyramids/atlas/gone.json")
    text = page.locator("#notice").inner_text()
    assert "dor/none.zarr" in text
    assert "The polygons cannot be drawn" in text
    assert len(rows_of(page, "efficiency-chart")) == 36
    case = {"variable": "DIC", "band": "delta", "polygon": 0, "month": 1, "elapsed": 0}
    assert_pixels(page, atlas, RD_BU_R, (-1000, 1000), **case)


def test_without_webgl_there_are_a_message_and_the_charts(playwright, server, atlas):
    with chromium(playwright, "--disable-3d-apis") as blind:
        visit = Visit(blind)
        page = visit.open(address(server))
        assert "cannot draw the map" in page.locator("#map").inner_text()
        np.testing.assert_allclose(
            numbers(rows_of(page, "efficiency-chart"), 2), atlas.efficiency(0, 1), rtol=1e-5
        )
        assert page.locator("#save-png").is_disabled()
        visit.context.close()
        assert visit.complaints == []


# Other stores


@pytest.mark.parametrize("name", ["v2.zarr", "v3.zarr"])
def test_a_bare_store_of_either_format_is_drawn_and_read(tolerant, server, atlas, name):
    view = "#variable=PH&band=experimental&polygon=1&injection=4&year=3&month=2&view=1.02/12/-160"
    page = tolerant.open(address(server, f"pyramids/atlas/{name}", view))
    assert (page.input_value("#polygon"), page.input_value("#month")) == ("1", "2")
    lon, lat = atlas.centres(1)
    places = [[float(lon[column]), float(lat[row])] for row, column in ((20, 3), (25, 8), (17, 12))]
    expected = atlas.field("PH", "experimental", 1, 4, 25, 1)[[20, 25, 17], [3, 8, 12]]
    for place, value in zip(places, expected, strict=True):
        found = page.evaluate(
            """async (coordinates) => {
              const found = await layer.queryData({type: 'Point', coordinates});
              return found.PH
            }""",
            place,
        )
        assert np.ravel(found)[0] == pytest.approx(value, rel=1e-6)
    shown = pixels(page, np.array(places))
    limits = page.evaluate("() => layer.clim")
    for found, value in zip(shown, expected, strict=True):
        wanted = colour(VIRIDIS, (value - limits[0]) / (limits[1] - limits[0]))
        assert np.abs(found - wanted).max() <= 8


@pytest.mark.filterwarnings("ignore")
def test_a_store_written_by_ndpyramid_opens(tolerant, tmp_path):
    import rioxarray  # noqa: F401 - ndpyramid's resample takes its accessor
    from ndpyramid import pyramid_resample

    lon, lat = np.arange(-179, 180, 2.0), np.arange(-89, 90, 2.0)
    wave = np.cos(np.deg2rad(lat))[:, None] * np.cos(np.deg2rad(lon))
    about = [
        {"standard_name": f"{n}itude", "units": f"degrees_{u}"}
        for n, u in (("lat", "north"), ("long", "east"))
    ]
    source = xr.Dataset(
        {"ssh": (("time", "y", "x"), np.array([1, 2, 3])[:, None, None] * wave.astype("f4"))},
        {"time": np.arange(3, dtype="i4"), "y": ("y", lat, about[0]), "x": ("x", lon, about[1])},
    )
    made = pyramid_resample(source.chunk(), x="x", y="y", levels=2, pixels_per_tile=16)
    for level in made.children.values():
        for variable in level.variables.values():
            variable.encoding = {}
    made.to_zarr(tmp_path / "made.zarr", zarr_format=2, consolidated=True)
    with PageServer(Directory(tmp_path)) as server:
        page = tolerant.open(address(server, "made.zarr"))
        assert page.locator("#variable option").all_text_contents() == ["Ssh"]
        page.fill("#time", "2")
        tolerant.settle()
        stored = zarr.open_group(tmp_path / "made.zarr", mode="r")["1/ssh"][2]
        at = (np.arange(32) + 0.5) / 32
        east, north = 360 * at - 180, np.rad2deg(np.arctan(np.sinh(np.pi * (1 - 2 * at))))
        low, high = page.evaluate("() => layer.clim")
        assert low == -high
        for row, column in ((14, 3), (20, 5), (16, 8)):
            found = pixels(page, np.array([[east[column], north[row]]]))[0]
            wanted = colour(RD_BU_R, (stored[row, column] - low) / (high - low))
            assert np.abs(found - wanted).max() <= 8


def test_a_dataset_has_one_slider_of_time(visit, tmp_path):
    write_dataset(tmp_path)
    with PageServer(Directory(tmp_path)) as server:
        page = visit.open(address(server, "pyramids/ssh"))
        assert page.locator("#year").is_hidden()
        assert page.locator("#polygon").is_hidden()
        assert page.locator("#when").inner_text() == "1992-01"
        page.fill("#time", "1")
        visit.settle()
        assert page.locator("#when").inner_text() == "1992-03"
        shown = pixels(page, np.array([[-150.0, 0.5]]))[0]
        assert np.abs(shown - colour(RD_BU_R, (2 * 0.3 + 1) / 2)).max() <= 8
        click_at(page, -150, 0.5)
        visit.settle()
        np.testing.assert_allclose(numbers(rows_of(page, "point-chart"), 1), [0.0, 0.6], atol=1e-6)


def write_dataset(folder: Path) -> None:
    """Three months of a flat sea, rising 0.3 a month; the second one is not in the index."""
    place = folder / "pyramids/ssh"
    root = zarr.open_group(place / "v2.zarr", mode="w", zarr_format=2)
    for level in range(2):
        group, n = root.create_group(str(level)), 16 << level
        named = {"attributes": {"_ARRAY_DIMENSIONS": ["time", "y", "x"]}, "compressors": Zlib(1)}
        ssh = group.create_array(
            "SSH", shape=(3, n, n), chunks=(1, 16, 16), dtype="f4", fill_value=FILL, **named
        )
        ssh[:] = 0.3 * np.arange(3)[:, None, None] * np.ones((n, n))
        named = {"attributes": {"_ARRAY_DIMENSIONS": ["time"]}, "compressors": Zlib(1)}
        time_ = group.create_array("time", shape=(3,), chunks=(3,), dtype="i4", **named)
        time_[:] = [8035, 8066, 8095]
    status = root.create_array("step_status", shape=(3,), chunks=(1,), dtype="u1", **named)
    status[:] = [1, 0, 1]
    datasets = [{"path": str(level), "pixels_per_tile": 16} for level in range(2)]
    root.attrs["multiscales"] = [{"datasets": datasets}]
    zarr.consolidate_metadata(place / "v2.zarr")
    times = {"dimension": "time", "values": [8035, 8095], "labels": ["1992-01", "1992-03"]}
    shown = {"clim": {"value": [-1, 1]}, "colormap": {"value": "RdBu_r"}, "display_factor": 1}
    about = {"name": "SSH", "long_name": "sea-surface height", "units": "m", "display_units": "m"}
    index = {
        "title": "Sea-surface height",
        "kind": "dataset",
        "stores": {"maps": {"v2": "v2.zarr", "v3": None}},
        "variables": [{**about, **shown}],
        "bands": ["value"],
        "times": times,
        "pixels_per_tile": 16,
        "levels": 2,
    }
    (place / "index.json").write_text(json.dumps(index))


@needs_modules
def test_the_readers_of_others_give_the_stored_values(server, atlas):
    asked = {"url": f"{server.url}/data/pyramids/atlas", "level": 1, "variable": "FG"}
    argv = ["node", "test/readers.mjs", json.dumps(asked)]
    done = subprocess.run(argv, cwd=VIEWER, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert sorted(found) == ["zarr-js v2", "zarrita v2", "zarrita v3"]
    expected = atlas.field("FG", "experimental", 0, 4, 25, 1)[:16, 16:]
    for reader, (chunk, band) in found.items():
        assert band == ["delta", "experimental"], reader
        values = np.array(chunk, np.float32).reshape(atlas.years, 16, 16)[2]
        np.testing.assert_array_equal(np.where(values == FILL, np.nan, values), expected)


# How it looks


@needs_modules
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_nothing_is_inaccessible(browser, server, size, scheme):
    axe = (MODULES / "axe-core/axe.min.js").read_text()
    visit = Visit(browser, size, color_scheme=scheme)
    views = ["#point=-150,20&click=point", "#show=efficiency", "#polygon=1&injection=7"]
    for view in views:
        page = visit.open(address(server, fragment=view))
        for each in page.locator("summary:visible").all():
            each.click()
        page.evaluate(axe)
        found = page.evaluate("() => axe.run(document)")
        told = [
            f"{broken['id']}: {node['target']} {node['failureSummary']}"
            for broken in found["violations"]
            for node in broken["nodes"]
        ]
        assert told == [], view
        page.goto("about:blank")
    visit.context.close()
    assert visit.complaints == []


@pytest.mark.parametrize("size", [WIDE, (1000, 640), PHONE], ids=["wide", "small", "phone"])
def test_nothing_overlaps_and_nothing_sticks_out(browser, server, size):
    visit = Visit(browser, size)
    for view in ("#point=-150,20", "#show=efficiency&source=published", "#polygon=1&injection=7"):
        page = visit.open(address(server, fragment=view))
        assert page.evaluate("() => document.documentElement.scrollWidth") <= size[0]
        clashes = page.evaluate(
            """() => {
              const names = 'h1, #case, select, button, label > span, figcaption, .mark, #when,'
                + ' .bar-title > span, #notice, .tick, .legend li, summary';
              const seen = [...document.querySelectorAll(names)]
                .filter((each) => each.checkVisibility() && !each.closest('.unseen'))
                .map((each) => [each, each.getBoundingClientRect()])
                .filter(([, box]) => box.width > 1 && box.height > 1);
              const clashes = [];
              seen.forEach(([one, a], i) => seen.slice(i + 1).forEach(([two, b]) => {
                if (one.contains(two) || two.contains(one)) return;
                const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
                const along = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
                if (across > 1 && along > 1)
                  clashes.push([one.outerHTML.slice(0, 80), two.outerHTML.slice(0, 80)]);
              }));
              for (const [each, box] of seen)
                if (box.left < 0 || box.right > innerWidth)
                  clashes.push([each.outerHTML.slice(0, 80), 'sticks out']);
              return clashes;
            }"""
        )
        assert clashes == [], view
        page.goto("about:blank")
    visit.context.close()
