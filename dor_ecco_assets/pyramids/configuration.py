"""How maps are made and shown: ``configs/pyramids``."""

import re
from datetime import date
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

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
    source: str = Field(
        description="key of a product with one step of time per partition, or of a virtual store"
    )
    period: tuple[str, str] | None = Field(
        None, description="of a virtual store: first and last day, or month, on the maps"
    )
    mask_of: str | None = Field(
        None, description="of a virtual store: day or month whose numbers say what is ocean"
    )
    mapping: str = Field(description="key of the weights from its grid")
    select: dict[str, int] = Field({}, description="place along dimensions such as depth")
    pixels_per_tile: int = Field(128, ge=8)
    zoom_levels: int = Field(2, ge=1)
    formats: tuple[ZarrFormat, ...] = Field(("v2", "v3"), min_length=1)
    variables: dict[str, MapVariable] = Field(min_length=1)

    @field_validator("period", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return [str(each) for each in value] if isinstance(value, list | tuple) else value

    @field_validator("mask_of", mode="before")
    @classmethod
    def _one_as_text(cls, value: Any) -> Any:
        return None if value is None else str(value)  # YAML reads days as dates

    @model_validator(mode="after")
    def _period_has_steps(self) -> "DatasetMaps":
        if self.period is not None and not self.steps:
            first, last = self.period
            raise ValueError(
                f"period is {first} to {last}, expected two days YYYY-MM-DD or two months YYYY-MM "
                "in order"
            )
        if self.mask_of is not None and self.mask_of not in self.steps:
            raise ValueError(f"mask_of is {self.mask_of}, expected a step of period")
        return self

    @property
    def steps(self) -> tuple[str, ...]:
        """Every day or month of the period; none where it is not one."""
        first, last = self.period or ("", "")
        try:
            if _MONTH.match(first) and _MONTH.match(last):
                begin, end = (date.fromisoformat(f"{each}-01") for each in (first, last))
                months = range(12 * begin.year + begin.month - 1, 12 * end.year + end.month)
                return tuple(f"{each // 12:04d}-{each % 12 + 1:02d}" for each in months)
            if _DAY.match(first) and _DAY.match(last):
                begin, end = map(date.fromisoformat, (first, last))
                days = range(begin.toordinal(), end.toordinal() + 1)
                return tuple(date.fromordinal(each).isoformat() for each in days)
        except ValueError:  # such as the 31st of June
            pass
        return ()


_DAY, _MONTH = re.compile(r"^\d{4}-\d\d-\d\d$"), re.compile(r"^\d{4}-\d\d$")


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
