"""What a granule says of itself: global and coordinate attributes, in the order archives expect."""

import hashlib
import json
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from dor_ecco_assets.ecco.catalogue import Catalogue, Dataset, Grid
from dor_ecco_assets.ecco.names import GranuleName, doi, short_name, title
from dor_ecco_assets.ecco.times import FREQUENCIES, PeriodBounds
from dor_ecco_assets.lineage.product import Task

#: Namespace of granule identifiers; fixed so that a rerun gives the same ones.
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "ecco-group.org")

#: Where a collection's record is found by its short name.
_COLLECTION_URL = "https://cmr.earthdata.nasa.gov/search/collections.umm_json?ShortName="


def global_attributes(
    granule: xr.Dataset,
    name: GranuleName,
    dataset: Dataset,
    catalogue: Catalogue,
    task: Task,
    bounds: PeriodBounds,
    source: str,
    resolution: float | None,
) -> dict[str, Any]:
    """Global attributes of one granule, sorted without regard to case.

    Parameters
    ----------
    granule : Dataset
        With variables and coordinates complete; its values go into the identifier.
    name : GranuleName
    dataset : Dataset
    catalogue : Catalogue
    task : Task
    bounds : PeriodBounds
    source : str
        What the grid says of its origin, if anything; it takes the place of the release's.
    resolution : float or None
        Of the target grid, degrees; None on the native one.

    Notes
    -----
    Dates come from the configuration and the identifier from name, content and configuration, so
    that making a granule again gives the same bytes.
    """
    release = catalogue.release
    words, often = release.grids[dataset.grid], release.frequencies[dataset.frequency]
    naming = partial(_named, name, release.version)
    collection, identifier = naming(short_name), naming(doi)
    spec = FREQUENCIES[dataset.frequency]
    config = config_of(catalogue, dataset, task)
    config_sha256 = _digest(config)
    attributes: dict[str, Any] = {
        **release.global_attributes,
        "comment": " ".join(filter(None, [words.comment, dataset.grouping.comment])),
        "date_created": config["production_date"],
        "date_issued": config["production_date"],
        "date_metadata_modified": config["production_date"],
        "date_modified": config["production_date"],
        "geospatial_lat_resolution": "variable" if resolution is None else resolution,
        "geospatial_lon_resolution": "variable" if resolution is None else resolution,
        "id": identifier,
        "identifier_product_doi": identifier,
        "keywords": _keywords(granule, catalogue),
        "metadata_link": f"{_COLLECTION_URL}{collection}",
        "processing_config_sha256": config_sha256,
        "processing_software": f"dor_ecco_assets, granule code version {config['code_version']}",
        "product_name": str(name),
        "product_time_coverage_end": release.product_time_coverage_end,
        "product_time_coverage_start": _iso(catalogue.clock.start),
        "source_files": _source_files(task),
        "summary": f"{often.head.capitalize()} of {dataset.grouping.name} {words.summary_tail}. "
        f"{release.project_summary}",
        "time_coverage_duration": spec.iso_duration,
        "time_coverage_end": _iso(bounds.end),
        "time_coverage_resolution": spec.iso_duration,
        "time_coverage_start": _iso(bounds.start),
        "title": naming(title),
        "uuid": str(uuid.uuid5(_NAMESPACE, f"{name} {_content_hash(granule)} {config_sha256}")),
    }
    if dataset.grouping.dimension == "3D":
        attributes |= {
            "geospatial_vertical_max": 0.0,
            "geospatial_vertical_min": float(granule["Z_bnds"].values.min()),
            "geospatial_vertical_positive": "up",
            "geospatial_vertical_resolution": "variable",
            "geospatial_vertical_units": "meter",
        }
    if source:
        attributes["source"] = source
    if dataset.grid == "latlon":
        attributes["mapping_factors_fingerprint"] = task.upstream_fingerprints[
            "mapping/llc90_to_latlon_0p50deg"
        ]
        if any(catalogue.variables[str(name)].components for name in granule.data_vars):
            attributes["vector_source"] = "rotate"
    return dict(sorted(attributes.items(), key=lambda item: item[0].lower()))


def _named(name: GranuleName, version: str, rule: Callable[..., str]) -> str:
    """What a naming rule gives for the dataset of one granule."""
    return rule(name.stem, grid=name.grid, frequency=name.frequency, version=version)


def coordinate_attributes(catalogue: Catalogue, grid: Grid) -> dict[str, dict[str, Any]]:
    """Attributes of every coordinate of granules on one grid."""
    of_grid = catalogue.coordinates.native if grid == "native" else catalogue.coordinates.latlon
    return {
        name: {**attributes, "coverage_content_type": "coordinate"}
        for name, attributes in {**catalogue.coordinates.time, **of_grid}.items()
    }


def config_of(catalogue: Catalogue, dataset: Dataset, task: Task) -> dict[str, Any]:
    """The configuration that went into the task's fingerprint, with the code version."""
    from dor_ecco_assets.ecco.products import GRANULE_CODE_VERSION, granule_config

    config = granule_config(catalogue, dataset, task.settings)
    return {**config, "code_version": GRANULE_CODE_VERSION}


def _keywords(granule: xr.Dataset, catalogue: Catalogue) -> str:
    found = {catalogue.release.common_keyword}
    for name in granule.data_vars:
        found.update(catalogue.variables[str(name)].keywords)
    return ", ".join(sorted(found))


def _source_files(task: Task) -> str:
    """Names and sizes of the model files a granule was made from."""
    found = {name: task.inputs.stat(key) for name, key in task.input_keys.items() if key}
    return ", ".join(f"{name} ({stat.size} bytes)" for name, stat in sorted(found.items()) if stat)


def _content_hash(granule: xr.Dataset) -> str:
    """SHA-256 over the values of all variables and coordinates, in name order."""
    running = hashlib.sha256()
    for name in sorted(map(str, granule.variables)):
        running.update(name.encode())
        # A view of the bytes: a copy would be as large as a 3-D variable.
        running.update(np.ascontiguousarray(granule[name].values).reshape(-1).view(np.uint8))
    return running.hexdigest()


def _digest(config: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def _iso(when: np.datetime64) -> str:
    return str(when.astype("datetime64[s]"))
