"""Ocean model output and archived granules as published, cloud-optimised data with lineage.

`open` is all that a notebook needs::

    import dor_ecco_assets
    ds = dor_ecco_assets.open("ecco/ECCO_L4_SSH_05DEG_MONTHLY_V4R4")
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["open"]


def open(  # noqa: A001 - the name that users of xarray look for
    key_or_uri: str, partition: str | Sequence[str] | None = None
) -> "xr.Dataset | xr.DataTree":
    """Open a product, or a file by its URI, lazily.

    Parameters
    ----------
    key_or_uri : str
        Key of a product, ``grids/llc90``, looked for below ``DOR_ECCO_ROOT``; or a path or
        ``s3://`` URL of a published file or store.
    partition : str or sequence of str, optional
        All committed partitions, joined along ``time``, if not given; stores of cases are joined
        along ``partition``.

    Returns
    -------
    xarray.Dataset or, of a pyramid, xarray.DataTree

    Raises
    ------
    InputMissing
        Code ``NotMade``, if the product or partition has no record, or nothing lies at the URI.

    Examples
    --------
    >>> dor_ecco_assets.open("ecco/ECCO_L4_SSH_05DEG_MONTHLY_V4R4", "1992-01")  # doctest: +SKIP
    """
    from pathlib import Path

    from dor_ecco_assets.settings import find_places
    from dor_ecco_assets.storage import open_storage
    from dor_ecco_assets.stores.opening import open_product, open_published

    store = ".zarr" in key_or_uri and Path(key_or_uri).exists()
    if "://" in key_or_uri or store or Path(key_or_uri).is_file():
        return open_published(key_or_uri)
    wanted = [partition] if isinstance(partition, str) else partition
    places = find_places()
    storage = open_storage(places.root)
    if key_or_uri.startswith("virtual/"):
        from dor_ecco_assets.virtual.collections import load_collections
        from dor_ecco_assets.virtual.products import store_key
        from dor_ecco_assets.virtual.reading import open_recorded

        for name, spec in load_collections(places.configs).items():
            if key_or_uri == store_key(name):
                return open_recorded(storage, spec)
    return open_product(storage, key_or_uri, wanted)
