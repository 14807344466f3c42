"""Small whole Zarr v3 objects: grids, mapping factors."""

from pathlib import Path

import numpy as np
import xarray as xr

from dor_ecco_assets.errors import OutputCorrupt


def write_zarr(dataset: xr.Dataset, path: Path) -> None:
    """Write a dataset as a Zarr v3 group in a local folder and read it back.

    Parameters
    ----------
    dataset : Dataset
        Small enough for memory; every array becomes one chunk, so that a reader asks once.
    path : Path

    Raises
    ------
    OutputCorrupt
        If what is read back differs.
    """
    chunks = {
        name: {"chunks": variable.shape}
        for name, variable in dataset.variables.items()
        if variable.ndim
    }
    dataset.to_zarr(path, mode="w", zarr_format=3, consolidated=False, encoding=chunks)
    with xr.open_zarr(path, consolidated=False, chunks=None) as back:
        for name, variable in dataset.variables.items():
            floating = variable.dtype.kind == "f"
            if not np.array_equal(back[name].values, variable.values, equal_nan=floating):
                raise OutputCorrupt(
                    f"{path}: {name} reads back with other values than were written; check the "
                    "disk, then run again",
                    code="ReadBackDiffers",
                )
