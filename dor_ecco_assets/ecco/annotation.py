"""Re-stamp granules: the catalogue's attributes on files that exist, their data untouched.

Attributes are edited on a copy beside the file, every stored chunk of the copy is compared with the
original, and the copy takes its place in one step; a file that says all of it is left alone.

A granule of a production is not re-stamped here. Its record vouches for bytes that a rerun must
give again, so it is made again after a change of the catalogue, from the same inputs.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
import xarray as xr

from dor_ecco_assets.ecco.catalogue import Catalogue, Dataset, Grid
from dor_ecco_assets.ecco.comparison import blocks, open_raw
from dor_ecco_assets.ecco.granules import variable_attributes
from dor_ecco_assets.ecco.metadata import coordinate_attributes, global_attributes
from dor_ecco_assets.ecco.names import GranuleName, parse_granule_name
from dor_ecco_assets.ecco.products import as_told
from dor_ecco_assets.ecco.times import FREQUENCIES, PeriodBounds
from dor_ecco_assets.errors import ConfigurationError, InputUnusable, OutputCorrupt
from dor_ecco_assets.lineage.product import RunSettings, Task
from dor_ecco_assets.lineage.record import FOLDER
from dor_ecco_assets.storage import Directory
from dor_ecco_assets.storage.base import Readable

__all__ = ["Change", "annotate", "recipe_of"]

#: Attributes that say how a file is stored or read; neither set nor removed.
_STRUCTURAL = frozenset(
    {
        *("_FillValue", "missing_value", "scale_factor", "add_offset", "calendar"),
        *("flag_values", "flag_meanings", "flag_masks", "_Netcdf4Dimid", "_NCProperties"),
    }
)
#: Global attributes about a granule's making, which only its making knows: kept, never added.
_OF_ITS_MAKING = (
    *("processing_software", "processing_config_sha256", "date_created", "date_issued", "uuid"),
    *("source", "source_files", "history", "vector_source", "mapping_factors_fingerprint"),
    "missing_variables",
)
#: Attributes of bounds that CF takes from the coordinate where they are alike.
_INHERITED = ("units", "standard_name", "axis", "positive", "long_name")


@dataclass(frozen=True)
class Change:
    """One attribute that is set, changed or removed.

    Parameters
    ----------
    place : str
        Name of the variable; empty for the whole granule.
    name : str
    before, after : object
        None where there is none.
    """

    place: str
    name: str
    before: Any
    after: Any

    def __str__(self) -> str:
        what = f"{self.place}:{self.name}" if self.place else self.name
        if self.after is None:
            return f"{what}: removed ({_short(self.before)})"
        if self.before is None:
            return f"{what}: set to {_short(self.after)}"
        return f"{what}: {_short(self.before)} -> {_short(self.after)}"


def annotate(
    path: Path,
    catalogue: Catalogue,
    settings: RunSettings | None = None,
    *,
    strip: bool = False,
    dry_run: bool = False,
) -> list[Change]:
    """Give one granule the attributes that the catalogue says, in place.

    Parameters
    ----------
    path : Path
        A NetCDF4 file under a granule's name, made here or by any other program.
    catalogue : Catalogue
    settings : RunSettings, optional
    strip : bool
        Remove attributes that the catalogue does not give.
    dry_run : bool
        Say what would change and change nothing.

    Returns
    -------
    list of Change
        Empty where the file already said all of it; it keeps its bytes then.

    Raises
    ------
    ConfigurationError
        Code ``PublishedGranule``, if it belongs to a production; ``UnknownDataset``, if the
        catalogue has no such dataset; ``GridDiffers``, ``TimeDiffers`` or ``UnitsDiffer``, if its
        name and its dimensions, its name and its times, or the catalogue and its units disagree.
    InputUnusable
        Code ``NotAGranuleName`` or ``NotNetcdf``.
    OutputCorrupt
        If the copy does not hold the same data; the file is left as it was.
    """
    _refuse_published(path)
    name = parse_granule_name(str(path))
    with open_raw(path) as granule:
        recipe = recipe_of(granule, name, catalogue, settings or RunSettings())
        held = {"": granule.attrs, **{str(n): v.attrs for n, v in granule.variables.items()}}
        changes = list(_changes(held, recipe, strip=strip))
    if changes and not dry_run:
        _apply(path, changes)
    return changes


def recipe_of(
    granule: xr.Dataset, name: GranuleName, catalogue: Catalogue, settings: RunSettings
) -> dict[str, dict[str, Any]]:
    """Attributes of a granule and of each of its variables, as the catalogue gives them.

    Parameters
    ----------
    granule : Dataset
        As `comparison.open_raw` gives it; its values are read, one variable at a time.
    name : GranuleName
    catalogue : Catalogue
    settings : RunSettings

    Returns
    -------
    dict
        By variable, ``""`` for the granule.
    """
    told = as_told(catalogue, settings)
    dataset = _dataset_of(granule, name, told)
    grid: Grid = dataset.grid
    attributes = coordinate_attributes(told, grid, dataset.frequency)
    bounds = _checked_bounds(granule, name, told)
    fields = {str(n): v for n, v in granule.variables.items() if n in dataset.variables}
    recipe = {str(n): dict(attributes.get(str(n), {})) for n in granule.variables}
    for field, variable in fields.items():
        recipe[field] = variable_attributes(told, field, _extremes(variable), grid)
    if "units" not in granule.variables["time"].attrs:
        recipe["time"] |= {"units": told.clock.time_units, "calendar": "proleptic_gregorian"}
    _check_units(granule, name, recipe)
    for place, variable in recipe.items():
        edges = str(variable.get("bounds"))
        for key in _INHERITED:
            if key in recipe.get(edges, {}) and recipe[edges][key] == variable.get(key):
                del recipe[edges][key]
        if _units_of_their_own(granule, place, edges):
            del variable["bounds"]  # CF would have them read in the coordinate's units
    recipe[""] = _global(
        granule[list(granule.variables)], name, dataset, told, settings, fields, bounds
    )
    return recipe


def _checked_bounds(granule: xr.Dataset, name: GranuleName, catalogue: Catalogue) -> PeriodBounds:
    """The period that a granule covers, which must be that of its name.

    The first and last of a run may be told whole, though the model ran through a part of them.
    """
    expected, time = _bounds(name, catalogue), granule.variables["time"]
    units = time.attrs.get("units", catalogue.clock.time_units)
    found = {"time": _instants(time, units)}
    start, end = expected.start, expected.end
    if "time_bnds" in granule.variables and name.frequency != "SNAP":
        edges = granule.variables["time_bnds"]
        found["time_bnds"] = _instants(edges, edges.attrs.get("units", units))
        unit = "D" if name.frequency == "AVG_DAY" else "M"
        first = np.datetime64(str(name.date), unit)
        whole = np.array([first, first + np.timedelta64(1, unit)], "datetime64[s]")
        if np.array_equal(found["time_bnds"], whole):
            start, end = whole
    agrees = list(found.get("time_bnds", (start, end))) == [start, end]
    if not agrees or [start <= when <= end for when in found["time"]] != [True]:
        told = "; ".join(f"{n} {', '.join(map(str, v)) or 'nothing'}" for n, v in found.items())
        raise ConfigurationError(
            f"{name} stands for {expected.start} to {expected.end}, but the file holds {told}; "
            "correct the name or the file",
            code="TimeDiffers",
        )
    return expected._replace(start=start, end=end)


def _instants(variable: xr.Variable, units: str) -> np.ndarray[Any, np.dtype[np.datetime64]]:
    """Times to the second; none where units or calendar cannot be read as such."""
    said = {"units": units, "calendar": variable.attrs.get("calendar", "standard")}
    raw = xr.Dataset({"time": ("n", variable.values.reshape(-1), said)})
    try:
        return xr.decode_cf(raw)["time"].values.astype("datetime64[s]")
    except (ValueError, TypeError):
        return np.array([], "datetime64[s]")


def _check_units(
    granule: xr.Dataset, name: GranuleName, recipe: Mapping[str, Mapping[str, Any]]
) -> None:
    """Refuse to give numbers other units than they have."""
    for place, wanted in recipe.items():
        said = granule.variables[place].attrs.get("units")
        if said is not None and wanted.get("units", said) != said:
            raise ConfigurationError(
                f"{name}: {place} is in {said!r}, the catalogue says {wanted['units']!r}, and its "
                "numbers would stay as they are; convert the file or correct the catalogue",
                code="UnitsDiffer",
            )


def _units_of_their_own(granule: xr.Dataset, place: str, edges: str) -> bool:
    """Whether bounds have other units than their coordinate."""
    if edges not in granule.variables:
        return False
    units = granule.variables[edges].attrs.get("units")
    return units is not None and units != granule.variables[place].attrs.get("units", units)


def _global(
    granule: xr.Dataset,
    name: GranuleName,
    dataset: Dataset,
    catalogue: Catalogue,
    settings: RunSettings,
    fields: Mapping[str, xr.Variable],
    bounds: PeriodBounds,
) -> dict[str, Any]:
    """Global attributes: those of a new granule, but for what only its making knows."""
    ours = str(granule.attrs.get("processing_software")).startswith("dor_ecco_assets")
    if dataset.grid == "latlon" and not ours:
        catalogue = _without_comment(catalogue)  # it tells how fields were mapped here
    task = Task(
        partition=name.date or "",
        inputs=cast("Readable", Directory(Path())),
        input_keys={},
        upstream=_nothing,
        settings=settings,
        upstream_fingerprints={catalogue.factors: None},
        keep=lambda _, work_out: work_out(),
    )
    described = granule.set_coords([n for n in granule.variables if str(n) not in fields])
    attributes = global_attributes(
        described,
        name,
        dataset,
        catalogue,
        task,
        bounds,
        "",
        _resolution(granule),
    )
    for key in _OF_ITS_MAKING:
        attributes.pop(key, None)
    return {name: value for name, value in attributes.items() if value != ""}


def _without_comment(catalogue: Catalogue) -> Catalogue:
    words = catalogue.release.grids["latlon"].model_copy(update={"comment": ""})
    grids = {**catalogue.release.grids, "latlon": words}
    return replace(catalogue, release=catalogue.release.model_copy(update={"grids": grids}))


def _nothing(key: str) -> xr.Dataset:
    raise AssertionError(f"{key} is not needed to describe a granule")


def _bounds(name: GranuleName, catalogue: Catalogue) -> PeriodBounds:
    assert name.date is not None
    clock = catalogue.clock
    if name.frequency == "SNAP":
        day, _, clock_time = name.date.partition("T")
        time = ":".join(clock_time[n : n + 2] for n in (0, 2, 4))
        instant = np.datetime64(f"{day}T{time}", "s")
        return PeriodBounds(instant, instant, instant)
    return clock.period_bounds(clock.step_of(name.date, name.frequency), name.frequency)


def _dataset_of(granule: xr.Dataset, name: GranuleName, catalogue: Catalogue) -> Dataset:
    """The dataset that a granule belongs to, its name held against what is in it."""
    found = next((g for g in catalogue.groupings if g.stem == name.stem), None)
    if found is None or name.grid == "1D" or name.frequency == "TI":
        known = ", ".join(sorted(g.stem for g in catalogue.groupings))
        raise ConfigurationError(
            f"{name}: the catalogue describes no dataset with times on a grid of stem {name.stem}; "
            f"it has {known}",
            code="UnknownDataset",
        )
    grid: Grid = "latlon" if "latitude" in granule.dims else "native"
    dimension = "3D" if {"Z", "k", "k_l"} & set(granule.dims) else "2D"
    if grid != name.grid or dimension != found.dimension or "time" not in granule.variables:
        raise ConfigurationError(
            f"{name} has the dimensions {', '.join(map(str, granule.dims))}, those of a "
            f"{dimension} granule on the {grid} grid; expected a {found.dimension} one "
            f"on {name.grid} with a time; correct the name or the file",
            code="GridDiffers",
        )
    spec = FREQUENCIES[name.frequency]
    dataset = Dataset(found, grid, spec.code)
    if not set(map(str, granule.variables)) & set(dataset.variables):
        raise ConfigurationError(
            f"{name} holds none of the variables of its dataset, {', '.join(dataset.variables)}; "
            "it has another name than its content",
            code="UnknownField",
        )
    return dataset


def _extremes(variable: xr.Variable) -> np.ndarray[Any, Any]:
    """Smallest and largest value, in an array of the variable's rank."""
    low = high = np.array(np.nan, variable.dtype)
    for _, values in blocks(variable):
        if not np.isnan(values).all():
            low = np.fmin(low, np.nanmin(values))
            high = np.fmax(high, np.nanmax(values))
    pair = np.array([low, high], variable.dtype)
    return pair.reshape((1,) * (variable.ndim - 1) + (2,))


def _resolution(granule: xr.Dataset) -> float | None:
    if "latitude" not in granule.variables:
        return None
    latitude = granule.variables["latitude"].values.astype(np.float64)
    return round(float(latitude[1] - latitude[0]), 6)


def _changes(
    held: Mapping[str, Mapping[Any, Any]], recipe: Mapping[str, Mapping[str, Any]], *, strip: bool
) -> Iterator[Change]:
    for place, wanted in recipe.items():
        said = {str(name): value for name, value in held[place].items()}
        for name, value in wanted.items():
            if name not in said or not _same(said[name], value):
                yield Change(place, name, said.get(name), value)
        if strip:
            # What xarray notes down of auxiliary coordinates is no statement of the catalogue.
            kept = _STRUCTURAL | {"coordinates"}
            kept |= {"units"} if place in ("time", "time_bnds") else set()
            kept |= {"comment", *_OF_ITS_MAKING} if place == "" else set()
            for name in said.keys() - wanted.keys() - kept:
                yield Change(place, name, said[name], None)


def _same(a: Any, b: Any) -> bool:
    """Whether two attributes are alike in type and value."""
    if isinstance(a, str) or isinstance(b, str):
        return type(a) is type(b) and a == b
    one, other = np.atleast_1d(np.asarray(a)), np.atleast_1d(np.asarray(b))
    return one.dtype == other.dtype and np.array_equal(one, other)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _apply(path: Path, changes: list[Change]) -> None:
    """Change attributes of a copy, compare its data with the original, put it in its place."""
    import netCDF4

    copy = path.with_name(f".{path.name}.annotate.part")
    try:
        shutil.copyfile(path, copy)
        shutil.copymode(path, copy)
        with netCDF4.Dataset(copy, "r+") as file:
            for change in changes:
                target: Any = file[change.place] if change.place else file
                if change.after is None:
                    target.delncattr(change.name)
                else:
                    target.setncattr(change.name, change.after)
        _compare_data(path, copy)
        with copy.open("rb+") as file:
            os.fsync(file.fileno())
        copy.replace(path)
    except OSError as error:
        raise InputUnusable(
            f"{path} cannot be re-stamped ({error}); it is as it was: it must be NetCDF4 in a "
            "folder that can be written",
            code="NotNetcdf",
            uri=str(path),
        ) from error
    finally:
        copy.unlink(missing_ok=True)


def _compare_data(path: Path, copy: Path) -> None:
    """Hold every stored chunk of every variable against the original's."""
    with h5py.File(path) as before, h5py.File(copy) as after:
        for name, dataset in before.items():
            twin: Any = after.get(name)
            if not isinstance(dataset, h5py.Dataset):
                continue
            alike = (
                isinstance(twin, h5py.Dataset)
                and twin.shape == dataset.shape
                and twin.dtype == dataset.dtype
                and all(a == b for a, b in zip_longest(_stored(dataset), _stored(twin)))
            )
            if not alike:
                raise OutputCorrupt(
                    f"{path}: the data of {name} differ after its attributes were changed; the "
                    "file is as it was",
                    code="ReadBackDiffers",
                )


def _stored(dataset: Any) -> Iterator[tuple[Any, ...]]:
    """Every chunk of a variable as it is stored, with its place; the values if there are none."""
    if dataset.chunks is None:
        yield (dataset[()].tobytes(),)
        return
    for n in range(dataset.id.get_num_chunks()):
        place = dataset.id.get_chunk_info(n).chunk_offset
        yield place, *dataset.id.read_direct_chunk(place)


def _refuse_published(path: Path) -> None:
    """Refuse a granule whose bytes a record vouches for."""
    whole = path.absolute()
    for root in whole.parents:
        folder = whole.parent.relative_to(root)
        if (root / FOLDER).is_dir() and (root / FOLDER / folder).is_dir():
            raise ConfigurationError(
                f"{path} is published in {root}, where records vouch for its bytes; after a change "
                f"of the catalogue make it again: dor-ecco ecco granules {folder.name}; or "
                "re-stamp a copy elsewhere",
                code="PublishedGranule",
            )
