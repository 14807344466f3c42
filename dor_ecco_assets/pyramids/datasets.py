"""Pyramids of gridded datasets: a step of time per partition of the source, or per granule."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dor_ecco_assets.errors import GridMismatch
from dor_ecco_assets.lineage.product import Content, Task
from dor_ecco_assets.mapping.webmercator import WebMercatorWeights
from dor_ecco_assets.pyramids.configuration import DatasetMaps
from dor_ecco_assets.pyramids.granules import open_step
from dor_ecco_assets.pyramids.indexing import days_of
from dor_ecco_assets.pyramids.making import Region, Source
from dor_ecco_assets.pyramids.schema import Layout, dataset_layout
from dor_ecco_assets.pyramids.tasks import (
    kept_weights,
    region_content,
    template_content,
    weights_provenance,
)

__all__ = ["make_step", "make_template"]


def make_template(key: str, maps: DatasetMaps, steps: tuple[str, ...], task: Task) -> Content:
    """The stores of a dataset with nothing in them."""
    weights = kept_weights(task, maps.mapping)
    return template_content(
        key, _layout(maps, steps, weights), maps.formats, weights, forced=task.forced
    )


def _layout(maps: DatasetMaps, steps: tuple[str, ...], weights: WebMercatorWeights) -> Layout:
    side, levels = maps.pixels_per_tile, maps.zoom_levels
    provenance = weights_provenance(maps.mapping, weights, side, levels)
    return dataset_layout(
        maps.title,
        days_of(steps),
        maps.variables,
        pixels_per_tile=side,
        levels=levels,
        provenance={"source": maps.source, **provenance},
    )


def make_step(key: str, maps: DatasetMaps, steps: tuple[str, ...], task: Task) -> Content:
    """The maps of one step of time."""
    weights = kept_weights(task, maps.mapping)
    layout = _layout(maps, steps, weights)
    with _opened(maps, task) as (dataset, origin):
        return region_content(
            key,
            Region(layout, maps.formats, (steps.index(task.partition),)),
            _sources(dataset, origin, maps, weights),
            weights,
            maps.mapping,
            np.zeros(1, np.int64),
            origin,
            task,
        )


@contextmanager
def _opened(maps: DatasetMaps, task: Task) -> Generator[tuple[xr.Dataset, str]]:
    """What a step is made from, and where that lies."""
    if maps.period is not None:
        assert task.storage is not None
        with open_step(task.storage, maps.source, task.partition) as found:
            yield found
        return
    member = next(iter(task.members()))
    with member.open() as dataset:
        yield dataset, member.uri


def _sources(
    dataset: xr.Dataset, uri: str, maps: DatasetMaps, weights: WebMercatorWeights
) -> Iterator[Source]:
    for name, variable in maps.variables.items():
        if name not in dataset:
            raise GridMismatch(
                f"{uri}: there is no {name} in it; it holds {', '.join(map(str, dataset))}: mend "
                "the variables of the pyramid",
                code="OtherVariables",
            )
        units = dataset[name].attrs.get("units")
        if units != variable.units:
            raise GridMismatch(
                f"{uri}: {name} is in {units}, the template says {variable.units}; mend the units "
                "of the pyramid's configuration",
                code="OtherUnits",
            )
        field = dataset[name].isel(maps.select, missing_dims="ignore").squeeze()
        if field.shape != tuple(weights.source_shape):
            raise GridMismatch(
                f"{uri}: {name} has {dict(field.sizes)}, the weights of {maps.mapping} are for "
                f"{tuple(weights.source_shape)}; choose a place along other dimensions by "
                "`select`, or make the weights anew",
                code="WeightsOfOtherGrid",
            )
        yield Source(name, (), name, partial(_read, field))


def _read(field: Any) -> NDArray[np.float32]:
    return np.ascontiguousarray(field.values, np.float32).reshape(1, -1)
