"""The run record of a release: a page of what is in a store, what made it and what was checked.

It follows from the store's version and the libraries at hand alone, with no clock in it, and asks
nothing of the network when it is read.
"""

import base64
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from dor_ecco_assets.lineage.ledger import UNKNOWN
from dor_ecco_assets.storage.base import Storage
from dor_ecco_assets.stores.icechunk_store import IcechunkStore
from dor_ecco_assets.stores.ledger_arrays import read_ledger, read_state
from dor_ecco_assets.stores.preview import colours, drawn_range, field_preview
from dor_ecco_assets.virtual.access import Archives, chosen_way
from dor_ecco_assets.virtual.collections import StoreSpec
from dor_ecco_assets.virtual.hdf5 import PARSER
from dor_ecco_assets.virtual.layout import PACKED, Layout, Part, axis_of
from dor_ecco_assets.virtual.probing import (
    Compared,
    archives_of,
    probe,
    readable_store,
)

if TYPE_CHECKING:
    from dor_ecco_assets.lineage.ledger import Entry, Ledger

__all__ = ["Checked", "RunRecord", "make_run_record"]

#: Granules whose values are compared with their files, and the size up to which they are, bytes:
#: a file is read whole.
_COMPARED, _MOST_COMPARED = 3, 64_000_000
#: Cells of a preview along an axis, where the field has more than this many in all.
_MOST_CELLS, _WINDOW = 4_000_000, 2000
#: Granules in quarantine, or waiting, that are named one by one.
_NAMED = 50

#: How long the other end of HTTPS is waited for, s.
_PATIENCE_S = 10

#: What reads, writes and packs; what only serves them is in the lock file.
_LIBRARIES = ("dor-ecco-assets", "icechunk", "zarr", "numpy", "h5py", "xarray", "fastparquet")

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:1.5rem auto;max-width:62rem;padding:0 1rem;
color:#1d2733;background:#fff}h1{font-size:1.5rem;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin-top:2rem;border-top:2px solid #d5d9df;padding-top:.75rem}
table{border-collapse:collapse;font-size:.9rem;margin:.5rem 0 1rem}
.scroll{overflow-x:auto}caption{text-align:left;color:#47525e;font-size:.85rem}
th,td{padding:.2rem .7rem;border-bottom:1px solid #e3e8ee;text-align:left;vertical-align:top;
overflow-wrap:break-word}td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
figure{margin:1rem 0}figcaption{font-size:.85rem;color:#47525e}svg,img{display:block;
max-width:100%;height:auto;border:1px solid #d5d9df}img{image-rendering:pixelated;width:720px}
.ramp{display:inline-block;width:12rem;height:.7rem;margin:0 .5rem;border:1px solid #d5d9df}
.bad{color:#b3261e;font-weight:600}summary{cursor:pointer;color:#0b5394}
rect{fill:#1565a9}path{fill:none;stroke:#1565a9;stroke-width:1.2}text{font-size:11px;fill:#47525e}
"""


@dataclass(frozen=True)
class Picture:
    """A variable of one granule, drawn.

    Parameters
    ----------
    html : str
        An image or drawing; empty where there is none.
    said : str
        What it shows, or why there is none.
    """

    html: str
    said: str


@dataclass(frozen=True)
class Checked:
    """What was looked at when a release was made.

    Parameters
    ----------
    compared : tuple of Compared
    left_out : str
        What was not compared, and why; empty where nothing was left out.
    """

    compared: tuple[Compared, ...] = ()
    left_out: str = ""

    @property
    def problems(self) -> int:
        """Arrays that differ from the original, or could not be compared."""
        return sum(bool(each.problem) for each in self.compared)


@dataclass(frozen=True)
class RunRecord:
    """The page of a release and what was found for it."""

    html: str
    checked: Checked


def make_run_record(
    storage: Storage, spec: StoreSpec, snapshot: str, versions: Mapping[str, str]
) -> RunRecord:
    """Check a version of a store, draw it, and write it all down.

    Parameters
    ----------
    storage : Storage
    spec : StoreSpec
    snapshot : str
    versions : mapping of str to str
        Of this package's own parts, beside those of libraries.
    """
    archives = archives_of(storage, spec)
    store = readable_store(storage, spec, archives=archives)
    session = store.reading(snapshot)
    ledger = read_ledger(session.store)
    found = _Found(
        spec,
        snapshot,
        ledger,
        ledger.at(ledger.rows_in("published")),
        read_state(session.store).get("epochs", []),
    )
    checked = _checked(storage, found, archives)
    return RunRecord(_page(found, versions, checked, _preview(store, found)), checked)


@dataclass(frozen=True)
class _Found:
    """A version of a store, as far as its ledger tells; `published` in the order of slots."""

    spec: StoreSpec
    snapshot: str
    ledger: "Ledger"
    published: Sequence["Entry"]
    epochs: Sequence[Mapping[str, Any]]


def _checked(storage: Storage, found: _Found, archives: Archives) -> Checked:
    """Some granules as they are read by the way that is used from here, and by HTTPS beside S3."""
    spec = found.spec
    largest = max((entry.size or 0 for entry in found.published), default=0)
    if largest > _MOST_COMPARED:
        return Checked(
            left_out=f"Nothing was compared when this was written: granules have up to "
            f"{largest / 1e6:.0f} MB, and those above {_MOST_COMPARED / 1e6:.0f} MB are compared "
            f"on demand alone, by dor-ecco virtual check {spec.name}."
        )
    compared = probe(storage, spec, _COMPARED, archives=archives, version=found.snapshot)
    if chosen_way(spec.access[0]) != "s3" or not all(place.https for place in spec.access):
        return Checked(tuple(compared))
    other: list[Compared] = []
    if _answers(spec, found.published):
        other = probe(
            storage, spec, _COMPARED, ("https",), archives=archives, version=found.snapshot
        )
    if any(each.values for each in other):
        return Checked((*compared, *other))
    return Checked(tuple(compared), "By HTTPS nothing could be read from here.")


def _answers(spec: StoreSpec, published: Sequence["Entry"]) -> bool:
    """Whether anybody is there at the other end of HTTPS: Icechunk asks nobody very often."""
    import requests

    roots = {place.name: place.https for place in spec.access}
    urls = {f"{roots[entry.container]}{quote(entry.location)}" for entry in published[-1:]}
    try:
        for url in urls:
            requests.head(url, timeout=_PATIENCE_S)
    except requests.RequestException:
        return False
    return bool(urls)


# Plots


def _preview(store: IcechunkStore, found: _Found) -> Picture:
    """The first field, or line, of the last granule, in physical values."""
    if not found.published:
        return Picture("", "no granule is published")
    last = max(found.published, key=lambda entry: (entry.begin, entry.epoch, entry.slot))
    part = _drawn(Layout.decode(found.epochs[last.epoch]["layout"]))
    if part is None:
        return Picture("", "no variable has numbers by byte range")
    try:
        return _picture(store, found, last, part)
    except Exception as error:  # noqa: BLE001 - whatever a reader would meet is what is said
        text = str(error).strip().partition("\n")[0][:200]
        return Picture("", f"{last.name}: {part.target} could not be read: {text}")


def _drawn(layout: Layout) -> Part | None:
    """The first part that is a field in each granule, or a line where none is."""
    parts = [part for part in layout.of_kind("virtual") if part.array.dtype.kind in "iuf"]
    return max(parts, key=lambda part: min(len(part.dims) - (not part.new_axis), 2), default=None)


def _picture(store: IcechunkStore, found: _Found, entry: "Entry", part: Part) -> Picture:
    from dor_ecco_assets.virtual.reading import open_store

    group, _, name = part.target.removesuffix(PACKED).rpartition("/")
    with open_store(store, version=found.snapshot, group=group, epoch=entry.epoch) as dataset:
        variable = dataset[name]
        axis = variable.dims[part.axis]
        place = entry.slot if part.new_axis else entry.slot * part.span
        field = variable.isel({axis: place})
        field = field.isel(dict.fromkeys(field.dims[:-2], 0))
        sizes = dict(field.sizes)
        if field.size > _MOST_CELLS:
            field = field.isel({dim: _middle(size) for dim, size in sizes.items()})
        values = np.asarray(field.values, np.float64)
        rows = dataset.get(str(field.dims[0])) if field.ndim == 2 else None
        southward = rows is not None and rows.ndim == 1 and bool(rows[0] > rows[-1])
        units = str(variable.attrs.get("units", ""))
    of = " by ".join(f"{size} {dim}" for dim, size in sizes.items()) or "one number"
    part_of = "" if values.size == np.prod([*sizes.values()]) else "; the middle of it is shown"
    said = f"{part.target.removesuffix(PACKED)} of {entry.name}, {of}{part_of}"
    if not np.isfinite(values).any():
        return Picture("", f"{said}: no number in it")
    if values.ndim == 2 and min(values.shape) > 1:
        return _map(np.flipud(values) if southward else values, units, said)
    return _line(values.ravel(), units, said)


def _middle(size: int) -> slice:
    first = max(0, (size - _WINDOW) // 2)
    return slice(first, first + _WINDOW)


def _map(values: npt.NDArray[np.float64], units: str, said: str) -> Picture:
    low, high = drawn_range(values)
    ramp = ", ".join(colours(low, high))
    png = base64.b64encode(field_preview(values)).decode()
    alt = f"{said}: {low:.5g} to {high:.5g} {units}"
    legend = (
        f'<div>{low:.5g}<span class="ramp" style="background:linear-gradient(to right,{ramp})">'
        f"</span>{high:.5g} {escape(units)}</div>"
    )
    return Picture(f'<img alt="{escape(alt)}" src="data:image/png;base64,{png}">{legend}', said)


def _line(values: npt.NDArray[np.float64], units: str, said: str) -> Picture:
    kept = values[np.linspace(0, values.size - 1, min(values.size, _POINTS)).round().astype(int)]
    known = np.flatnonzero(np.isfinite(kept))
    low, high = float(kept[known].min()), float(kept[known].max())
    x = known / max(1, kept.size - 1) * (_WIDTH - 2) + 1
    y = _HEIGHT - 1 - (kept[known] - low) / ((high - low) or 1.0) * (_HEIGHT - 2)
    path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))
    alt = f"{said}: {low:.5g} to {high:.5g} {units}"
    return Picture(_svg(alt, f'<path d="{path}"/>'), alt)


_WIDTH, _HEIGHT, _POINTS = 720, 160, 720


def _svg(said: str, inside: str, below: int = 0) -> str:
    height = _HEIGHT + below
    return (
        f'<svg role="img" aria-label="{escape(said)}" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}">{inside}</svg>'
    )


def _months(ledger: "Ledger") -> dict[str, int]:
    """Published granules by the month of their begin; months without any in between are 0."""
    begins = ledger.column("begin_ms")[ledger.rows_in("published")]
    begins = begins[begins != UNKNOWN]
    if not begins.size:
        return {}
    months = begins.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
    counts = np.bincount(months - months.min())
    names = np.datetime_as_string(
        (months.min() + np.arange(counts.size)).astype("datetime64[M]"), unit="M"
    )
    return {str(name): int(count) for name, count in zip(names, counts, strict=True)}


def _bars(months: Mapping[str, int]) -> str:
    most, step = max(months.values()), _WIDTH / len(months)
    width = max(step * 0.8, 0.5)
    bars = "".join(
        f'<rect x="{place * step:.1f}" y="{_HEIGHT - height:.1f}" width="{width:.1f}" '
        f'height="{height:.1f}"><title>{name}: {count}</title></rect>'
        for place, (name, count) in enumerate(months.items())
        for height in [count / most * (_HEIGHT - 2)]
        if count
    )
    first, last = next(iter(months)), list(months)[-1]
    said = f"granules per month from {first} to {last}, {most} at most"
    ends = (
        f'<text x="0" y="{_HEIGHT + 13}">{first}</text><text x="{_WIDTH}" y="{_HEIGHT + 13}" '
        f'text-anchor="end">{last}</text>'
    )
    rows = [(name, count) for name, count in months.items()]
    table = _table("Granules per month", ("month", "granules"), rows)
    return (
        f"<figure>{_svg(said, bars + ends, 18)}<figcaption>{said}</figcaption></figure>"
        f"<details><summary>as a table</summary>{table}</details>"
    )


# The page


def _page(found: _Found, versions: Mapping[str, str], checked: Checked, picture: Picture) -> str:
    spec = found.spec
    title = f"Run record of virtual/{spec.name}"
    counts = found.ledger.counts()
    body = [
        f"<h1>{escape(spec.title or spec.collection.short_name)}</h1>",
        f"<p>Run record of <code>virtual/{escape(spec.name)}/store</code> at version "
        f"<code>{escape(found.snapshot)}</code>: {counts['published']:,} granules published.</p>",
        "<h2>Inputs</h2>",
        _inputs(found),
        _table("Granules by state", ("state", "granules"), list(counts.items())),
        "<h2>Versions</h2>",
        _table(
            "What made it", ("part", "version"), list(_versions(found.snapshot, versions).items())
        ),
        "<h2>Checks</h2>",
        _coverage(found),
        _reasons(found.ledger),
        _comparison(checked),
        "<h2>Plots</h2>",
        _plots(found.ledger, picture),
    ]
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(filter(None, body))
        + "\n</main>\n</body>\n</html>\n"
    )


def _inputs(found: _Found) -> str:
    scope, entries = found.spec.collection, found.published
    revised = sorted(entry.revised for entry in entries if entry.revised)
    numbers = sorted(entry.revision for entry in entries)
    rows = [
        ("collection", scope.short_name),
        ("version", scope.version),
        ("provider", scope.provider),
        ("concept id", scope.concept_id),
        ("product", scope.product),
        ("granules listed", f"{len(found.ledger):,}"),
        ("their size in the archive, MB", f"{sum(e.size or 0 for e in entries) / 1e6:,.1f}"),
        ("revisions", _range(numbers)),
        ("revised", _range(revised)),
    ]
    rows += [
        (f"place {place.name}", url)
        for place in found.spec.access
        for url in (place.s3, place.https)
        if url
    ]
    return _table(
        "Collection", ("what", "found"), [row for row in rows if row[1] not in (None, "")]
    )


def _range(found: Sequence[Any]) -> str:
    if not found:
        return ""
    return f"{found[0]}" if found[0] == found[-1] else f"{found[0]} to {found[-1]}"


def _versions(snapshot: str, own: Mapping[str, str]) -> dict[str, str]:
    return {
        "store snapshot": snapshot,
        **own,
        "parser": PARSER,
        "Python": platform.python_version(),
        **{name: version(name) for name in _LIBRARIES},
    }


def _coverage(found: _Found) -> str:
    rows: list[tuple[Any, ...]] = []
    for number, epoch in enumerate(found.epochs):
        entries = [entry for entry in found.published if entry.epoch == number]
        slots = 1 + max((entry.slot for entry in entries), default=-1)
        begins = sorted(entry.begin for entry in entries if entry.begin)
        ends = sorted(entry.end for entry in entries if entry.end)
        rows.append(
            (
                f"/{epoch['path'].strip('/')}",
                begins[0] if begins else "",
                ends[-1] if ends else "",
                len(entries),
                slots - len(entries),
            )
        )
    heads = (
        "arrays",
        "begin",
        "end",
        "granules",
        f"places along {axis_of(found.spec)} without one",
    )
    return _table("Coverage", heads, rows)


def _reasons(ledger: "Ledger") -> str:
    entries = [
        entry for state in ("quarantined", "pending") for entry in ledger.at(ledger.rows_in(state))
    ]
    if not entries:
        return "<p>No granule is in quarantine, and none waits for its bytes.</p>"
    tally = Counter((entry.state, entry.reason_code) for entry in entries)
    rows = [(*what, count) for what, count in sorted(tally.items())]
    entries.sort(key=lambda entry: (entry.state, entry.reason_code, entry.key))
    named = [(e.name, e.state, e.reason_code, e.reason) for e in entries[:_NAMED]]
    return _table("Not in the store", ("state", "reason", "granules"), rows) + _table(
        f"The first {len(named)} of {len(entries)}", ("granule", "state", "reason", "found"), named
    )


def _comparison(checked: Checked) -> str:
    left_out = f"<p>{escape(checked.left_out)}</p>" if checked.left_out else ""
    if not checked.compared:
        return left_out or "<p>No granule is published, so none was compared.</p>"
    values = sum(each.values for each in checked.compared)
    granules = len({each.key for each in checked.compared})
    verdict = (
        f'<span class="bad">{checked.problems} of {len(checked.compared)} arrays are not as in '
        "their files.</span>"
        if checked.problems
        else "Every one is the file's."
    )
    rows = [
        (each.granule, each.variable, each.access, each.values, each.problem or "equal")
        for each in checked.compared
    ]
    heads = ("granule", "variable", "access", "numbers", "found")
    return (
        f"<p>{values:,} stored numbers of {granules} granules, drawn at random, were read through "
        f"the store and from the original files. {verdict}</p>"
        + left_out
        + _table("Compared with the originals", heads, rows)
    )


def _plots(ledger: "Ledger", picture: Picture) -> str:
    months = _months(ledger)
    drawn = (
        f"<figure>{picture.html}<figcaption>{escape(picture.said)}</figcaption></figure>"
        if picture.html
        else f"<p>No preview: {escape(picture.said)}.</p>"
    )
    return (_bars(months) if months else "<p>No granule tells its time.</p>") + drawn


def _table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _cell(value: Any) -> str:
    if isinstance(value, int):
        return f'<td class="n">{value:,}</td>'
    return f"<td>{escape(str(value))}</td>"
