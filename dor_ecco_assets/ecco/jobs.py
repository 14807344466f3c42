"""Job files: which groupings, grids, frequencies and steps a production run is asked for.

A line reads ``grouping,product,frequency,steps`` or is a list with the same four items. The
number of a grouping is its place among those that have variables on that grid. `parse_jobs` reads
the file, `resolve` says which partitions of which products it means.
"""

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from dor_ecco_assets.ecco.catalogue import Catalogue, Grouping, load_catalogue
from dor_ecco_assets.ecco.names import GranuleGrid, short_name
from dor_ecco_assets.ecco.times import FREQUENCIES, Frequency, frequency_named
from dor_ecco_assets.errors import ConfigurationError, DorEccoError
from dor_ecco_assets.lineage.product import Partitioning

__all__ = [
    "SERIES",
    "Job",
    "JobFile",
    "Steps",
    "Work",
    "choose_jobs",
    "every_job",
    "format_job",
    "groupings_on",
    "load_numbered",
    "parse_jobs",
    "parse_steps",
    "product_named",
    "resolve",
    "stems_on",
]

#: Spellings of the three products, lower case.
_GRIDS: dict[str, GranuleGrid] = {
    "native": "native",
    "latlon": "latlon",
    "lat-lon": "latlon",
    "lat_lon": "latlon",
    "1d": "1D",
}
#: Stems of the time series, in the order in which jobs number them.
SERIES = ("GLOBAL_MEAN_ATM_SURFACE_PRES", "GLOBAL_MEAN_SEA_LEVEL", "SBO_CORE_PRODUCTS")

_RANGE = re.compile(r"@(\d*):(\d*)")
_DATE = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?")
_INSTANT = re.compile(r"(\d{4}-\d{2}-\d{2})T\d{2}:?\d{2}:?\d{2}")

#: "all", the first so many, or what is wanted one by one: model steps, dates, ranges of dates
#: ``1992-01/1992-03``, ranges of places ``@0:12`` among the partitions that have input.
Steps = str | int | tuple[int | str, ...]


@dataclass(frozen=True)
class Job:
    """One line of a job file.

    Parameters
    ----------
    line : int
        Where it stands, from 1; 0 if it comes from no file.
    grouping : int
        Place among the groupings of the grid, from 0.
    grid : {"native", "latlon", "1D"}
    frequency : str
    steps : "all", int or tuple
        All partitions that have input, the first so many of them, or those named.
    """

    line: int
    grouping: int
    grid: GranuleGrid
    frequency: Frequency
    steps: Steps


@dataclass(frozen=True)
class JobFile:
    """What a job file says.

    Parameters
    ----------
    jobs : tuple of Job
    everything : bool
        Whether a line ``all`` replaces the jobs by every dataset there is.
    done : int or None
        Line of the ``done`` that ended the reading.
    unread : int
        Lines after it that are neither empty nor comments.
    """

    jobs: tuple[Job, ...]
    everything: bool = False
    done: int | None = None
    unread: int = 0


@dataclass(frozen=True)
class Work:
    """The partitions of one product that a job asks for.

    Parameters
    ----------
    job : Job
    product : str
    partitions : tuple of str
        In partition order; ``("",)`` for a product that is not split.
    """

    job: Job
    product: str
    partitions: tuple[str, ...]


def parse_jobs(text: str, name: str = "job file") -> JobFile:
    """Read a job file.

    Parameters
    ----------
    text : str
    name : str
        What messages call the file.

    Returns
    -------
    JobFile

    Raises
    ------
    ConfigurationError
        Code ``JobError``: lists every bad line with its number, what was found and what may stand
        there. Lines after ``done`` are not read.
    """
    jobs: list[Job] = []
    problems: list[str] = []
    everything = False
    lines = text.lstrip("\ufeff").splitlines()
    for number, line in enumerate(lines, 1):
        words = line.strip()
        if not words or words.startswith("#"):
            continue
        if words.lower() == "done":
            rest = [later.strip() for later in lines[number:]]
            unread = sum(1 for later in rest if later and not later.startswith("#"))
            _raise_all(problems, name)
            return JobFile(tuple(jobs), everything, number, unread)
        if words.lower() == "all":
            everything = True
            continue
        try:
            jobs.append(_parse_line(words, number))
        except ConfigurationError as error:
            problems.append(f"line {number}, {words!r}: {error.message}")
    _raise_all(problems, name)
    return JobFile(tuple(jobs), everything)


def format_job(job: Job) -> str:
    """The line of a job file that `parse_jobs` reads as `job`."""
    steps = job.steps
    if isinstance(steps, tuple):
        steps = f"[{', '.join(map(str, steps))}]"
    return f"{job.grouping},{job.grid},{job.frequency},{steps}"


def parse_steps(text: str) -> Steps:
    """Steps as a job or an option spells them: ``all``, ``12``, ``[732, 1428]``, ``1992-01``, ...

    Raises
    ------
    ConfigurationError
        Code ``JobError``.
    """
    words = text.strip()
    if words.lower() == "all":
        return "all"
    if words.isdecimal():
        if words != str(int(words)):
            raise _job_error(
                f"steps {words!r}; a number alone means the first so many: did you mean the model "
                f"step [{int(words)}]?"
            )
        return int(words)
    inner = words[1:-1] if words.startswith("[") and words.endswith("]") else words
    return _checked_steps([item.strip().strip("'\"") for item in inner.split(",")])


def load_numbered(configs: str | None = None) -> Catalogue:
    """The catalogue with the groupings that jobs can name: gridded ones, then time-invariant ones.

    Parameters
    ----------
    configs : str, optional
        The user's overlay of ``configs/``.
    """
    from dor_ecco_assets.ecco.static import GEOMETRY, load_static

    catalogue = load_catalogue(configs)
    static = load_static(catalogue, configs)
    more = tuple(found for found in static.groupings if found.stem != GEOMETRY)
    return replace(
        catalogue,
        groupings=(*catalogue.groupings, *more),
        variables={**static.variables, **catalogue.variables},
        release=static.release,
    )


def groupings_on(catalogue: Catalogue, grid: GranuleGrid) -> list[Grouping]:
    """Groupings with variables on a grid, in the order of the catalogue."""
    if grid == "1D":
        return []
    return [found for found in catalogue.groupings if found.variables(grid)]


def stems_on(catalogue: Catalogue, grid: GranuleGrid) -> list[str]:
    """Stems of the groupings of a grid; a job's number is a place in this list."""
    if grid == "1D":
        return list(SERIES)
    return [found.stem for found in groupings_on(catalogue, grid)]


def product_named(job: Job, catalogue: Catalogue, partitionings: Mapping[str, Partitioning]) -> str:
    """Key of the product that a job means.

    Parameters
    ----------
    job : Job
    catalogue : Catalogue
    partitionings : mapping of str to Partitioning
        Of every product, by key.

    Raises
    ------
    ConfigurationError
        Code ``JobError``: the grid has no grouping of this number, or the grouping is not
        published this often; lists what there is.
    """
    stems = stems_on(catalogue, job.grid)
    if job.grouping >= len(stems):
        known = ", ".join(f"{number} {stem}" for number, stem in enumerate(stems))
        raise _job_error(f"{job.grid} has no grouping {job.grouping}; it has {known}")
    stem = stems[job.grouping]
    key = _key(stem, job.grid, job.frequency, catalogue)
    if key not in partitionings:
        often = [
            code for code in FREQUENCIES if _key(stem, job.grid, code, catalogue) in partitionings
        ]
        raise _job_error(
            f"grouping {job.grouping} of {job.grid}, {stem}, is not published as {job.frequency}; "
            f"it is as {', '.join(often) or 'nothing at all'}"
        )
    return key


def every_job(catalogue: Catalogue, partitionings: Mapping[str, Partitioning]) -> tuple[Job, ...]:
    """Every dataset with all its steps, the slow ones first: 3-D native, 3-D lat-lon, 2-D, 1-D."""
    dimension_of = {found.stem: found.dimension for found in catalogue.groupings}
    order: tuple[tuple[str, GranuleGrid], ...] = (
        ("3D", "native"),
        ("3D", "latlon"),
        ("2D", "native"),
        ("2D", "latlon"),
        ("1D", "1D"),
    )
    return tuple(
        Job(0, number, grid, frequency, "all")
        for dimension, grid in order
        for number, stem in enumerate(stems_on(catalogue, grid))
        if dimension_of.get(stem, "1D") == dimension
        for frequency in FREQUENCIES
        if _key(stem, grid, frequency, catalogue) in partitionings
    )


def choose_jobs(
    catalogue: Catalogue,
    partitionings: Mapping[str, Partitioning],
    *,
    groupings: Sequence[str] = (),
    grids: Sequence[str] = (),
    frequencies: Sequence[str] = (),
    steps: str = "all",
) -> tuple[Job, ...]:
    """Jobs of every dataset that fits, in the order of `every_job`.

    Parameters
    ----------
    catalogue : Catalogue
    partitionings : mapping of str to Partitioning
        Of every product, by key.
    groupings : sequence of str
        Stems or numbers; all if empty.
    grids, frequencies : sequence of str
        As jobs spell them; all if empty.
    steps : str
        As jobs spell them.

    Raises
    ------
    ConfigurationError
        Code ``JobError``: a choice fits nothing, or a number stands without its one grid.
    """
    chosen_steps = parse_steps(steps)
    on_grids = {_grid(found) for found in grids}
    numbers = [wanted for wanted in groupings if wanted.isdecimal()]
    if numbers and len(on_grids) != 1:
        meant = ", ".join(
            f"{grid} {stem}"
            for grid in dict.fromkeys(_GRIDS.values())
            for stem in stems_on(catalogue, grid)[int(numbers[0]) :][:1]
        )
        raise _job_error(
            f"grouping {numbers[0]} is another on every product ({meant}); name the one product, "
            "or the stem"
        )
    at = {_frequency(found) for found in frequencies}
    unused = {wanted.upper() for wanted in groupings}
    jobs: list[Job] = []
    for job in every_job(catalogue, partitionings):
        names = {str(job.grouping), stems_on(catalogue, job.grid)[job.grouping].upper()}
        fits = (not groupings or names & {wanted.upper() for wanted in groupings}) and (
            (not on_grids or job.grid in on_grids) and (not at or job.frequency in at)
        )
        if fits:
            unused -= names
            jobs.append(replace(job, steps=chosen_steps))
    if unused or not jobs:
        stems = ", ".join(dict.fromkeys((*stems_on(catalogue, "native"), *SERIES)))
        raise _job_error(
            f"no dataset fits {', '.join(sorted(unused)) or 'these choices together'}; groupings "
            f"are {stems}"
        )
    return tuple(jobs)


def resolve(
    found: JobFile,
    catalogue: Catalogue,
    partitionings: Mapping[str, Partitioning],
    available: Callable[[str], Sequence[str]],
    name: str = "job file",
) -> list[Work]:
    """Say which partitions of which products a job file means.

    Parameters
    ----------
    found : JobFile
    catalogue : Catalogue
    partitionings : mapping of str to Partitioning
        Of every product, by key.
    available : callable
        Partitions of a product that have input, in order; asked only where a job needs them.
    name : str
        What messages call the file.

    Returns
    -------
    list of Work
        In the order of the file; a job whose dataset has no input has no partitions.

    Raises
    ------
    ConfigurationError
        Code ``JobError``: lists every job that means no dataset or no partition.
    """
    jobs = every_job(catalogue, partitionings) if found.everything else found.jobs
    works: list[Work] = []
    problems: list[str] = []
    for job in jobs:
        try:
            key = product_named(job, catalogue, partitionings)
            chosen = _partitions(job, catalogue, partitionings[key], lambda: available(key))  # noqa: B023 - called at once
            works.append(Work(job, key, chosen))
        except DorEccoError as error:
            problems.append(f"line {job.line}, {format_job(job)!r}: {error.message}")
    _raise_all(problems, name)
    return works


def _parse_line(words: str, number: int) -> Job:
    if words.startswith("["):
        grouping, product, frequency, steps = _parse_list(words)
    else:
        items = [item.strip() for item in words.split(",", 3)]
        if len(items) != 4:
            raise _job_error(
                f"found {len(items)} items, expected grouping,product,frequency,steps, all or done"
            )
        grouping, product, frequency = (item.strip("'\"") for item in items[:3])
        steps = parse_steps(items[3])
    if not re.fullmatch(r"\d+", str(grouping)):
        raise _job_error(
            f"grouping {grouping!r} is not a number; expected its place among the groupings, from 0"
        )
    return Job(number, int(grouping), _grid(str(product)), _frequency(str(frequency)), steps)


def _parse_list(words: str) -> tuple[Any, Any, Any, Steps]:
    try:
        items = ast.literal_eval(words)
    except (ValueError, SyntaxError) as error:
        raise _job_error(
            "this is no list; expected [grouping, 'product', 'frequency', steps] with steps "
            "'all', a number or a list"
        ) from error
    if not isinstance(items, list) or len(cast("list[Any]", items)) != 4:
        raise _job_error("expected a list of four: [grouping, 'product', 'frequency', steps]")
    grouping, product, frequency, steps = cast("list[Any]", items)
    if isinstance(steps, list):
        return grouping, product, frequency, _checked_steps(cast("list[Any]", steps))
    if isinstance(steps, bool) or not isinstance(steps, int | str):
        raise _job_error(f"steps {steps!r}; expected 'all', a number or a list of steps")
    return grouping, product, frequency, parse_steps(str(steps))


def _checked_steps(items: Iterable[Any]) -> tuple[int | str, ...]:
    steps: list[int | str] = []
    for item in items:
        text = str(item).strip()
        first, slash, last = text.partition("/")
        if text.isdecimal():
            steps.append(int(text))
        elif _RANGE.fullmatch(text) or (
            _DATE.fullmatch(first) and (not slash or _DATE.fullmatch(last))
        ):
            steps.append(text)
        elif _INSTANT.fullmatch(first) or _INSTANT.fullmatch(last):
            day = "/".join(_INSTANT.sub(r"\1", end) for end in (first, last) if end)
            raise _job_error(f"steps {text!r} have a time of day; partitions are whole days: {day}")
        else:
            raise _job_error(
                f"steps {text!r}; expected all, a number of steps, [step, step], a date such as "
                "1992-01, a range 1992-01/1992-03, or places @0:12 among those with input"
            )
    if not steps:
        raise _job_error("an empty list of steps; expected all, a number or steps")
    return tuple(steps)


def _grid(text: str) -> GranuleGrid:
    if text.lower() not in _GRIDS:
        raise _job_error(f"product {text!r}; expected native, latlon or 1D")
    return _GRIDS[text.lower()]


def _frequency(text: str) -> Frequency:
    try:
        return frequency_named(text)
    except ConfigurationError as error:
        raise _job_error(error.message) from error


def _key(stem: str, grid: GranuleGrid, frequency: Frequency, catalogue: Catalogue) -> str:
    try:
        name = short_name(stem, grid=grid, frequency=frequency, version=catalogue.release.version)
    except ConfigurationError:  # the stem has no short name of this kind
        return ""
    return f"ecco/{name}"


def _partitions(
    job: Job,
    catalogue: Catalogue,
    partitioning: Partitioning,
    available: Callable[[], Sequence[str]],
) -> tuple[str, ...]:
    if job.steps == "all":
        return tuple(available())
    if isinstance(job.steps, int):
        return tuple(available()[: job.steps])
    if partitioning.kind == "none":
        raise _job_error("this dataset is one file for the whole run; expected steps all")
    keys = partitioning.keys
    wanted = {key for step in job.steps for key in _named(step, job, catalogue, keys, available)}
    return tuple(key for key in keys if key in wanted)


def _named(
    step: int | str,
    job: Job,
    catalogue: Catalogue,
    keys: Sequence[str],
    available: Callable[[], Sequence[str]],
) -> Iterator[str]:
    """Partitions that one item of a list of steps means."""
    if isinstance(step, int):
        yield _of_step(step, job, catalogue, keys)
        return
    places = _RANGE.fullmatch(step)
    if places:
        there = available()
        first, last = int(places[1] or 0), int(places[2] or len(there))
        if first >= last or last > len(there):
            raise _job_error(
                f"places {step}, but {len(there)} partitions have input, @0:{len(there)}"
            )
        yield from there[first:last]
        return
    first, _, last = step.partition("/")
    last = last or first
    found = [key for key in keys if first <= key[: len(first)] and key[: len(last)] <= last]
    if not found:
        raise _job_error(f"no partition in {step}; there are {_span(keys)}")
    yield from found


def _of_step(step: int, job: Job, catalogue: Catalogue, keys: Sequence[str]) -> str:
    try:
        key = catalogue.clock.partition_key(step, job.frequency)
    except DorEccoError as error:
        raise _job_error(
            f"{error.message}. Integers are model steps; places are written @{step}:{step + 1}"
        ) from error
    if key not in keys:
        raise _job_error(f"step {step} is {key}, which is no partition; there are {_span(keys)}")
    return key


def _span(keys: Sequence[str]) -> str:
    return f"{keys[0]} to {keys[-1]}" if keys else "none"


def _job_error(message: str) -> ConfigurationError:
    return ConfigurationError(message, code="JobError")


def _raise_all(problems: Sequence[str], name: str) -> None:
    if problems:
        lines = "bad line" if len(problems) == 1 else "bad lines"
        raise _job_error("\n".join([f"{name}: {len(problems)} {lines}", *problems]))
