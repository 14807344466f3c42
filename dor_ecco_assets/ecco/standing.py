"""How all published granules of a dataset stand: examined once, remembered while they stay.

What is found in a granule is remembered by its size and stamp, so that a look at 9,497 of them
costs a glance at each. The values of those that nobody touched since they were written and read
back are known; `dor-ecco ecco verify` reads them again. A look takes no longer than it is given;
what it did not come to is counted, and the next look goes on from there.
"""

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any

from dor_ecco_assets.lineage.product import Product
from dor_ecco_assets.lineage.record import Record, read_record
from dor_ecco_assets.lineage.workspace import Workspace
from dor_ecco_assets.storage import Stat

__all__ = ["CHECKS", "WARNINGS", "Standing", "look_at"]

#: Names of the checks of a dataset and what each holds to.
CHECKS = {
    "metadata_complete": "Every granule says what an archive and CF ask of it, rightly.",
    "mask_agrees": "Values stand exactly in the wet cells of the grid.",
    "time_contiguous": "Granules of consecutive periods touch, do not overlap and lack none.",
    "checksum": "Every file hashes to its record.",
    "valid_range": "The smallest and largest value are those that the granule states.",
    "values_plausible": "Fields vary and lie in their usual range, what they hold on land too.",
}

#: Checks that only warn.
WARNINGS = ("values_plausible",)

#: Raised when what is looked for changes, so that what was remembered is looked for again.
_VERSION = "1"

#: Geometry is defined on land too.
_UNMASKED = ("GEOMETRY",)


class _OutOfTime(Exception):
    """There is no time left to open another granule."""


@dataclass
class Standing:
    """What was found of one check.

    Parameters
    ----------
    published, examined : int
        Granules that there are, and those that were looked at, now or before.
    problems : list of (partition, text)
    """

    published: int = 0
    examined: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


def look_at(
    workspace: Workspace, key: str, seconds: float, clock: Callable[[], float] = time.monotonic
) -> dict[str, Standing]:
    """How the published granules of one dataset stand, check by check.

    Parameters
    ----------
    workspace : Workspace
    key : str
    seconds : float
        Time to spend on opening granules that are not known yet; the rest is left for the next
        look.
    clock : callable, optional
    """
    product = workspace.product(key)
    found = {name: Standing() for name in CHECKS}
    until = clock() + seconds
    covered: dict[str, tuple[str, str]] = {}
    published = set[str]()
    masks = cache(lambda: _masks(workspace, product))
    stored = dict(workspace.storage.list_folder(key))
    for partition, record in workspace.records(key):
        for standing in found.values():
            standing.published += 1
        published.add(partition)
        found["values_plausible"].examined += 1
        found["values_plausible"].problems += [(partition, text) for text in _doubts(record)]
        stat = stored.get(record.uri)
        if stat is None or stat.size != record.bytes:
            found["checksum"].examined += 1
            found["checksum"].problems.append((partition, f"{record.uri} is gone or cut short"))
            continue
        with suppress(_OutOfTime):
            _examine(workspace, record, partition, stat, masks, (until, clock), found, covered)
    found["time_contiguous"].problems += _gaps(product, covered) + _holes(product, published)
    return found


def _doubts(record: Record) -> list[str]:
    """What was seen of the fields of one granule when it was made, and not refused."""
    details = record.details
    constant = [f"{name} holds one value everywhere" for name in details.get("constant_fields", ())]
    return [*constant, *details.get("implausible", ())]


def _examine(
    workspace: Workspace,
    record: Record,
    partition: str,
    stat: Stat,
    masks: Callable[[], Any],
    limit: tuple[float, Callable[[], float]],
    found: dict[str, Standing],
    covered: dict[str, tuple[str, str]],
) -> None:
    """Add what is wrong with one granule to what was found."""
    from dor_ecco_assets.ecco.verification import header_of, values_of

    uri = workspace.storage.locate(record.uri)

    def remembered(kind: str, look: Callable[[], Any]) -> dict[str, Any]:
        def text() -> str:
            until, clock = limit
            if clock() >= until:
                raise _OutOfTime
            return json.dumps(asdict(look()))

        return json.loads(workspace.remembered.recall(f"{kind} {_VERSION}", uri, stat, text))

    def add(check: str, texts: list[str]) -> None:
        found[check].examined += 1
        found[check].problems += [(partition, text) for text in texts]

    header = remembered("granule header", lambda: header_of(workspace.storage, record))
    add("metadata_complete", header["metadata"])
    add("time_contiguous", [])
    if header["covered"] is not None:
        covered[partition] = tuple(header["covered"])
    if record.details["run"].get("stamp") == stat.stamp:
        # Nobody touched it since all its bytes were read back and compared with masked values.
        for name in ("checksum", "valid_range", "mask_agrees"):
            add(name, [])
        return
    # A record of another grid or of other bytes must not be taken for what was looked at.
    made_on = "".join(sorted(map(str, record.details["ingredients"].get("upstream", {}).items())))
    kind = f"granule values {hash_of(record.sha256 + made_on)}"
    values = remembered(
        kind,
        lambda: values_of(
            workspace.storage, record, masks() if _current(workspace, record) else None
        ),
    )
    add("checksum", values["checksum"])
    if not values["checksum"]:
        add("valid_range", values["valid_range"])
        add("mask_agrees", values["mask"])


def hash_of(text: str) -> str:
    """A short name for a long text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _current(workspace: Workspace, record: Record) -> bool:
    """Whether the grids that a granule was made on are still the ones recorded."""
    for name, fingerprint in record.details["ingredients"].get("upstream", {}).items():
        upstream = read_record(workspace.storage, name, "")
        if upstream is None or upstream.fingerprint != fingerprint:
            return False
    return True


def _masks(workspace: Workspace, product: Product) -> Any:
    from dor_ecco_assets.ecco.verification import masks_of
    from dor_ecco_assets.stores.opening import open_product

    if any(f"_{word}_" in product.key for word in _UNMASKED):
        return None
    grids: dict[str, Any] = {
        name: open_product(workspace.storage, name) for name in product.upstream
    }
    model = next((grid for grid in grids.values() if "maskC" in grid), None)
    factors = next((found for name, found in grids.items() if name.startswith("mapping/")), None)
    return None if model is None else masks_of(model, factors)


def _holes(product: Product, published: set[str]) -> list[tuple[str, str]]:
    """What is not published between the first and the last partition that are."""
    keys = product.partitioning.keys
    places = {key: place for place, key in enumerate(keys)}
    absent = [key for key in keys if key not in published]
    runs = [(places[a], places[b]) for a, b in product.partitioning.ranges(absent, len(keys))]
    return [
        (keys[first], "is not published")
        if first == last
        else (keys[first], f"and {last - first} more to {keys[last]} are not published")
        for first, last in runs
        if first > 0 and last < len(keys) - 1
    ]


def _gaps(product: Product, covered: dict[str, tuple[str, str]]) -> list[tuple[str, str]]:
    """Where the times of consecutive published partitions do not touch; instants need not."""
    keys = product.partitioning.keys
    problems: list[tuple[str, str]] = []
    for before, after in pairwise(keys):
        if before not in covered or after not in covered:
            continue
        (start, end), (begin, last) = covered[before], covered[after]
        if start == end and begin == last:
            if not end < begin:
                problems.append((after, f"is at {begin}, {before} at {end}"))
        elif end != begin:
            word = "overlaps" if begin < end else "leaves a gap to"
            problems.append((after, f"begins at {begin} and {word} {before}, which ends at {end}"))
    return problems
