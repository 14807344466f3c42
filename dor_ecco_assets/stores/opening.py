"""Open what was published, lazily, wherever it lies."""

from collections.abc import Mapping, Sequence
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
) -> "xr.Dataset | xr.DataTree":
    """A product lazily, through its records.

    Parameters
    ----------
    storage : Storage
        The root that holds the product.
    key : str
        ``line/name``.
    partitions : sequence of str, optional
        All committed partitions if not given; more than one are joined along ``time``, those of
        Zarr stores along a new ``partition``.

    Raises
    ------
    InputMissing
        Code ``NotMade``, if a partition, or the whole product, has no record.
    ConfigurationError
        Code ``NotJoinable``, if stores of several partitions have different axes.
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
    if len({record.uri for record in found}) == 1:  # one, or regions of one store
        return open_uri(storage, found[0])
    if found[0].details["format"] == "zarr":
        return _stores_joined(storage, key, dict(zip(wanted, found, strict=True)))
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


def _stores_joined(storage: Storage, key: str, records: Mapping[str, Record]) -> "xr.Dataset":
    """Stores of several partitions, one after another."""
    import xarray as xr

    parts = [open_uri(storage, record).chunk() for record in records.values()]
    try:
        joined = xr.concat(
            parts,
            dim="partition",
            data_vars="all",
            coords="minimal",
            compat="override",
            join="exact",
            combine_attrs="drop_conflicts",
        )
    except ValueError as error:
        raise ConfigurationError(
            f"{key}: partitions {', '.join(list(records)[:3])}, ... differ in their axes; name one",
            code="NotJoinable",
        ) from error
    return joined.assign_coords(partition=list(records))


def open_published(uri: str) -> "xr.Dataset | xr.DataTree":
    """A published file or Zarr store by its path or ``s3://`` URL, lazily.

    Raises
    ------
    InputMissing
        Code ``NotMade``, if nothing lies there.
    """
    folder, _, name = uri.rstrip("/").rpartition("/")
    place = find_places().root
    storage = open_storage(place.model_copy(update={"root": _absolute(folder)}))
    if any(storage.stat(f"{name}/0/{member}") for member in (".zgroup", "zarr.json")):
        return _open_levels(storage, name)
    pyramid = any(storage.stat(f"{name}/{store}/{member}") for store, member in _MAP_STORES)
    kind = "pyramid" if pyramid else "zarr" if ".zarr" in name else "netcdf"
    if next(iter(storage.list(name)), None) is None and storage.stat(name) is None:
        raise InputMissing(f"nothing lies at {uri}", code="NotMade")
    return open_uri(storage, Record("", name, 0, "", "", {"format": kind}))


def _absolute(folder: str) -> str:
    return folder if "://" in folder else str(Path(folder or ".").absolute())


def open_uri(storage: Storage, record: Record) -> Any:
    """The dataset of one record, lazily.

    Parameters
    ----------
    storage : Storage
        The root that holds the record.
    record : Record

    Returns
    -------
    xarray.Dataset or, of a pyramid, xarray.DataTree
    """
    import xarray as xr

    if "joined_along" in record.details:
        return _files_joined(storage, record)
    if record.details["format"] in ("files", "html"):
        raise ConfigurationError(
            f"{storage.locate(record.uri)} holds no arrays; open the file or folder itself",
            code="NotADataset",
        )
    if record.details["format"] == "pyramid":
        return _open_pyramid(storage, record.uri)
    if record.details["format"] == "icechunk":
        return _open_icechunk(storage, record)
    if record.details["format"] == "zarr":
        return xr.open_zarr(storage.zarr_store(record.uri), consolidated=False, chunks=None)
    source, engine = netcdf_source(storage, record.uri)
    return xr.open_dataset(source, engine=engine)


def _open_icechunk(storage: Storage, record: Record) -> "xr.Dataset":
    """A recorded version of an Icechunk store; what it refers to is read as it says itself."""
    from dor_ecco_assets.stores.icechunk_store import IcechunkStore
    from dor_ecco_assets.stores.session_dataset import decoded, open_numbers

    store = IcechunkStore(storage, record.uri).with_own_containers()
    return decoded(open_numbers(store.reading(record.details["snapshot"])))


def _files_joined(storage: Storage, record: Record) -> "xr.Dataset":
    """The files of a folder, one after another along the dimension that the record names."""
    import xarray as xr

    sources = [netcdf_source(storage, key) for key, _ in storage.list(record.uri)]
    return xr.open_mfdataset(
        [source for source, _ in sources],
        engine=sources[0][1],
        combine="nested",
        concat_dim=record.details["joined_along"],
        data_vars="minimal",
        coords="minimal",  # pyright: ignore[reportArgumentType] - the stub lacks the strings
        compat="override",
        join="override",
        combine_attrs="override",
        decode_timedelta=False,
    )


#: Map stores of a pyramid with their metadata, the one that takes fewer requests first.
_MAP_STORES = (("v3.zarr", "zarr.json"), ("v2.zarr", ".zmetadata"))


def _open_pyramid(storage: Storage, key: str) -> "xr.DataTree":
    for name, metadata in _MAP_STORES:
        if storage.stat(f"{key}/{name}/{metadata}") is not None:
            return _open_levels(storage, f"{key}/{name}")
    raise InputMissing(f"{storage.locate(key)} holds no map store", code="NotMade")


def _open_levels(storage: Storage, key: str) -> "xr.DataTree":
    """A store with a group per zoom level."""
    import xarray as xr

    store = storage.zarr_store(key)
    return xr.open_datatree(store, engine="zarr", consolidated=True, chunks=None)


def open_arrays(storage: Storage, record: Record) -> Any:
    """The Zarr group of one record, read-only."""
    import zarr

    return zarr.open_group(storage.zarr_store(record.uri), mode="r")


def netcdf_source(storage: Storage, key: str) -> tuple[Any, Any]:
    """What `xarray.open_dataset` takes for a NetCDF file, and the engine to read it with."""
    if isinstance(storage, Directory):
        return storage.locate(key), "netcdf4"
    return storage.reader(key), "h5netcdf"
