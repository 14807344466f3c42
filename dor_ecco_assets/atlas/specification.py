"""What an atlas is, from ``configs/atlases``: forcing, grid, polygons, months and outputs."""

import os
from typing import Literal

from pydantic import Field, field_validator, model_validator

from dor_ecco_assets.atlas.names_on_disk import InjectionDimension
from dor_ecco_assets.errors import ConfigurationError
from dor_ecco_assets.settings import Strict, config_folders, load_config

__all__ = [
    "Atlas",
    "AtlasFile",
    "Basin",
    "Forcing",
    "MapVariable",
    "PolygonSet",
    "atlas_names",
    "load_atlas",
]

Forcing = Literal["DOR", "OAE", "ERW"]
MapVariable = Literal["FG", "DIC_SURF", "ALK", "DIC", "PH", "pCO2SURF"]

DEFAULT_ATLAS = "dor"


class Basin(Strict):
    """Polygons that are numbered together."""

    name: str = Field(pattern="^[A-Za-z][A-Za-z_]*[A-Za-z]$")
    polygons: int = Field(gt=0, le=1000)
    coastal: int = Field(0, ge=0, description="how many, from the first, lie on a coast")

    @model_validator(mode="after")
    def _coastal_is_a_part(self) -> "Basin":
        if self.coastal > self.polygons:
            raise ValueError(f"{self.name} has {self.polygons} polygons, {self.coastal} coastal")
        return self


class PolygonSet(Strict):
    """Polygons and the files that hold them: ``configs/atlases/polygons/{name}.yaml``.

    Keys are below the inputs. Either one mask holds every polygon under its polygon_master, or
    one array per basin holds its own under `polygon`.
    """

    basins: tuple[Basin, ...] = Field(min_length=1)
    mask: str | None = Field(None, description="NetCDF file with `mask_variable` (nlat, nlon)")
    mask_variable: str = "polygon_mask_id"
    zero_is_also_background: bool = Field(
        True, description="id 0 marks cells of no polygon too; `regions` tells them apart"
    )
    regions: str | None = Field(None, description="GeoJSON outlines, property polygon_id")
    basin_masks: dict[str, str] = Field({}, description="basin to .npy (polygon, nlat, nlon)")
    basin_centres: dict[str, str] = Field({}, description="basin to .npy (polygon, 2): lon, lat")
    sha256: dict[str, str] = Field({}, description="key to the SHA-256 its bytes must have")

    @model_validator(mode="after")
    def _files_fit(self) -> "PolygonSet":
        names = {basin.name for basin in self.basins}
        if len(names) != len(self.basins):
            raise ValueError("two basins have one name")
        for what, given in (("basin_masks", self.basin_masks), ("centres", self.basin_centres)):
            if given.keys() - names:
                raise ValueError(f"{what} names unknown basins {sorted(given.keys() - names)}")
        if self.basin_masks and self.basin_masks.keys() != names:
            lacking = sorted(names - self.basin_masks.keys())
            raise ValueError(f"basin_masks lacks {lacking}")
        if (self.mask is None) == (not self.basin_masks):
            raise ValueError("give either mask or basin_masks")
        if self.mask is not None and self.zero_is_also_background and self.regions is None:
            raise ValueError("polygon 0 cannot be told from the background without regions")
        return self

    @property
    def n_polygons(self) -> int:
        """Polygons of all basins."""
        return sum(basin.polygons for basin in self.basins)

    def offset(self, basin: str) -> int:
        """The polygon_master of a basin's polygon 0."""
        names = [each.name for each in self.basins]
        return sum(each.polygons for each in self.basins[: names.index(basin)])


class AtlasFile(Strict):
    """One file of ``configs/atlases``."""

    title: str
    forcing: Forcing
    grid: str = Field(description="a product of grids/, such as pop_gx1v7")
    polygons: str = Field(description="a file of configs/atlases/polygons, without .yaml")
    injection_months: tuple[int, ...] = (1, 4, 7, 10)
    months: int = Field(180, gt=0, description="length of a case, months")
    variables: tuple[MapVariable, ...] = ("FG", "DIC_SURF", "DIC", "PH", "pCO2SURF")
    pixels_per_tile: int = Field(128, ge=8, description="side of a web-map tile, pixels")
    zoom_levels: int = Field(2, ge=1)
    pyramid_injection_dimension: InjectionDimension = "intervention_date"
    experiment: str = Field("smyle.cdr-atlas-v0", pattern=r"^[\w.-]+$")
    vintage: str = Field("001", pattern=r"^\d{3}$")
    validation_rmse: dict[str, float] = Field(
        {}, description="largest RMSE against the control by variable, its own unit; 0 if absent"
    )

    @field_validator("injection_months")
    @classmethod
    def _months_in_order(cls, months: tuple[int, ...]) -> tuple[int, ...]:
        if not months or list(months) != sorted({m for m in months if 1 <= m <= 12}):
            raise ValueError("expected ascending months of 1 to 12")
        return months

    @field_validator("pixels_per_tile")
    @classmethod
    def _power_of_two(cls, pixels: int) -> int:
        if pixels & (pixels - 1):
            raise ValueError("expected a power of two")
        return pixels


class Atlas(AtlasFile):
    """A whole atlas: its own file and its polygon set."""

    name: str
    polygon_set: PolygonSet

    def __hash__(self) -> int:
        """Lets what is computed of an atlas be kept; equality compares every field."""
        return hash((self.name, self.forcing, self.polygons, self.months))

    @property
    def control_case(self) -> str:
        """The control run, which is never a case."""
        return f"{self.experiment}.control.{self.vintage}"

    @property
    def years(self) -> int:
        """Model years that hold a case, the last one perhaps in part."""
        return -(-self.months // 12)


def atlas_names(configs: str | os.PathLike[str] | None = None) -> list[str]:
    """Names of the configured atlases."""
    folders = [folder / "atlases" for folder in config_folders(configs)]
    return sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})


def load_atlas(name: str = DEFAULT_ATLAS, configs: str | os.PathLike[str] | None = None) -> Atlas:
    """One atlas.

    Parameters
    ----------
    name : str
        File name in ``configs/atlases``, without ending.
    configs : path, optional
        The user's overlay of ``configs/``.

    Raises
    ------
    ConfigurationError
        If there is none of that name (the nearest is named) or a file does not fit.
    """
    found = load_config(AtlasFile, f"atlases/{name}.yaml", configs)
    polygons = load_config(PolygonSet, f"atlases/polygons/{found.polygons}.yaml", configs)
    if found.forcing == "ERW" and not any(basin.coastal for basin in polygons.basins):
        raise ConfigurationError(
            f"atlases/{name}.yaml: ERW needs coastal polygons, {found.polygons} has none; say how "
            "many lie on a coast in its basins",
            code="NoCoastalPolygons",
        )
    return Atlas(**found.model_dump(), name=name, polygon_set=polygons)
