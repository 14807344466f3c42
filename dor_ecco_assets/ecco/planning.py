"""What a production would make and what that takes, and what is missing from it."""

import re
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dor_ecco_assets.ecco.catalogue import Catalogue, Dataset
from dor_ecco_assets.ecco.jobs import groupings_on
from dor_ecco_assets.ecco.names import short_name
from dor_ecco_assets.ecco.times import FREQUENCIES
from dor_ecco_assets.errors import ConfigurationError, InputMissing, OutputCorrupt
from dor_ecco_assets.lineage.publication import is_there
from dor_ecco_assets.lineage.record import Record, read_record, recorded_partitions
from dor_ecco_assets.lineage.workspace import State, Workspace

__all__ = [
    "Gap",
    "Planned",
    "datasets_by_key",
    "find_gaps",
    "plan_product",
    "spans_of",
    "with_input",
]

#: Records looked at for one estimate: the median of so many is steady.
MOST_RECORDS = 60

#: A run of partitions, first and last included.
Span = tuple[str, str]


@dataclass(frozen=True)
class Planned:
    """What making partitions of one product would take.

    Parameters
    ----------
    product : str
    asked : int
        Partitions that were asked for.
    done : int
        Of them, up to date.
    to_make : tuple of str
        With input, and not up to date.
    no_input : int
        Without any input.
    bytes : int or None
        Of all of `to_make`; None where nothing comparable was ever made.
    seconds : float or None
        On one worker, s.
    basis : str
        What the two numbers rest on.
    """

    product: str
    asked: int
    done: int
    to_make: tuple[str, ...]
    no_input: int
    bytes: int | None
    seconds: float | None
    basis: str


@dataclass(frozen=True)
class Gap:
    """Consecutive partitions that are missing for the same reason.

    Parameters
    ----------
    product : str
    kind : {"not made", "input missing", "quarantined", "incomplete", "misaligned"}
        Input is there and the granule is not; some input is not there; the input cannot be used;
        the granule lacks variables or periods; input is there that belongs to no partition.
    span : tuple of str
        First and last partition; twice ``""`` of a product that is not split and of input that
        belongs to none.
    partitions : int
    why : str
    fill : str
        The command, with what has to be done before it as a comment.
    """

    product: str
    kind: str
    span: Span
    partitions: int
    why: str
    fill: str


def datasets_by_key(catalogue: Catalogue, products: Iterable[str]) -> dict[str, Dataset]:
    """The dataset of every ECCO product that is a grouping on a grid at a frequency."""
    known = set(products)
    found: dict[str, Dataset] = {}
    for grid in ("native", "latlon"):
        for grouping in groupings_on(catalogue, grid):
            for frequency in FREQUENCIES:
                try:
                    name = short_name(
                        grouping.stem,
                        grid=grid,
                        frequency=frequency,
                        version=catalogue.release.version,
                    )
                except ConfigurationError:  # no such name for this stem
                    continue
                if f"ecco/{name}" in known:
                    found[f"ecco/{name}"] = Dataset(grouping, grid, frequency)
    return found


def with_input(workspace: Workspace, key: str) -> list[str]:
    """Partitions of a product of which any input has arrived, in order."""
    return [
        partition
        for partition in workspace.product(key).partitioning.keys
        if _has_any(workspace.input_keys(key, partition))
    ]


def _has_any(keys: Mapping[str, str | None]) -> bool:
    return not keys or any(keys.values())


def plan_product(
    workspace: Workspace,
    key: str,
    datasets: Mapping[str, Dataset],
    partitions: Sequence[str] | None = None,
    *,
    levels: int | None = None,
) -> Planned:
    """Say what making partitions of a product would take, from what was made before.

    Parameters
    ----------
    workspace : Workspace
    key : str
    datasets : mapping of str to Dataset
        From `datasets_by_key`; those on the same grid serve where `key` was never made.
    partitions : sequence of str, optional
        All if not given.
    levels : int, optional
        Depth levels of the grid, needed to compare 2-D with 3-D datasets.

    Returns
    -------
    Planned
    """
    states = {state.partition: state for state in workspace.states(key)}
    asked = list(states) if partitions is None else [p for p in partitions if p in states]
    standing = {partition: states[partition].standing for partition in asked}
    to_make = tuple(p for p in asked if standing[p] not in ("up to date", "waiting"))
    per_granule = _estimate(workspace, key, datasets, levels)
    size, seconds, basis = per_granule
    return Planned(
        product=key,
        asked=len(asked),
        done=sum(1 for found in standing.values() if found == "up to date"),
        to_make=to_make,
        no_input=sum(1 for found in standing.values() if found == "waiting"),
        bytes=None if size is None else round(size * len(to_make)),
        seconds=None if seconds is None else round(seconds * len(to_make), 1),
        basis=basis,
    )


def _estimate(
    workspace: Workspace, key: str, datasets: Mapping[str, Dataset], levels: int | None
) -> tuple[float | None, float | None, str]:
    """Bytes and seconds of one granule, and what says so."""
    own = _medians(workspace, key)
    if own is not None:
        return own[0], own[1], f"median of {own[2]} granules of its own"
    wanted = datasets.get(key)
    if wanted is None:
        return None, None, "unknown: none was ever made"
    for other in sorted(datasets, key=lambda name: _distance(datasets[name], wanted)):
        ratio = _ratio(wanted, datasets[other], levels)
        found = _medians(workspace, other) if ratio is not None else None
        if ratio is not None and found is not None:
            name = other.removeprefix("ecco/")
            scale = "as" if ratio == 1 else f"by cells {ratio:.3g} times"
            return found[0] * ratio, found[1] * ratio, f"{scale} {name}"
    return None, None, "unknown: nothing on its grid was ever made"


def _distance(one: Dataset, other: Dataset) -> tuple[bool, bool]:
    """Datasets most alike first: the same grouping, then the same number of dimensions."""
    return (
        one.grouping.stem != other.grouping.stem,
        one.grouping.dimension != other.grouping.dimension,
    )


def _ratio(wanted: Dataset, made: Dataset, levels: int | None) -> float | None:
    """Cells of one granule of `wanted` to those of `made`; None where they cannot be compared."""
    if wanted.grid != made.grid:
        return None
    if wanted.grouping.dimension != made.grouping.dimension and levels is None:
        return None

    def cells(dataset: Dataset) -> int:
        deep = dataset.grouping.dimension == "3D"
        return len(dataset.variables) * ((levels or 1) if deep else 1)

    return cells(wanted) / cells(made) if cells(made) else None


def _medians(workspace: Workspace, key: str) -> tuple[float, float, int] | None:
    """Median bytes and seconds of the granules of one product, and how many were looked at."""
    records: list[Record] = []
    for partition in recorded_partitions(workspace.storage, key):
        record = _readable(workspace, key, partition)
        if record is not None:
            records.append(record)
        if len(records) == MOST_RECORDS:
            break
    if not records:
        return None
    return (
        statistics.median(record.bytes for record in records),
        statistics.median(float(record.details["run"]["seconds"]) for record in records),
        len(records),
    )


def _readable(workspace: Workspace, key: str, partition: str) -> Record | None:
    try:
        return read_record(workspace.storage, key, partition)
    except OutputCorrupt:  # `stale` and `reconcile` tell of it
        return None


def find_gaps(
    workspace: Workspace, key: str, *, expected: Sequence[str] | None = None
) -> Iterator[Gap]:
    """What is missing of one product, consecutive partitions together.

    Parameters
    ----------
    workspace : Workspace
    key : str
    expected : sequence of str, optional
        Partitions that should be there; all of the model run if not given.

    Yields
    ------
    Gap
        In partition order.
    """
    keys = workspace.product(key).partitioning.keys
    wanted = set(keys if expected is None else expected)
    found: dict[str, tuple[str, str]] = {}
    for state in workspace.states(key):
        if state.partition in wanted:
            gap = _gap_of(workspace, state)
            if gap is not None:
                found[state.partition] = gap
    reasons = dict.fromkeys(found.values())
    spans = [
        (span, reason)
        for reason in reasons
        for span in spans_of([p for p in found if found[p] == reason], keys)
    ]
    places = {partition: place for place, partition in enumerate(keys)}
    for span, (kind, why) in sorted(spans, key=lambda item: places[item[0][0]]):
        count = places[span[1]] - places[span[0]] + 1
        yield Gap(key, kind, span, count, why, _fill(key, kind, span))
    for error in workspace.unplaced(key):
        yield Gap(key, "misaligned", ("", ""), 0, error.message, _fill(key, "misaligned", ("", "")))


def _gap_of(workspace: Workspace, state: State) -> tuple[str, str] | None:
    """Kind and reason of the gap at one partition; None where its granule is there."""
    if state.standing == "quarantined":
        return "quarantined", "; ".join(state.reasons)
    lacks = ""
    if not state.partition:
        lacks = _lacks(workspace, state, workspace.input_keys(state.product, ""))
    if state.standing == "up to date":
        reasons = [*state.reasons, *([lacks] if lacks else [])]
        return ("incomplete", "; ".join(reasons)) if reasons else None
    if state.standing == "stale":
        record = _readable(workspace, state.product, state.partition)
        if record is not None and is_there(workspace.storage, record, verify=False):
            return ("incomplete", lacks) if lacks else None  # there, if out of date
    if lacks:
        return "input missing", lacks
    keys = workspace.input_keys(state.product, state.partition)
    absent = sorted({_field(name) for name, key in keys.items() if key is None and _is_data(name)})
    every = {_field(name) for name in keys if _is_data(name)}
    if absent and len(absent) == len(every):
        return "input missing", "no field is there"
    if absent and _lacks(workspace, state, keys):
        return "input missing", f"no {', '.join(absent)}"
    return "not made", "its input is there"


def _lacks(workspace: Workspace, state: State, keys: Mapping[str, str | None]) -> str:
    """Why a product cannot do without what is absent; empty where it can."""
    try:
        workspace.require(state.product, state.partition, keys, allow_partial=False)
    except InputMissing as error:
        return error.message
    return ""


def _is_data(name: str) -> bool:
    return not name.endswith(".meta")


def _field(name: str) -> str:
    """Field of a model output file; the name itself where it is none."""
    return re.sub(r"_[a-z]+(_[a-z]+)?\.\d{10}\.data$", "", name)


def _fill(key: str, kind: str, span: Span) -> str:
    name = key.removeprefix("ecco/")
    which = "" if not span[0] else f" --partition {span[0]}"
    if span[0] != span[1]:
        which = f" --partition-range {span[0]}...{span[1]}"
    command = f"dor-ecco ecco granules {name}{which}"
    return {
        "not made": command,
        "input missing": f"{command}  # when the fields are there",
        "quarantined": f"{command}  # when the input is mended",
        "incomplete": f"{command}  # when the fields are there",
        "misaligned": f"{command}  # when the files name the right step, or the clock is corrected",
    }[kind]


def spans_of(partitions: Sequence[str], keys: Sequence[str]) -> list[Span]:
    """Consecutive partitions as first and last.

    Parameters
    ----------
    partitions : sequence of str
        Some of `keys`.
    keys : sequence of str
        Every partition in order.
    """
    place = {key: number for number, key in enumerate(keys)}
    spans: list[Span] = []
    for number in sorted(place[partition] for partition in partitions):
        if spans and place[spans[-1][1]] == number - 1:
            spans[-1] = (spans[-1][0], keys[number])
        else:
            spans.append((keys[number], keys[number]))
    return spans
