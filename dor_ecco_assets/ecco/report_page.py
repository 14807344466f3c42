"""The page of a quality report: one HTML file with its pictures inside, no script, no request."""

import base64
import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dor_ecco_assets.ecco.quality_report import DatasetReport, LevelStatistics, VariableReport

_STYLE = """
:root { color-scheme: light; --line: #d5d9df; --soft: #1f3b570d; --ink: #1b2530; --link: #0b5394; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem; color: var(--ink); background: #fff;
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0.5rem 0; } h2 { font-size: 1.25rem; margin: 2.5rem 0 0.25rem;
  padding-top: 1rem; border-top: 2px solid var(--line); overflow-wrap: anywhere; }
h3 { font-size: 1.05rem; margin: 1.5rem 0 0.25rem; } p { margin: 0.25rem 0 0.75rem; }
a { color: var(--link); } code { font-size: 0.9em; overflow-wrap: anywhere; }
.variable { display: grid; gap: 0.5rem 1.5rem; align-items: start;
  grid-template-columns: minmax(0, 22rem) minmax(0, 1fr); }
@media (max-width: 50rem) { .variable { grid-template-columns: minmax(0, 1fr); } }
figure { margin: 0; } img { display: block; width: 100%; max-width: 22rem; height: auto;
  image-rendering: pixelated; border: 1px solid var(--line); background: #fff; }
.legend { display: flex; gap: 0.5rem; align-items: center; max-width: 22rem; font-size: 0.85rem;
  font-variant-numeric: tabular-nums; }
.ramp { flex: 1; height: 0.7rem; border: 1px solid var(--line); }
figcaption { font-size: 0.85rem; color: #47525e; max-width: 22rem; }
/* A shadow stands at each side where more of a table is to be scrolled to. */
.scroll { overflow-x: auto; background:
  linear-gradient(to right, #fff 50%, #fff0) 0 0 / 3rem 100% no-repeat local,
  linear-gradient(to left, #fff 50%, #fff0) 100% 0 / 3rem 100% no-repeat local,
  linear-gradient(to right, #1b253059, #1b253000) 0 0 / 1rem 100% no-repeat scroll,
  linear-gradient(to left, #1b253059, #1b253000) 100% 0 / 1rem 100% no-repeat scroll; }
.scroll:focus-visible { outline: 2px solid var(--link); }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-size: 0.85rem; color: #47525e; padding-bottom: 0.25rem; }
th, td { padding: 0.2rem 0.7rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; } thead th { background: var(--soft); vertical-align: bottom; }
.text { text-align: left; } summary { cursor: pointer; margin: 0.5rem 0; color: var(--link); }
"""

_COLUMNS = ("wet cells", "minimum", "mean", "maximum", "change of mean", "rms change")


def page(month: str, datasets: "Sequence[DatasetReport]") -> str:
    """The whole page.

    Parameters
    ----------
    month : str
        As people say it.
    datasets : sequence of DatasetReport
    """
    granules = sum(dataset.granules for dataset in datasets)
    body = [
        f"<h1>ECCO granules of {escape(month)}</h1>",
        f"<p>{_count(granules, 'granule')} of {_count(len(datasets), 'dataset')}. Where a dataset "
        "has several granules, extremes are over all of them and the mean is that of their mean "
        "field. Means are weighted by cell area. Changes are against the month before: of the "
        "mean, and the root mean square over all cells; a dash stands where there is no such "
        "month or no wet cell.</p>",
        _overview(datasets),
        *(_dataset(dataset) for dataset in datasets),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>ECCO granules of {escape(month)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        "<body>\n<main>\n" + "\n".join(body) + "\n</main>\n</body>\n</html>\n"
    )


def _overview(datasets: "Sequence[DatasetReport]") -> str:
    rows = [
        f'<tr><th scope="row" class="text"><a href="#{escape(dataset.name)}">'
        f"{escape(dataset.name)}</a></th><td>{dataset.granules}</td>"
        f"<td>{dataset.granules_before}</td>"
        f'<td class="text">{escape(", ".join(v.name for v in dataset.variables))}</td></tr>'
        for dataset in datasets
    ]
    return _table(
        "Datasets of the month",
        [
            ("dataset", "text"),
            ("granules", ""),
            ("in the month before", ""),
            ("variables", "text"),
        ],
        rows,
    )


def _dataset(dataset: "DatasetReport") -> str:
    parts = [
        f'<section aria-labelledby="{escape(dataset.name)}">',
        f'<h2 id="{escape(dataset.name)}">{escape(dataset.title)}</h2>',
        f"<p><code>{escape(dataset.name)}</code>, {_count(dataset.granules, 'granule')}; "
        f"{dataset.granules_before} in the month before.</p>",
        *(_variable(dataset, variable) for variable in dataset.variables),
        "</section>",
    ]
    return "\n".join(parts)


def _variable(dataset: "DatasetReport", variable: "VariableReport") -> str:
    units = escape(variable.units)
    first = variable.levels[0]
    place = "" if first.depth_m is None else f" at {_depth(first.depth_m)}"
    what = f"Map of the mean {variable.name}{place}"
    alt = (
        f"{what}: {variable.long_name}, from {_number(first.minimum)} to "
        f"{_number(first.maximum)} {variable.units}, mean {_number(first.mean)} {variable.units}"
    )
    picture = base64.b64encode(variable.map.png).decode()
    ramp = ", ".join(variable.map.colours)
    laid = ", tiles laid side by side under the Arctic cap" if variable.map.tiled else ""
    figure = (
        f'<figure><img alt="{escape(alt)}" src="data:image/png;base64,{picture}">'
        f'<div class="legend"><span>{_number(variable.map.low)}</span>'
        f'<span class="ramp" style="background: linear-gradient(to right, {ramp})"></span>'
        f"<span>{_number(variable.map.high)} {units}</span></div>"
        f"<figcaption>{escape(what)}; land is grey{laid}.</figcaption></figure>"
    )
    return (
        f"<h3>{escape(variable.name)}: {escape(variable.long_name)}"
        f"{f' ({units})' if units else ''}</h3>\n"
        f'<div class="variable">{figure}<div>{_levels(dataset, variable)}</div></div>'
    )


def _levels(dataset: "DatasetReport", variable: "VariableReport") -> str:
    deep = variable.levels[0].depth_m is not None
    heads = [("depth", "text")] if deep else []
    heads += [(f"{name}{_in(variable, name)}", "") for name in _COLUMNS]
    rows = [f"<tr>{''.join(_cells(level))}</tr>" for level in variable.levels]
    caption = f"{variable.name} of {dataset.name}"
    if len(rows) <= 3:
        return _table(caption, heads, rows)
    first = _table(f"{caption}, first level", heads, rows[:1])
    rest = _table(f"{caption}, all levels", heads, rows)
    return f"{first}<details><summary>All {len(rows)} depth levels</summary>{rest}</details>"


def _in(variable: "VariableReport", column: str) -> str:
    return "" if column == "wet cells" or not variable.units else f"<br>{escape(variable.units)}"


def _cells(level: "LevelStatistics") -> Iterator[str]:
    if level.depth_m is not None:
        yield f'<th scope="row" class="text">{_depth(level.depth_m)}</th>'
    yield f"<td>{level.wet_cells:,}</td>"
    for value in (level.minimum, level.mean, level.maximum, level.mean_change, level.rms_change):
        yield f"<td>{_number(value)}</td>"


def _table(caption: str, heads: Sequence[tuple[str, str]], rows: Sequence[str]) -> str:
    """A table that scrolls by itself, by keyboard too, where it is wider than the screen."""
    head = "".join(
        f'<th scope="col"{f' class="{kind}"' if kind else ""}>{name}</th>' for name, kind in heads
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>\n{'\n'.join(rows)}\n</tbody></table></div>"
    )


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _depth(metres: float) -> str:
    return f"{abs(metres):,.1f} m"


def _number(value: float | None) -> str:
    """Five significant digits; a dash where there is none."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.5g}".replace("-", "−")
