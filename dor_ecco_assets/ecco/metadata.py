"""What a granule says of itself: global and coordinate attributes, in the order archives expect."""

import hashlib
import json
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
import xxhash

from dor_ecco_assets.ecco.catalogue import Catalogue, Dataset, Grid
from dor_ecco_assets.ecco.metadata_check import required_attributes
from dor_ecco_assets.ecco.names import GranuleName, doi, match_granule_name, short_name, title
from dor_ecco_assets.ecco.times import FREQUENCIES, Frequency, PeriodBounds
from dor_ecco_assets.errors import ConfigurationError
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
    bounds: PeriodBounds | None,
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
    bounds : PeriodBounds or None
        None of a time-invariant granule.
    source : str
        What the grid says of its origin, if anything; it takes the place of the release's.
    resolution : float or None
        Of the target grid, degrees; None on the native one.

    Notes
    -----
    Dates come from the configuration and the identifier from name, content and configuration, so
    that making a granule again gives the same bytes.
    """
    if resolution is not None and resolution != catalogue.target.grid.resolution_degrees:
        catalogue = catalogue.mapped_to(resolution)
    release = catalogue.release
    words, often = catalogue.words(dataset.grid), release.frequencies[dataset.frequency]
    spec = FREQUENCIES[dataset.frequency]
    attributes = {
        **common_attributes(
            granule,
            name,
            catalogue,
            config_of(catalogue, dataset, task),
            comment=" ".join(filter(None, [words.comment, dataset.grouping.comment])),
            summary=f"{often.head.capitalize()} of {dataset.grouping.name} {words.summary_tail}.",
            source_files=_source_files(task),
        ),
        "geospatial_lat_resolution": "variable" if resolution is None else resolution,
        "geospatial_lon_resolution": "variable" if resolution is None else resolution,
    }
    if bounds is not None:
        attributes |= {
            "time_coverage_duration": spec.iso_duration,
            "time_coverage_end": _iso(bounds.end),
            "time_coverage_resolution": spec.iso_duration,
            "time_coverage_start": _iso(bounds.start),
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
        attributes["mapping_factors_fingerprint"] = task.upstream_fingerprints[catalogue.factors]
    return in_order(attributes)


def common_attributes(
    granule: xr.Dataset,
    name: GranuleName,
    catalogue: Catalogue,
    config: dict[str, Any],
    *,
    comment: str,
    summary: str,
    source_files: str,
) -> dict[str, Any]:
    """Global attributes of every kind of granule: what it is, who made it, of what and when.

    Parameters
    ----------
    granule : Dataset
        With variables and coordinates complete; its values go into the identifier.
    name : GranuleName
    catalogue : Catalogue
    config : dict
        What of the configuration decides its bytes, with `production_date` and `code_version`.
    comment, summary : str
        The project's summary follows the granule's own.
    source_files : str
    """
    release, config_sha256 = catalogue.release, _digest(config)
    naming = partial(_named, name, release.version)
    collection = naming(short_name)
    fixed = dict(release.global_attributes)
    if not catalogue.is_published(name.grid):  # no collection's: it names itself
        identifier = str(name).removesuffix(".nc")
    elif release.identifier == "doi":
        identifier = fixed["identifier_product_doi"] = naming(doi)
    else:
        identifier = collection
    if "identifier_product_doi" not in fixed:
        fixed.pop("identifier_product_doi_authority", None)
    if catalogue.is_published(name.grid):
        fixed["metadata_link"] = f"{_COLLECTION_URL}{collection}"
    return {
        **fixed,
        "comment": comment,
        "date_created": config["production_date"],
        "date_issued": config["production_date"],
        "date_metadata_modified": config["production_date"],
        "date_modified": config["production_date"],
        "id": identifier,
        "keywords": _keywords(granule, catalogue),
        "processing_config_sha256": config_sha256,
        "processing_software": f"dor_ecco_assets, granule code version {config['code_version']}",
        "product_name": str(name),
        "product_time_coverage_end": release.product_time_coverage_end,
        "product_time_coverage_start": _iso(catalogue.clock.start),
        "source_files": source_files,
        "summary": f"{summary} {release.project_summary}",
        "title": naming(
            partial(title, resolution_degrees=catalogue.target.grid.resolution_degrees)
        ),
        "uuid": str(uuid.uuid5(_NAMESPACE, f"{name} {_content_hash(granule)} {config_sha256}")),
    }


def in_order(attributes: dict[str, Any]) -> dict[str, Any]:
    """Global attributes sorted without regard to case."""
    return dict(sorted(attributes.items(), key=lambda item: item[0].lower()))


def _named(name: GranuleName, version: str, rule: Callable[..., str]) -> str:
    """What a naming rule gives for the dataset of one granule."""
    return rule(name.stem, grid=name.grid, frequency=name.frequency, version=version)


def coordinate_attributes(
    catalogue: Catalogue, grid: Grid, frequency: Frequency = "AVG_MON"
) -> dict[str, dict[str, Any]]:
    """Attributes of every coordinate of granules on one grid; time differs with the frequency."""
    return {
        name: {
            **{key: a for key, a in attributes.items() if key not in catalogue.left_out(name)},
            "coverage_content_type": "coordinate",
        }
        for name, attributes in catalogue.coordinates.of(grid, frequency).items()
    }


def check_complete(granule: xr.Dataset) -> None:
    """Refuse a granule that does not say what archives need, or says it with a placeholder.

    Raises
    ------
    ConfigurationError
        Code ``MetadataIncomplete``: names every attribute that is absent, empty or still a
        placeholder ``TBD_...``.
    """
    name = match_granule_name(str(granule.attrs.get("product_name", "")))
    found = [wanted for wanted in required_attributes(granule, name) if wanted not in granule.attrs]
    places = {"": granule.attrs, **{f"{n}:": granule[n].attrs for n in granule.variables}}
    for place, attributes in places.items():
        found += [
            f"{place}{name} = {value!r}"
            for name, value in attributes.items()
            if isinstance(value, str) and (not value.strip() or value.startswith("TBD_"))
        ]
    found += [
        f"{name}:{wanted}"
        for name, variable in granule.data_vars.items()
        for wanted in ("long_name", "units")
        if wanted not in variable.attrs
    ]
    if found:
        raise ConfigurationError(
            f"{granule.attrs.get('product_name', 'a granule')} would be incomplete: "
            f"{', '.join(found)}; state them in ecco/release.yaml, variables.yaml or "
            "coordinates.yaml",
            code="MetadataIncomplete",
        )


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
    """XXH3, 128 bits, over the values of all variables and coordinates, in name order.

    It names the content, it does not protect it: that is what the record's SHA-256 is for.
    """
    running = xxhash.xxh3_128()
    for name in sorted(map(str, granule.variables)):
        running.update(name.encode())
        # A view of the bytes: a copy would be as large as a 3-D variable.
        running.update(np.ascontiguousarray(granule[name].values).reshape(-1).view(np.uint8))
    return running.hexdigest()


def _digest(config: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def _iso(when: np.datetime64) -> str:
    return str(when.astype("datetime64[s]"))
