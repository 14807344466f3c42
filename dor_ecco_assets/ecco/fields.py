"""The model fields of one granule: read once each, checked, turned where they are components."""

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dor_ecco_assets.ecco.catalogue import Catalogue, Dataset, Location, Variable
from dor_ecco_assets.ecco.model_output import read_record
from dor_ecco_assets.ecco.quality import survey_field
from dor_ecco_assets.ecco.vectors import to_east_north
from dor_ecco_assets.errors import InputUnusable
from dor_ecco_assets.grids.mds_meta import match_mds_name
from dor_ecco_assets.lineage.product import Task

#: Wet mask of the points that fields of a location lie on.
MASKS: dict[Location, str] = {"C": "maskC", "W": "maskC", "U": "maskW", "V": "maskS"}


class Fields:
    """Reads the model fields of one granule, each once, and refuses what cannot be true."""

    def __init__(
        self, task: Task, grid: xr.Dataset, catalogue: Catalogue, dataset: Dataset
    ) -> None:
        self._task, self._grid, self._catalogue, self._dataset = task, grid, catalogue, dataset
        self._keys = _keys_of_fields(task)
        self._turned: dict[tuple[str, str], tuple[NDArray[Any], NDArray[Any]]] = {}
        self.on_land: dict[str, int] = {}
        self.largest_on_land: dict[str, float] = {}
        self.constant: list[str] = []
        self.implausible: dict[str, str] = {}

    def read(self, name: str) -> NDArray[Any]:
        """One model field as tiles, checked against the wet mask of its points."""
        variable = self._catalogue.variables[name]
        key = self._keys[name]
        levels = self._grid.sizes["k"] if self._dataset.grouping.dimension == "3D" else None
        field, _ = read_record(
            self._task.inputs,
            key,
            side=self._grid.attrs["side"],
            levels=levels,
            clock=self._catalogue.clock,
        )
        self.check(name, variable, field, self._task.inputs.locate(f"{key}.data"))
        return field

    def component(self, name: str) -> NDArray[Any]:
        """A published component to the east or north; its pair is turned once for both."""
        components = self._catalogue.variables[name].components
        assert components is not None
        pair = (components.x, components.y)
        if pair not in self._turned:
            x, y = self.read(pair[0]), self.read(pair[1])
            self._turned = {
                pair: to_east_north(
                    x,
                    y,
                    self._grid["CS"].values,
                    self._grid["SN"].values,
                    location=components.points,
                )
            }
        return self._turned[pair][components.orientation == "meridional"]

    def field(self, name: str) -> NDArray[Any]:
        """A published variable at its points on the native grid."""
        variable = self._catalogue.variables[name]
        if variable.components is not None and not self.is_precomputed(name):
            return self.component(name)
        return self.read(variable.source or name)

    def is_precomputed(self, name: str) -> bool:
        """Whether a component to the east or north is taken from the model as it is."""
        return self._catalogue.precomputed(name) in self._keys

    def wet(self, name: str) -> NDArray[np.bool_]:
        """Wet mask of one variable's points; that of the surface for a 2-D one."""
        mask = self._grid[MASKS[self._catalogue.variables[name].location]].values
        return mask if self._dataset.grouping.dimension == "3D" else mask[0]

    def check(self, name: str, variable: Variable, field: NDArray[Any], uri: str) -> None:
        """Refuse NaN in wet cells, values on land and values that no field of its kind has."""
        low, high = variable.valid_range or (-np.inf, np.inf)
        found = survey_field(field, self.wet(name), low=low, high=high)
        if found.non_finite:
            raise InputUnusable(
                f"{uri}: {name} holds NaN or infinity in {found.non_finite} wet cells, expected "
                "none; the model run or the copy of the file is broken: look at the run, fetch the "
                "file again",
                code="NonFinite",
                uri=uri,
            )
        if found.on_land and variable.on_land == "refuse":
            raise InputUnusable(
                f"{uri}: {name} is not 0 in {found.on_land} land cells (largest "
                f"{found.largest_on_land:g} {variable.units}), expected 0; the file belongs to "
                "another grid or wet mask, or the catalogue should say on_land: mask",
                code="ValuesOnLand",
                uri=uri,
            )
        if found.outside:
            raise InputUnusable(
                f"{uri}: {name} lies between {found.minimum:g} and {found.maximum:g} "
                f"{variable.units}, expected {low:g} to {high:g}; {found.outside} wet cells are "
                "outside: look at the run, or widen the catalogue's valid_range",
                code="OutOfRange",
                uri=uri,
            )
        if found.on_land:
            self.on_land[name] = found.on_land
            self.largest_on_land[name] = found.largest_on_land
        if found.constant:
            self.constant.append(name)
        low, high = variable.usual_range or (low, high)
        largest = max(abs(low), abs(high))
        if found.minimum < low or found.maximum > high:
            self.implausible[name] = (
                f"{name} lies between {found.minimum:g} and {found.maximum:g} {variable.units}, "
                f"usually {low:g} to {high:g}"
            )
        elif found.largest_on_land > largest:
            self.implausible[name] = (
                f"{name} holds up to {found.largest_on_land:g} {variable.units} on land, in one of "
                f"{found.on_land} cells, usually {largest:g} at most"
            )

    def remarks(self) -> dict[str, Any]:
        """What was seen of the fields and not refused, for the record."""
        remarks = {
            "values_on_land": self.on_land,
            "largest_on_land": self.largest_on_land,
            "constant_fields": sorted(set(self.constant)),
            "implausible": list(self.implausible.values()),
        }
        return {name: found for name, found in remarks.items() if found}


def _keys_of_fields(task: Task) -> dict[str, str]:
    """Key without extension of every model field whose ``.data`` is among the task's inputs."""
    found: dict[str, str] = {}
    for file, key in task.input_keys.items():
        name = match_mds_name(file)
        if key is not None and name is not None and name.ext == "data":
            found[name.field] = key.rpartition(".")[0]
    return found
