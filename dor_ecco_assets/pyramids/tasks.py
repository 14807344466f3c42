"""What making the pyramid of an atlas and of a dataset have in common."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dor_ecco_assets.errors import GridMismatch
from dor_ecco_assets.lineage.product import Content, Task
from dor_ecco_assets.lineage.publication import withdraw
from dor_ecco_assets.lineage.record import partition_label, recorded_partitions, region_digest
from dor_ecco_assets.mapping.webmercator import WebMercatorWeights, from_dataset, weights_sha256
from dor_ecco_assets.pyramids.index import STORES
from dor_ecco_assets.pyramids.making import (
    Made,
    Region,
    Source,
    compacted,
    make_region,
    names_of_region,
    put_region,
)
from dor_ecco_assets.pyramids.schema import Layout, groups_of
from dor_ecco_assets.storage import Storage
from dor_ecco_assets.stores.browser import CONSOLIDATED, ZarrFormat, objects_of
from dor_ecco_assets.stores.regions import put_schema

__all__ = [
    "kept_weights",
    "region_content",
    "remove_stores",
    "schema_objects",
    "template_content",
    "weights_provenance",
]


def kept_weights(task: Task, mapping: str) -> WebMercatorWeights:
    """Weights of a task, read once per process."""
    name = f"webmercator {mapping} {task.upstream_fingerprints[mapping]}"
    return task.keep(name, lambda: from_dataset(task.upstream(mapping)))


def weights_provenance(
    mapping: str, weights: WebMercatorWeights, pixels_per_tile: int, levels: int
) -> dict[str, Any]:
    """What a store says of the weights it was made with.

    Raises
    ------
    GridMismatch
        ``WeightsOfOtherTiles``, if the weights are for tiles of another size.
    """
    if weights.pixels_per_tile != pixels_per_tile:
        raise GridMismatch(
            f"{mapping} is for tiles of {weights.pixels_per_tile} pixels, expected "
            f"{pixels_per_tile}; give both the same pixels_per_tile in configs/",
            code="WeightsOfOtherTiles",
        )
    return {
        "weights": {
            "product": mapping,
            "sha256": weights_sha256(weights),
            "threshold": float(weights.threshold),
            "methods": [weights.level(level).method for level in range(levels)],
        }
    }


def schema_objects(
    layout: Layout, formats: Iterable[ZarrFormat], weights: WebMercatorWeights
) -> dict[str, bytes]:
    """Metadata and coordinates of all stores of a pyramid, by name below its folder."""
    shares = [weights.level(level).share for level in range(layout.levels)]
    return {
        f"{STORES[zarr_format]}/{name}": data
        for zarr_format in formats
        for name, data in objects_of(groups_of(layout, shares, zarr_format), zarr_format).items()
    }


def template_content(
    key: str,
    layout: Layout,
    formats: tuple[ZarrFormat, ...],
    weights: WebMercatorWeights,
    *,
    forced: bool,
) -> Content:
    """The stores of a pyramid with nothing in them.

    Stores of another schema are refused; with `forced` they give way, with all that they hold, and
    stores of the same one get titles and long names as they are configured now.
    """
    schema = schema_objects(layout, formats, weights)
    details = {
        "chunks": sorted(schema),
        "shape": [layout.coordinates[name].shape[0] for name in layout.leading],
        "pixels": [layout.side(level) for level in range(layout.levels)],
        "covered_pixels": [
            int(np.count_nonzero(weights.mask(level))) for level in range(layout.levels)
        ],
        "weights": layout.provenance["weights"],
    }
    return Content(key, None, details, put=partial(_put_template, key, schema, forced))


def _put_template(
    key: str,
    schema: Mapping[str, bytes],
    forced: bool,
    storage: Storage,
    still_held: Callable[[], None],
) -> tuple[int, str]:
    still_held()
    try:
        put_schema(storage, key, schema)
    except GridMismatch:
        if not forced:
            raise
        remove_stores(storage, key)
        put_schema(storage, key, schema)
    if forced:
        for name, data in schema.items():
            if storage.read(f"{key}/{name}") != data:
                storage.put(f"{key}/{name}", data)
    return region_digest(storage, key, schema)


def remove_stores(storage: Storage, key: str) -> None:
    """Remove the stores of a pyramid with their records, so that nothing refers to them."""
    for each in (key, f"{key}_index", f"{key}_template"):
        for partition in list(recorded_partitions(storage, each)):
            withdraw(storage, each, partition, keep=key)
    storage.delete(key)


def region_content(
    key: str,
    region: Region,
    sources: Iterable[Source],
    weights: WebMercatorWeights,
    mapping: str,
    steps: NDArray[np.int64],
    origin: str,
    task: Task,
) -> Content:
    """What one partition puts into the stores.

    Parameters
    ----------
    key : str
    region : Region
    sources : iterable of Source
    weights : WebMercatorWeights
    mapping : str
        Key of the weights.
    steps : ndarray of int64
        As `pyramids.apply.Regridder` takes them.
    origin : str
        URI of what fields come from.
    task : Task
    """
    from dor_ecco_assets.pyramids.apply import Regridder

    fingerprint = task.upstream_fingerprints[mapping]
    levels = region.layout.levels
    regridder = task.keep(
        f"regridder {mapping} {fingerprint} {levels} {steps.size} {steps.max()}",
        lambda: Regridder(weights, steps, levels),
    )
    schema = task.keep(
        f"schema {key} {task.upstream_fingerprints[f'{key}_template']}",
        lambda: _consolidated(schema_objects(region.layout, region.formats, weights)),
    )
    spool = task.workshop / "chunks"
    made = make_region(region, sources, weights, regridder, spool, origin=origin)
    put = partial(put_region, key, made, schema, partition_label(key, task.partition))
    return Content(key, None, _details(made), put=put)


def _consolidated(schema: Mapping[str, bytes]) -> dict[str, bytes]:
    """The objects that hold all metadata of a store."""
    ends = {f"{STORES[zarr_format]}/{name}" for zarr_format, name in CONSOLIDATED.items()}
    return {name: data for name, data in schema.items() if name in ends}


def _details(made: Made) -> dict[str, Any]:
    layout, region = made.region.layout, made.region
    return {
        "chunks": compacted(names_of_region(made)),
        "seal": [region.status_name(zarr_format) for zarr_format in region.formats],
        "shape": [layout.side(level) for level in range(layout.levels)],
        "objects": len(made.spool),
        "ranges": {name: dict(found) for name, found in made.ranges.items()},
        "unlike_fields": 0,
    }
