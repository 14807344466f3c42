"""Import a ``product_generation_config.yaml``: release, target grid and mapping."""

import difflib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from dor_ecco_assets.ecco.importing.overlay import Imported, read_base
from dor_ecco_assets.errors import ConfigurationError
from dor_ecco_assets.grids.latlon import LatLonGrid

__all__ = ["import_generation_config"]

#: Keys that mean nothing here, and why.
_NO_MEANING: dict[str, str] = {
    "create_checksum": "every granule is hashed while it is published",
    "compare_checksums": "every granule is hashed while it is published",
    "read_ecco_grid_for_native_load": "the grid is the asset grids/llc90",
    "read_grid": "the grid is the asset grids/llc90",
    "extra_prints": "logs follow Dagster's settings",
    "download_all_fields": "inputs are read where they lie",
    "use_workers_to_download": "inputs are read where they lie",
    "binary_fill_value": "land follows from the grid's wet mask, never from a value",
    "num_vertical_levels": "the levels follow from the grid's files",
    "geospatial_vertical_min": "granules work it out from the grid",
    "model_geometry": "only llc is read",
    "grid_files_dir": "inputs have one setting, DOR_ECCO_INPUTS",
    "custom_factors_dir": "factors are an asset below DOR_ECCO_ROOT",
    "source_grid_min_L": "works out from dxG and dyG of the grid",
    "source_grid_max_L": "works out from dxG and dyG of the grid",
    "source_grid_ftype": "the .meta beside a file says its type",
    "target_grid_ftype": "target grids are described, not read",
    "ecco_grid_dir": "inputs have one setting, DOR_ECCO_INPUTS",
    "ecco_grid_dir_mds": "inputs have one setting, DOR_ECCO_INPUTS",
    "mapping_factors_dir": "factors are an asset below DOR_ECCO_ROOT",
    "ecco_code_name": "no other code is imported",
    "ecco_code_dir": "no other code is imported",
    "ecco_access_dir": "no other code is imported",
    "ecco_configurations_name": "import the folder with `dor-ecco ecco import metadata`",
    "ecco_configurations_subfolder": "import the folder with `dor-ecco ecco import metadata`",
    "metadata_dir": "import the folder with `dor-ecco ecco import metadata`",
    "model_output_dir": "inputs have one setting, DOR_ECCO_INPUTS",
    "local_file_dir_to_upload": "granules go below DOR_ECCO_ROOT",
    "processed_output_dir_base": "granules go below DOR_ECCO_ROOT",
    "ecco_grid_filename": "the grid is read from MITgcm's binaries",
    "ecco_native_grid_filename": "the grid is read from MITgcm's binaries",
    "filename_tail_1D": "file names follow from stem, date, version and grid",
    "filename_tail_native": "the label follows from the grid's side",
    "podaac_metadata_filename": "name it to `dor-ecco ecco import metadata` with --table",
    "processing_code_filename": "no other code is imported",
    "dataset_description_tail_1D": "time series say it themselves",
    "metadata_link_root": "links follow from the short name",
}
_READ = (
    *("ecco_version", "product_version", "array_precision", "model_start_time", "model_end_time"),
    *("model_timestep", "model_timestep_units", "latlon_grid_resolution", "history", "references"),
    *("latlon_effective_grid_radius", "latlon_grid_area_extent", "custom_grid_and_factors"),
    *("filename_tail_latlon", "ecco_production_filestr_grid_label", "source", "summary"),
    *("project_summary", "doi", "doi_prefix"),
    *("dataset_description_tail_latlon", "dataset_description_tail_native"),
)
_SECONDS = {"h": 3600, "min": 60, "m": 60, "s": 1, "d": 86400}
_UNFINISHED = re.compile(r"^\s*(NEEDS|CHECK|TBD|TODO)\b")


def import_generation_config(
    text: str, name: str, *, configs: str | os.PathLike[str] | None = None
) -> Imported:
    """Read a configuration of ECCO-Dataset-Production over our own.

    Parameters
    ----------
    text : str
    name : str
        The file, for messages and provenance.
    configs : path, optional
        Overlay of ``configs/`` to start from.

    Returns
    -------
    Imported

    Raises
    ------
    ConfigurationError
        Code ``NotYaml`` or ``BadConfig``: not a mapping, an unknown key, a value that is no number
        or does not fit; code ``AmbiguousUnit``: a radius, whose unit the file cannot say; code
        ``AmbiguousExtent``: edges not in the order west, north, east, south.
    """
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{name} is not YAML: {error}", code="NotYaml") from error
    if not isinstance(found, Mapping):
        raise _bad(f"{name} holds no keys; expected a product_generation_config")
    given = cast("Mapping[str, Any]", found)
    known = (*_READ, *_NO_MEANING)
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            raise _bad(
                f"{name}: unknown key {key!r}" + (f"; did you mean {near[0]}?" if near else "")
            )
    imported = Imported()
    release = read_base("ecco/release.yaml", configs)
    for key, value in given.items():
        if key in _NO_MEANING:
            imported.leave_out(name, key, f"{value!r}: {_NO_MEANING[key]}")
    _release(given, name, release, imported)
    _grid(given, name, release, imported, configs)
    imported.files["ecco/release.yaml"] = release
    return imported


def _release(
    given: Mapping[str, Any], name: str, release: dict[str, Any], imported: Imported
) -> None:
    attributes, clock = release["global_attributes"], dict(release["clock"])
    release["clock"] = clock
    grids = release["grids"]
    places: dict[str, tuple[dict[str, Any], str, str]] = {
        "ecco_version": (release, "version", "release.version"),
        "array_precision": (release, "precision", "release.precision"),
        "model_start_time": (clock, "start", "release.clock.start"),
        "model_end_time": (clock, "end", "release.clock.end"),
        "product_version": (
            attributes, "product_version", "release.global_attributes.product_version",
        ),
        "history": (attributes, "history", "release.global_attributes.history"),
        "references": (attributes, "references", "release.global_attributes.references"),
        "source": (attributes, "source", "release.global_attributes.source"),
        "summary": (release, "project_summary", "release.project_summary"),
        "project_summary": (release, "project_summary", "release.project_summary"),
        "dataset_description_tail_latlon": (
            grids["latlon"], "summary_tail", "release.grids.latlon.summary_tail",
        ),
        "dataset_description_tail_native": (
            grids["native"], "summary_tail", "release.grids.native.summary_tail",
        ),
    }  # fmt: skip
    for key, (holder, entry, setting) in places.items():
        value = given.get(key)
        if value is None or value == "":
            if key in given:
                imported.leave_out(name, key, "blank; ours stays")
            continue
        if isinstance(value, str) and _UNFINISHED.match(value):
            imported.leave_out(name, key, f"{value[:60]!r} is unfinished; ours stays")
            continue
        text = str(value).strip()
        if entry == "summary_tail":
            text = text.rstrip(".")
        imported.carry(holder, entry, text, setting, f"{name}: {key}")
    if given.get("model_timestep") is not None:
        units = str(given.get("model_timestep_units", "")).strip()
        if units not in _SECONDS:
            raise ConfigurationError(
                f"{name}: model_timestep {given['model_timestep']} has units {units!r}; expected "
                f"one of {', '.join(_SECONDS)}",
                code="AmbiguousUnit",
            )
        step = round(_number(given, "model_timestep", name) * _SECONDS[units])
        imported.carry(clock, "step_s", step, "release.clock.step_s", f"{name}: model_timestep")
    if release["version"].lower() != "v4r4" and "identifier" in release:
        release["identifier"] = "short_name"  # only V4r4 has DOIs that follow from a rule
    for key in ("doi", "doi_prefix"):
        if given.get(key):
            same = str(given[key]).strip() == "10.5067"
            why = (
                "as here" if same else f"{given[key]!r}, here 10.5067; mend the file if it is right"
            )
            imported.leave_out(name, key, why)


def _grid(
    given: Mapping[str, Any],
    name: str,
    release: dict[str, Any],
    imported: Imported,
    configs: str | os.PathLike[str] | None,
) -> None:
    """Target grid and mapping, where the file describes them."""
    if given.get("custom_grid_and_factors"):
        raise _bad(
            f"{name}: custom_grid_and_factors asks for grids read from binaries; describe the "
            "target in configs/grids and the mapping in configs/mapping instead"
        )
    if "custom_grid_and_factors" in given:
        imported.leave_out(name, "custom_grid_and_factors", "False: target grids are described")
    if given.get("latlon_effective_grid_radius") is not None:
        raise ConfigurationError(
            f"{name}: latlon_effective_grid_radius is {given['latlon_effective_grid_radius']}, of "
            "which the file does not say whether it is km, m or degrees; leave it blank here and "
            "write radius: {method: fixed, radius_m: ...} in configs/mapping",
            code="AmbiguousUnit",
        )
    label = _label(given)
    if given.get("latlon_grid_resolution") is None:
        base = read_base(f"grids/{release.get('latlon_grid', 'latlon_0p50deg')}.yaml", configs)
        _check_label(label, LatLonGrid(**base), name, imported)
        return
    resolution = _number(given, "latlon_grid_resolution", name)
    edges = _edges(given, name)
    grid = LatLonGrid(resolution_degrees=resolution, **edges)
    _check_label(label, grid, name, imported)
    target = f"latlon_{grid.label}"
    described: dict[str, Any] = {}
    put: Callable[[str, Any, str], None] = lambda entry, value, key: imported.carry(  # noqa: E731
        described, entry, value, f"{target}.{entry}", f"{name}: {key}"
    )
    put("resolution_degrees", resolution, "latlon_grid_resolution")
    for edge, value in edges.items():
        put(edge, value, "latlon_grid_area_extent")
    mapping = {
        "source": f"grids/{release['grid_folder']}",
        "target": f"grids/{target}",
        "radius": {"method": "constant_1p1"},
        "weights": "mean",
    }
    imported.provenance["mapping.radius.method"] = (
        f"{name}: latlon_effective_grid_radius is blank, so the file's own formula holds: "
        "resolution * 111 km / 2 * sqrt(2) * 1.1; released V4r4 granules were made with area"
    )
    imported.files[f"grids/{target}.yaml"] = described
    imported.files[f"mapping/{release['grid_folder']}_to_{target}.yaml"] = mapping
    imported.carry(
        release, "latlon_grid", target, "release.latlon_grid", f"{name}: latlon_grid_resolution"
    )


def _edges(given: Mapping[str, Any], name: str) -> dict[str, float]:
    """Named edges of ``latlon_grid_area_extent``, which is documented in two orders."""
    extent = given.get("latlon_grid_area_extent")
    if extent is None:
        return {"south": -90.0, "north": 90.0, "west": -180.0, "east": 180.0}
    try:
        west, north, east, south = (float(edge) for edge in extent)
    except (TypeError, ValueError) as error:
        raise _bad(
            f"{name}: latlon_grid_area_extent is {extent!r}, expected four numbers"
        ) from error
    if not (west < east and -90 <= south < north <= 90):
        raise ConfigurationError(
            f"{name}: latlon_grid_area_extent {extent!r} is not in the order west, north, east, "
            "south; the key is documented in two orders, so write south, north, west and east into "
            "a file of configs/grids instead",
            code="AmbiguousExtent",
        )
    return {"south": south, "north": north, "west": west, "east": east}


def _label(given: Mapping[str, Any]) -> tuple[str, str]:
    """The key that names the lat-lon label, and the label."""
    labels = given.get("ecco_production_filestr_grid_label")
    if isinstance(labels, Mapping):
        value = cast("Mapping[str, Any]", labels).get("latlon", "")
        return "ecco_production_filestr_grid_label", str(value)
    return "filename_tail_latlon", str(given.get("filename_tail_latlon") or "").removesuffix(".nc")


def _check_label(label: tuple[str, str], grid: LatLonGrid, name: str, imported: Imported) -> None:
    key, text = label
    if text and text != grid.label:
        raise _bad(
            f"{name}: {key} says {text}, but the grid's resolution of {grid.resolution_degrees:g} "
            f"degrees gives {grid.label}; mend one of the two"
        )
    if text:
        imported.leave_out(name, key, f"{text} follows from the grid's resolution")


def _number(given: Mapping[str, Any], key: str, name: str) -> float:
    value = given[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _bad(f"{name}: {key} is {value!r}, expected a number")
    return float(value)


def read_text(path: Path) -> str:
    """Text of a configuration file.

    Raises
    ------
    ConfigurationError
        Code ``NoConfig``, if it cannot be read.
    """
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}", code="NoConfig") from error


def _bad(message: str) -> ConfigurationError:
    return ConfigurationError(message, code="BadConfig")
