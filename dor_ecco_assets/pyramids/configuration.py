"""How maps are made and shown: ``configs/pyramids``."""

from functools import lru_cache

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dor_ecco_assets.atlas.specification import DEFAULT_ATLAS
from dor_ecco_assets.pyramids.index import Colormap
from dor_ecco_assets.settings import Strict, config_names, load_config
from dor_ecco_assets.stores.browser import ZarrFormat

__all__ = [
    "AtlasMaps",
    "DatasetMaps",
    "MapVariable",
    "chosen_atlas",
    "dataset_maps",
    "load_atlas_maps",
]

#: The file that describes the maps of an atlas; every other one describes a dataset.
ATLAS_FILE = "atlas"


class MapVariable(Strict):
    """One variable of maps, in the units of its source, and how to show it."""

    long_name: str
    units: str = Field(description="of the source and of the stored values")
    display_factor: float = Field(1.0, description="stored values times this are shown")
    display_units: str | None = Field(None, description="as units if not given")
    display_name: str | None = Field(
        None, description="long name of what is shown, where the factor turns its sign"
    )
    clim: dict[str, tuple[float, float]] = Field(
        description="limits of the colours by band, in stored units; of datasets, of `value`"
    )
    colormap: dict[str, Colormap] = Field(description="by band")

    @model_validator(mode="after")
    def _limits_ascend(self) -> "MapVariable":
        for band, (low, high) in self.clim.items():
            if not low < high:
                raise ValueError(f"clim of {band} is {low} to {high}, expected ascending limits")
        if self.clim.keys() != self.colormap.keys():
            raise ValueError("clim and colormap name different bands")
        return self


class AtlasMaps(Strict):
    """``configs/pyramids/atlas.yaml``."""

    formats: tuple[ZarrFormat, ...] = Field(("v2", "v3"), min_length=1)
    variables: dict[str, MapVariable]


class DatasetMaps(Strict):
    """Maps of one gridded dataset: any other file of ``configs/pyramids``."""

    title: str
    source: str = Field(description="key of a product with one step of time per partition")
    mapping: str = Field(description="key of the weights from its grid")
    select: dict[str, int] = Field({}, description="place along dimensions such as depth")
    pixels_per_tile: int = Field(128, ge=8)
    zoom_levels: int = Field(2, ge=1)
    formats: tuple[ZarrFormat, ...] = Field(("v2", "v3"), min_length=1)
    variables: dict[str, MapVariable] = Field(min_length=1)


@lru_cache(maxsize=4)
def load_atlas_maps(configs: str | None = None) -> AtlasMaps:
    """How the maps of an atlas are made and shown.

    Parameters
    ----------
    configs : str, optional
        The user's overlay of ``configs/``.
    """
    return load_config(AtlasMaps, f"pyramids/{ATLAS_FILE}.yaml", configs)


@lru_cache(maxsize=4)
def dataset_maps(configs: str | None = None) -> dict[str, DatasetMaps]:
    """The configured maps of datasets, by name."""
    names = [name for name in config_names("pyramids/*", configs) if name != ATLAS_FILE]
    return {name: load_config(DatasetMaps, f"pyramids/{name}.yaml", configs) for name in names}


class _Production(BaseModel):
    """What of ``configs/dor.yaml`` maps follow: the atlas that is made."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    atlas: str = DEFAULT_ATLAS


def chosen_atlas(configs: str | None = None) -> str:
    """Name of the atlas that this production makes.

    Parameters
    ----------
    configs : str, optional
        The user's overlay of ``configs/``.
    """
    return load_config(_Production, "dor.yaml", configs).atlas
