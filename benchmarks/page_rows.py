"""The page on a case of the published size, in a headless browser without a graphics card."""

import http.client
import shutil
import statistics
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from benchmarks.measure import Row, limit_row, peak_rss_mb
from benchmarks.pyramids_rows import (
    MONTHS,
    PLACE,
    SHAPE,
    fields_of,
    provenance_of,
    web_weights,
)
from dor_ecco_assets.atlas.specification import load_atlas
from dor_ecco_assets.mapping.cells import source_cells
from dor_ecco_assets.pyramids.configuration import load_atlas_maps
from dor_ecco_assets.pyramids.index import INDEX, MapStores, PageIndex, PageStores
from dor_ecco_assets.pyramids.indexing import page_variable
from dor_ecco_assets.pyramids.making import Region, Source, make_region, put_region
from dor_ecco_assets.pyramids.products import ATLAS
from dor_ecco_assets.pyramids.schema import BANDS, atlas_layout, groups_of
from dor_ecco_assets.pyramids.serving import PageServer, find_shown, page_path
from dor_ecco_assets.samples.pop_grid import sample_pop_grid
from dor_ecco_assets.storage import Directory
from dor_ecco_assets.stores.browser import objects_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FIRST_MAP = "page, headless: first map"
YEAR_STEP = "page, headless: most requests of a year step"
MONTH_STEP = "page, headless: most requests of a month step"
NAMES = (FIRST_MAP, YEAR_STEP, MONTH_STEP)

MOST_FIRST_S, MOST_OF_YEAR, MOST_OF_MONTH = 5.0, 0, 4
VARIABLE = "FG"
#: Chunks that cover the world at zoom level 1.
TILES = 4

_SWITCHES = (
    "--use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader --no-sandbox "
    "--disable-quic --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --disable-dev-shm-usage"
)
_SHOWN = (
    "() => document.body.dataset.state === 'ready' && window.map.loaded() && !window.state.loading"
)


def rows(scratch: Path, *, quick: bool) -> list[Row]:
    """Open the page a few times, step through years and months, count what is asked for."""
    _write_case(scratch / ATLAS)
    visits, steps = (2, 3) if quick else (5, 11)
    first_s: list[float] = []
    fetched_s: list[float] = []
    of_year: list[int] = []
    of_month: list[int] = []
    with PageServer(Directory(scratch)) as server, _chromium() as browser:
        polygon, month = PLACE[0], load_atlas("dor").injection_months[PLACE[1]]
        fragment = f"#variable={VARIABLE}&band=delta&polygon={polygon}&injection={month}"
        path = page_path(find_shown(server.storage, ATLAS))
        for _ in range(visits):
            context = browser.new_context(viewport={"width": 1440, "height": 900})
            page = context.new_page()
            asked: list[str] = []
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            start = time.monotonic()
            page.goto(f"{server.url}{path}{fragment}")
            page.wait_for_function(_SHOWN)
            first_s.append(time.monotonic() - start)
            fetched_s.append(_fetched_s(server.port, asked))
            n_first = len(asked)
            if len(first_s) == visits:
                for n in range(1, steps + 1):
                    of_year.append(_asked_by(page, asked, "#year", str(1 + n % 15)))
                for n in range(1, steps + 1):
                    of_month.append(_asked_by(page, asked, "#month", str(1 + n % 12)))
            context.close()
    scale = "; fewer visits and steps" if quick else ""
    told = "180 months on 2 x 2 tiles of 128 pixels, a software renderer, on loopback"

    def requests_row(name: str, counts: list[int], most: int) -> Row:
        return limit_row(
            line="pyramids",
            name=name,
            unit="requests",
            ours=max(counts),
            baseline=TILES,
            limit=most,
            peak_mb=peak_rss_mb(),
            note=f"of {len(counts)} steps, one after another; baseline: the chunks of one field "
            f"where every step has its own; {told}{scale}",
        )

    return [
        limit_row(
            line="pyramids",
            name=FIRST_MAP,
            unit="s",
            ours=statistics.median(first_s),
            baseline=statistics.median(fetched_s),
            limit=MOST_FIRST_S,
            peak_mb=peak_rss_mb(),
            note=f"{n_first} requests; {told}; a new browser context each of {visits} times; "
            f"baseline, a floor: the same requests by http.client{scale}",
        ),
        requests_row(YEAR_STEP, of_year, MOST_OF_YEAR),
        requests_row(MONTH_STEP, of_month, MOST_OF_MONTH),
    ]


def _write_case(folder: Path) -> None:
    """One case of one variable in both formats, and the index that the page opens."""
    from dor_ecco_assets.pyramids.apply import Regridder, month_major

    cells = source_cells(sample_pop_grid(*SHAPE, 4))
    weights, maps = web_weights(cells), load_atlas_maps()
    atlas = load_atlas("dor").model_copy(update={"variables": (VARIABLE,)})
    layout = atlas_layout(atlas, maps.variables, provenance_of(weights))
    for stored in ("v2", "v3"):
        schema = objects_of(groups_of(layout, [of.share for of in weights.levels], stored), stored)
        for name, data in schema.items():
            path = folder / f"{stored}.zarr" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    sources = [
        Source(VARIABLE, (band,), VARIABLE, lambda band=band: fields_of(cells, band))
        for band in range(len(BANDS))
    ]
    regridder = Regridder(weights, month_major(MONTHS))
    region = Region(layout, ("v2", "v3"), PLACE)
    spool = folder.parent / "spool"
    made = make_region(region, sources, weights, regridder, spool, origin="benchmark")
    storage = Directory(folder.parents[1])
    put_region(ATLAS, made, {}, "benchmark", storage, lambda: None)
    polygon, month = PLACE[0], atlas.injection_months[PLACE[1]]
    index = PageIndex(
        title=atlas.title,
        kind="atlas",
        atlas=atlas.name,
        forcing=atlas.forcing,
        stores=PageStores(maps=MapStores()),
        variables=(page_variable(VARIABLE, maps.variables[VARIABLE]),),
        bands=BANDS,
        injection_dim_name=layout.status_dims[-1],
        injection_months=atlas.injection_months,
        polygon_ids=tuple(range(atlas.polygon_set.n_polygons)),
        years=tuple(range(1, atlas.years + 1)),
        months=atlas.months,
        cases={each: (polygon,) if each == month else () for each in atlas.injection_months},
        pixels_per_tile=atlas.pixels_per_tile,
        levels=atlas.zoom_levels,
    )
    (folder / INDEX).write_text(index.model_dump_json())


@contextmanager
def _chromium() -> Generator["Browser"]:
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        raise RuntimeError("there is no chromium on PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found, headless=True, args=_SWITCHES.split()
        )
        yield browser
        browser.close()


def _asked_by(page: "Page", asked: list[str], control: str, value: str) -> int:
    """Requests until the page shows what a control was set to."""
    before = len(asked)
    page.select_option(control, value)
    page.wait_for_timeout(250)  # one more frame of a software renderer
    page.wait_for_function(_SHOWN)
    return len(asked) - before


def _fetched_s(port: int, asked: list[str]) -> float:
    """Seconds in which the same URLs come one after another."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    start = time.monotonic()
    for url in asked:
        parts = urlsplit(url)
        if parts.scheme == "http":
            connection.request("GET", parts.path)
            connection.getresponse().read()
    seconds = time.monotonic() - start
    connection.close()
    return seconds
