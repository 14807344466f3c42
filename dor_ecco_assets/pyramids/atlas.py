"""Store 2: the template of an atlas, and the maps of each of its cases."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dor_ecco_assets.atlas.cases import Case
from dor_ecco_assets.atlas.specification import Atlas
from dor_ecco_assets.errors import GridMismatch
from dor_ecco_assets.lineage.product import Content, Task
from dor_ecco_assets.mapping.webmercator import WebMercatorWeights
from dor_ecco_assets.pyramids.configuration import AtlasMaps
from dor_ecco_assets.pyramids.making import Region, Source
from dor_ecco_assets.pyramids.schema import BANDS, Layout, atlas_layout
from dor_ecco_assets.pyramids.tasks import (
    kept_weights,
    region_content,
    template_content,
    weights_provenance,
)

__all__ = ["make_case", "make_template", "read_fields"]


def make_template(key: str, atlas: Atlas, maps: AtlasMaps, mapping: str, task: Task) -> Content:
    """The stores of an atlas with nothing in them."""
    weights = kept_weights(task, mapping)
    layout = _layout(atlas, maps, mapping, weights)
    return template_content(key, layout, maps.formats, weights, forced=task.forced)


def _layout(atlas: Atlas, maps: AtlasMaps, mapping: str, weights: WebMercatorWeights) -> Layout:
    provenance = weights_provenance(mapping, weights, atlas.pixels_per_tile, atlas.zoom_levels)
    return atlas_layout(atlas, maps.variables, provenance)


def make_case(
    key: str, atlas: Atlas, case: Case, maps: AtlasMaps, mapping: str, task: Task
) -> Content:
    """The maps of one case, in both bands."""
    weights = kept_weights(task, mapping)
    layout = _layout(atlas, maps, mapping, weights)
    place = (case.polygon_master, atlas.injection_months.index(case.injection_month))
    member = next(iter(task.members()))
    arrays = member.arrays()
    _require_source(arrays, member.uri, layout, weights, atlas.months)
    from dor_ecco_assets.pyramids.apply import month_major

    return region_content(
        key,
        Region(layout, maps.formats, place),
        _sources(arrays, layout, atlas.months),
        weights,
        mapping,
        month_major(atlas.months),
        member.uri,
        task,
    )


def _sources(arrays: Any, layout: Layout, months: int) -> Iterator[Source]:
    for variable in layout.variables:
        for band, name in enumerate(BANDS):
            read = partial(read_fields, arrays[variable], band, months)
            yield Source(variable, (band,), f"{variable} {name}", read)


def read_fields(array: Any, band: int, months: int) -> NDArray[np.float32]:
    """All fields of one band, a chunk of months at a time."""
    fields = np.empty((months, *array.shape[2:]), np.float32)
    step = array.chunks[1]
    for first in range(0, months, step):
        fields[first : first + step] = array[band, first : first + step]
    return fields.reshape(months, -1)


def _require_source(
    arrays: Any, uri: str, layout: Layout, weights: WebMercatorWeights, months: int
) -> None:
    """Refuse a case of another shape, in other units, or of another grid than the weights'."""
    expected = (len(BANDS), months, *weights.source_shape)
    for name, variable in layout.variables.items():
        found = arrays.get(name)
        shape = None if found is None else tuple(found.shape)
        if found is None or shape != expected:
            raise GridMismatch(
                f"{uri}: {name} has shape {shape}, expected {expected} as the atlas and the "
                "weights have it; make the case or the weights anew",
                code="WeightsOfOtherGrid",
            )
        units = found.attrs.get("units")
        if units != variable.units:
            raise GridMismatch(
                f"{uri}: {name} is in {units}, the template says {variable.units}; mend "
                "configs/pyramids/atlas.yaml",
                code="OtherUnits",
            )
    _require_grid(arrays, uri, weights)


def _require_grid(arrays: Any, uri: str, weights: WebMercatorWeights) -> None:
    wet = np.asarray(arrays["KMT"][...]) > 0
    unlike = int((wet != weights.wet).sum())
    if unlike:
        raise GridMismatch(
            f"{uri}: its grid is wet where the weights' is not, or the other way, in {unlike} "
            "cells; one of the two was made of an older grid: make the case or the weights anew",
            code="WeightsOfOtherGrid",
        )
