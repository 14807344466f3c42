"""What the children of `granule_rows` run: our production, and the plain way."""

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.measure import peak_rss_mb, rss_mb

#: How both store a 3-D variable: deflate 5, shuffle, chunks of a few depth levels.
_STORED = {"zlib": True, "complevel": 5, "shuffle": True, "_FillValue": 9.969209968386869e36}


def ours(root: str, inputs: str, configs: str, keys: list[str], months: list[str]) -> None:
    """Make the products of every month in one workspace; print the memory after each month."""
    from dor_ecco_assets.products import Production
    from dor_ecco_assets.settings import Place

    workspace = Production(Place(root=root), Place(root=inputs), configs).workspace()
    for month in months:
        for key in keys:
            if workspace.make(key, month).skipped:
                raise RuntimeError(f"{key} {month} was there before it was made")
        print(json.dumps({"month": month, "peak_mb": peak_rss_mb(), "rss_mb": rss_mb()}))


def plain(records: dict[str, str], weights: str, wet: str, out: str) -> None:
    """One month as a script would do it: fromfile, a sparse product per level, to_netcdf."""
    import numpy as np
    import xarray as xr
    from scipy import sparse

    from dor_ecco_assets.grids.llc import tiles_from_compact

    native: dict[str, Any] = {}
    latlon: dict[str, Any] = {}
    is_wet = np.load(wet)
    for name, path in records.items():
        compact = np.fromfile(path, ">f4").reshape(len(is_wet), -1, is_wet.shape[-1])
        tiles = tiles_from_compact(compact).astype(np.float32)
        mapped = np.empty((1, len(is_wet), 360, 720), np.float32)
        for k, level in enumerate(tiles):
            # One file of weights per depth level, as ECCO-Dataset-Production keeps them.
            operator = sparse.load_npz(Path(weights) / f"{k}.npz")
            flat = operator @ level.ravel().astype(np.float64)
            flat[np.diff(operator.indptr) == 0] = np.nan
            mapped[0, k] = flat.reshape(360, 720)
        latlon[name] = (("time", "Z", "latitude", "longitude"), mapped)
        native[name] = (("time", "k", "tile", "j", "i"), np.where(is_wet, tiles, np.nan)[None])
    for file, variables, chunks in (
        ("latlon.nc", latlon, (1, 5, 360, 720)),
        ("native.nc", native, (1, 10, *is_wet.shape[1:])),
    ):
        stored = {name: {**_STORED, "chunksizes": chunks} for name in variables}
        granule = xr.Dataset(variables, coords={"time": np.array(["1992-01-16"], "M8[ns]")})
        granule.to_netcdf(Path(out) / file, encoding=stored)
    print(json.dumps({"peak_mb": peak_rss_mb()}))


if __name__ == "__main__":
    {"ours": ours, "plain": plain}[sys.argv[1]](**json.loads(sys.argv[2]))
