"""One page with every case's curve and status, gathered from stores 1 and 3."""

from collections.abc import Iterator
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dor_ecco_assets.atlas.names_on_disk import efficiency_name
from dor_ecco_assets.atlas.published import EFFICIENCY_FILL
from dor_ecco_assets.atlas.specification import Atlas
from dor_ecco_assets.dor.configuration import case_partitions
from dor_ecco_assets.dor.stores import DONE, FAILED, STATUS, UPTAKE
from dor_ecco_assets.lineage.product import Content, Task

__all__ = ["make_report"]

type Doubles = NDArray[np.float64]

_WORDS = {0: "absent", DONE: "done", FAILED: "failed"}

#: Size of a curve, pixels, and how many points it keeps: the eye sees no more.
_WIDTH, _HEIGHT, _MOST_POINTS = 96, 24, 46

_STYLE = """
body{font:14px/1.4 system-ui,sans-serif;margin:1.5rem auto;max-width:76rem;color:#1d2733}
h1{font-size:1.4rem}table{border-collapse:collapse}
th,td{padding:.15rem .5rem;text-align:left;border-bottom:1px solid #e3e8ee;white-space:nowrap}
th{position:sticky;top:0;background:#fff}td.n{text-align:right;font-variant-numeric:tabular-nums}
svg{display:block}path{fill:none;stroke:#1565a9;stroke-width:1.3}
.failed{color:#b3261e;font-weight:600}.absent{color:#8a94a0}.big path{stroke-width:.7;opacity:.35}
.all{display:flex;gap:1rem;flex-wrap:wrap}figure{margin:0;max-width:260px}
.big{border-left:1px solid #8a94a0;border-bottom:1px solid #8a94a0}figcaption{font-size:.85rem}
"""


def make_report(key: str, atlas: Atlas, task: Task) -> Content:
    """The report of an atlas.

    Parameters
    ----------
    key : str
    atlas : Atlas
    task : Task
        Its members are the months of stores 1 and 3 that are there.
    """
    shape = (atlas.polygon_set.n_polygons, len(atlas.injection_months))
    curves = np.full((atlas.months, *shape), np.nan)
    within = np.full(shape, np.nan)
    status = np.zeros(shape, np.uint8)
    for member in task.members():
        place, arrays = atlas.injection_months.index(int(member.partition)), member.arrays()
        if member.key.endswith("efficiency_store"):
            curves[..., place] = _numbers(arrays[efficiency_name(atlas.forcing)][:, :, place])
            status[:, place] = arrays[STATUS][:, place]
        else:
            within[:, place] = _numbers(arrays[UPTAKE][-1, :, place, 0])
    counts = {
        word: sum(
            int(status[case.polygon_master, atlas.injection_months.index(case.injection_month)])
            == number
            for case in case_partitions(atlas).values()
        )
        for number, word in _WORDS.items()
    }
    last = curves[-1][np.isfinite(curves[-1])]
    text = _page(atlas, curves, within, status, counts)
    return Content(
        f"{key}.html",
        partial(_write, text),
        {
            "shape": list(shape),
            **{f"cases_{word}": count for word, count in counts.items()},
            "mean_last_efficiency": float(last.mean()) if last.size else None,
        },
    )


def _write(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8")


def _numbers(values: Any) -> Doubles:
    found = np.asarray(values)
    return np.where(found == EFFICIENCY_FILL, np.nan, found).astype(np.float64)


def _page(
    atlas: Atlas, curves: Doubles, within: Doubles, status: Any, counts: dict[str, int]
) -> str:
    highest = float(np.nanmax(curves, initial=0.0)) or 1.0
    figures = "".join(
        f"<figure><svg class='big' width='260' height='150' viewBox='0 0 260 150' role='img' "
        f"aria-label='efficiency of month {month:02d}'>{_paths(curves[..., place], highest)}</svg>"
        f"<figcaption>injected in month {month:02d}: efficiency 0 to {highest:.2f}, "
        f"{atlas.months} months</figcaption></figure>"
        for place, month in enumerate(atlas.injection_months)
    )
    rows = "".join(_rows(atlas, curves, within, status, highest))
    said = ", ".join(f"{count} {word}" for word, count in counts.items())
    title = escape(atlas.title)
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{title}</title>"
        f"<style>{_STYLE}</style><h1>{title}</h1><p>{len(case_partitions(atlas))} cases: {said}."
        f"</p><div class='all'>{figures}</div><table><thead><tr><th>polygon<th>month<th>case"
        "<th>status<th>efficiency<th>at the end<th>within 500 km, %</thead>"
        f"<tbody>{rows}</tbody></table></html>\n"
    )


def _paths(curves: Doubles, highest: float) -> str:
    drawn = (_path(curve, highest, 260, 150) for curve in curves.T)
    return "".join(f"<path d='{path}'/>" for path in drawn if path)


def _rows(
    atlas: Atlas, curves: Doubles, within: Doubles, status: Any, highest: float
) -> Iterator[str]:
    for case in sorted(case_partitions(atlas).values(), key=lambda case: case.index):
        place = case.polygon_master, atlas.injection_months.index(case.injection_month)
        word, curve = _WORDS[int(status[place])], curves[(slice(None), *place)]
        drawn = _path(curve, highest, _WIDTH, _HEIGHT)
        picture = f"<svg width='{_WIDTH}' height='{_HEIGHT}'><path d='{drawn}'/></svg>"
        yield (
            f"<tr><td class='n'>{case.polygon_master:03d}<td class='n'>{case.injection_month:02d}"
            f"<td>{escape(case.name)}<td class='{word}'>{word}<td>{picture if drawn else ''}"
            f"<td class='n'>{_number(curve[-1], 3)}<td class='n'>{_number(within[place], 1)}"
        )


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else ""


def _path(curve: Doubles, highest: float, width: int, height: int) -> str:
    """A curve as SVG, thinned; empty where there is nothing to draw."""
    known = np.flatnonzero(np.isfinite(curve))
    if not known.size:
        return ""
    kept = np.unique(known[np.linspace(0, known.size - 1, _MOST_POINTS).round().astype(int)])
    x = kept / max(1, curve.size - 1) * (width - 2) + 1
    y = height - 1 - np.clip(curve[kept] / highest, 0, 1) * (height - 2)
    return "M" + "L".join(f"{a:.0f} {b:.1f}" for a, b in zip(x, y, strict=True))
