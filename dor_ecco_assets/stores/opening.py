"""Open what was published, lazily, wherever it lies."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dor_ecco_assets.errors import ConfigurationError, InputMissing
from dor_ecco_assets.lineage.record import Record, read_record, recorded_partitions
from dor_ecco_assets.settings import find_places
from dor_ecco_assets.storage import Directory, Storage, open_storage

if TYPE_CHECKING:
    import xarray as xr


def open_product(
    storage: Storage, key: str, partitions: Sequence[str] | None = None
) -> "xr.Dataset":
    """A product lazily, through its records.

    Parameters
    ----------
    storage : Storage
        The root that holds the product.
    key : str
        ``line/name``.
    partitions : sequence of str, optional
        All committed partitions if not given; more than one are joined along ``time``.

    Raises
    ------
    InputMissing
        Code ``NotMade``, if a partition, or the whole product, has no record.
    """
    import xarray as xr

    wanted = list(recorded_partitions(storage, key)) if partitions is None else list(partitions)
    records = [read_record(storage, key, partition) for partition in wanted]
    absent = [name for name, record in zip(wanted, records, strict=True) if record is None]
    found = [record for record in records if record is not None]
    if absent or not found:
        what = f"{key} {', '.join(absent)}" if absent else key
        raise InputMissing(
            f"{what} has not been made in {storage.uri}; make it, or name another root by "
            "DOR_ECCO_ROOT",
            code="NotMade",
        )
    if len(found) == 1:
        return open_uri(storage, found[0])
    sources = [netcdf_source(storage, record.uri) for record in found]
    return xr.open_mfdataset(
        [source for source, _ in sources],
        engine=sources[0][1],
        combine="nested",
        concat_dim="time",
        data_vars="minimal",
        coords="minimal",  # pyright: ignore[reportArgumentType] - the stub lacks the strings
        compat="override",
        join="override",
        combine_attrs="override",
    )


def open_published(uri: str) -> "xr.Dataset":
    """A published file or Zarr store by its path or ``s3://`` URL, lazily.

    Raises
    ------
    InputMissing
        Code ``NotMade``, if nothing lies there.
    """
    folder, _, name = uri.rstrip("/").rpartition("/")
    place = find_places().root
    storage = open_storage(place.model_copy(update={"root": _absolute(folder)}))
    kind = "zarr" if ".zarr" in name else "netcdf"
    if next(iter(storage.list(name)), None) is None and storage.stat(name) is None:
        raise InputMissing(f"nothing lies at {uri}", code="NotMade")
    return open_uri(storage, Record("", name, 0, "", "", {"format": kind}))


def _absolute(folder: str) -> str:
    return folder if "://" in folder else str(Path(folder or ".").absolute())


def open_uri(storage: Storage, record: Record) -> "xr.Dataset":
    """The dataset of one record, lazily.

    Parameters
    ----------
    storage : Storage
        The root that holds the record.
    record : Record

    Returns
    -------
    xarray.Dataset
    """
    import xarray as xr

    if record.details["format"] in ("files", "html"):
        raise ConfigurationError(
            f"{storage.locate(record.uri)} holds no arrays; open the file or folder itself",
            code="NotADataset",
        )
    if record.details["format"] == "zarr":
        return xr.open_zarr(storage.zarr_store(record.uri), consolidated=False, chunks=None)
    source, engine = netcdf_source(storage, record.uri)
    return xr.open_dataset(source, engine=engine)


def open_arrays(storage: Storage, record: Record) -> Any:
    """The Zarr group of one record, read-only."""
    import zarr

    return zarr.open_group(storage.zarr_store(record.uri), mode="r")


def netcdf_source(storage: Storage, key: str) -> tuple[Any, Any]:
    """What `xarray.open_dataset` takes for a NetCDF file, and the engine to read it with."""
    if isinstance(storage, Directory):
        return storage.locate(key), "netcdf4"
    return storage.reader(key), "h5netcdf"
