"""A production of closed-form map fields, recorded as the atlas line records its own."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec

from dor_ecco_assets.dor.configuration import load_line
from dor_ecco_assets.lineage.record import Record, read_record, record_key, write_record
from dor_ecco_assets.mapping.webmercator import WebMercatorWeights, from_dataset
from dor_ecco_assets.products import Production
from dor_ecco_assets.pyramids.configuration import load_atlas_maps
from dor_ecco_assets.pyramids.products import atlas_cases
from dor_ecco_assets.samples.dor_inputs import sample_atlas
from dor_ecco_assets.settings import Place
from dor_ecco_assets.storage import Directory
from tests.dor.atlas import overlay

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

    from dor_ecco_assets.atlas.specification import Atlas
    from dor_ecco_assets.lineage.workspace import Workspace

MAPS, TEMPLATE, INDEX = "pyramids/atlas", "pyramids/atlas_template", "pyramids/atlas_index"
FIELDS = "dor/map_fields"
PLANES = 2


@dataclass
class Sample:
    """One production; `folder` holds ``configs``, ``inputs`` and ``root``."""

    folder: Path
    root_name: str = "root"

    @classmethod
    def make(cls, folder: Path, *, months: int = 14, variables: str = "FG, PH", atlas: str = ""):
        more = f"variables: [{variables}]\n{atlas}"
        configs = overlay(folder / "configs", months=months, atlas=more)
        sample_atlas(folder / "inputs", load_line(configs), configs)
        return cls(folder)

    @property
    def configs(self) -> str:
        return str(self.folder / "configs")

    @property
    def root(self) -> Path:
        return self.folder / self.root_name

    @property
    def maps(self) -> Path:
        return self.root / MAPS

    @property
    def storage(self) -> Directory:
        return Directory(self.root)

    @cached_property
    def atlas(self) -> Atlas:
        return load_line(self.configs).specification

    @property
    def workspace(self) -> Workspace:
        place = Place(root=str(self.root))
        return Production(place, Place(root=str(self.folder / "inputs")), self.configs).workspace()

    @cached_property
    def grid(self) -> xr.Dataset:
        key = f"grids/{self.atlas.grid}"
        workspace = self.workspace
        workspace.make(key, "")
        return workspace.open_upstream(key).load()

    @cached_property
    def weights(self) -> WebMercatorWeights:
        key = f"mapping/{self.atlas.grid}_to_webmercator"
        workspace = self.workspace
        workspace.make(key, "")
        return from_dataset(workspace.open_upstream(key))

    def values(self, partition: str, variable: str) -> np.ndarray:
        """Fields of a case, (band, month, nlat, nlon): smooth in space, another every month."""
        seed = sum(map(ord, f"{partition}{variable}"))
        lat, lon = (np.deg2rad(self.grid[name].values) for name in ("TLAT", "TLONG"))
        months = np.arange(self.atlas.months)[:, None, None]
        wave = np.cos(lat) ** 2 * np.cos(2 * lon + 0.1 * months) + np.sin(lat)
        made = np.stack([1e-3 * wave, 8 + 0.01 * seed + wave]).astype(np.float32)
        return np.where(self.grid["wet"].values, made, np.float32(np.nan))

    def write_case(self, partition: str, **changed: Any) -> None:
        """Publish the map fields of one case; `changed` takes the place of arrays by name."""
        maps = load_atlas_maps(self.configs)
        month, polygon = partition.split("|")
        key = f"{FIELDS}/{polygon}/{month}.zarr"
        group = zarr.create_group(self.root / key, overwrite=True, zarr_format=3)
        arrays = {name: self.values(partition, name) for name in self.atlas.variables}
        arrays |= {"KMT": self.grid["KMT"].values, **changed}
        for name, values in arrays.items():
            units = maps.variables[name].units if name in maps.variables else "1"
            chunks = values.shape if name == "KMT" else (1, 12, *values.shape[2:])
            made = group.create_array(
                name,
                shape=values.shape,
                dtype=values.dtype,
                chunks=chunks,
                fill_value=0 if name == "KMT" else np.nan,
                compressors=BloscCodec(cname="zstd", clevel=1),
                attributes={"units": units},
            )
            made[...] = values
        self.record(partition, key)

    def record(self, partition: str, key: str) -> None:
        """Record a store of map fields as one case."""
        size, sha256 = self.storage.digest(key)
        fingerprint = hashlib.sha256(f"{partition} {sha256}".encode()).hexdigest()
        details = {"format": "zarr", "ingredients": {}, "run": {}}
        record = Record(fingerprint, key, size, sha256, "2000-01-01T00:00:00Z", details)
        write_record(self.storage, FIELDS, partition, record)

    def published(self) -> dict[str, bytes]:
        """Every object of the maps by name."""
        return {
            path.relative_to(self.maps).as_posix(): path.read_bytes()
            for path in sorted(self.maps.rglob("*"))
            if path.is_file()
        }


def every_case(folder: Path) -> Sample:
    """All 2,760 cases: one variable, one zoom level, tiles of 16 pixels; all share their fields."""
    files = {
        "dor.yaml": "atlas: every\nhistory: pop/cases\n",
        "atlases/every.yaml": "title: Every\nforcing: DOR\ngrid: pop_tiny\npolygons: sample_v0\n"
        "months: 3\npixels_per_tile: 16\nzoom_levels: 1\nvariables: [FG]\n",
        "mapping/pop_tiny_to_webmercator.yaml": "source: grids/pop_tiny\nlevels: [0]\n"
        "pixels_per_tile: 16\n",
    }
    for name, text in files.items():
        path = folder / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    configs = str(folder / "configs")
    sample_atlas(folder / "inputs", load_line(configs), configs)
    sample = Sample(folder)
    partitions = list(atlas_cases(sample.atlas))
    sample.write_case(partitions[0])
    first = read_record(sample.storage, FIELDS, partitions[0])
    assert first is not None
    text = json.dumps(asdict(first))
    for partition in partitions[1:]:  # not put one by one: that syncs the disk 2,760 times
        path = sample.root / record_key(FIELDS, partition)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return sample
