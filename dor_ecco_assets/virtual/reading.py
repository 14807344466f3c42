"""Opening a virtual store: by S3 or HTTPS, one epoch or all, packed numbers made physical."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from xarray.backends.common import BackendArray

from dor_ecco_assets.errors import ConfigurationError, InputMissing
from dor_ecco_assets.lineage.record import read_record
from dor_ecco_assets.storage.base import Storage
from dor_ecco_assets.stores.icechunk_store import Container, IcechunkStore
from dor_ecco_assets.stores.ledger_arrays import read_state
from dor_ecco_assets.virtual.access import Way, chosen_way
from dor_ecco_assets.virtual.collections import StoreSpec
from dor_ecco_assets.virtual.layout import (
    ADD_OFFSET,
    PACKED,
    PHYSICAL_UNITS,
    SCALE_FACTOR,
    TYPES,
)

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["containers_of", "open_recorded", "open_store", "virtual_store"]


def containers_of(
    spec: StoreSpec,
    access: Way | None = None,
    *,
    credentials: Callable[[], Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> list[Container]:
    """Where the granules lie, as Icechunk takes it.

    Parameters
    ----------
    spec : StoreSpec
    access : str, optional
        ``s3``, ``https`` or ``local``; as `chosen_way` says, without it.
    credentials : callable, optional
        Gives S3 credentials anew.
    headers : mapping, optional
        For HTTPS, such as ``{"authorization": "Bearer ..."}``.

    Raises
    ------
    ConfigurationError
        Code ``NoSuchAccess``, if a place cannot be reached so.
    """
    found: list[Container] = []
    for place in spec.access:
        way = access or chosen_way(place)
        url = getattr(place, way)
        if url is None:
            given = ", ".join(w for w in ("s3", "https", "local") if getattr(place, w))
            raise ConfigurationError(
                f"{spec.collection.short_name}: access {place.name} has no {way}, only {given}; "
                "open the store by one of these, or add it to the configuration",
                code="NoSuchAccess",
            )
        endpoint = place.endpoint or os.environ.get("AWS_ENDPOINT_URL")
        found.append(
            Container(
                place.name,
                f"file://{url}" if way == "local" else url,
                endpoint=endpoint if way == "s3" else None,
                region=place.region or os.environ.get("AWS_REGION"),
                path_style=endpoint is not None,
                anonymous=place.anonymous,
                credentials=credentials,
                headers=headers or {},
            )
        )
    return found


def virtual_store(
    storage: Storage, spec: StoreSpec, access: Way | None = None, **options: Any
) -> IcechunkStore:
    """The store of a collection, to be built or read; `options` as `containers_of` takes them."""
    return IcechunkStore(
        storage, f"virtual/{spec.name}/store", containers_of(spec, access, **options)
    )


def open_recorded(storage: Storage, spec: StoreSpec) -> "xr.Dataset":
    """The published version of a collection's store, with the login of the environment.

    Parameters
    ----------
    storage : Storage
    spec : StoreSpec
        Of an archive's granules.

    Returns
    -------
    xarray.Dataset
        Physical values of the first epoch, as `open_store` gives them.

    Raises
    ------
    InputMissing
        Code ``NotMade``.
    """
    from dor_ecco_assets.virtual.probing import readable_store

    key = f"virtual/{spec.name}/store"
    record = read_record(storage, key, "")
    if record is None:
        raise InputMissing(
            f"{key} has not been made in {storage.uri}; make it by `dor-ecco virtual build "
            f"{spec.collection.short_name}`, or name another root by DOR_ECCO_ROOT",
            code="NotMade",
        )
    return open_store(readable_store(storage, spec), version=record.details["snapshot"])


def open_store(
    store: IcechunkStore,
    *,
    version: str | None = None,
    group: str = "",
    epoch: int = 0,
    decode: bool = True,
) -> "xr.Dataset":
    """A version of a virtual store as a dataset whose values are read when they are asked for.

    Parameters
    ----------
    store : IcechunkStore
        `virtual_store` makes it; its containers say by which way values are read.
    version : str, optional
        A tag or snapshot; the newest without it.
    group : str
        Of granules with groups.
    epoch : int
        Where granules of another schema have arrays of their own.
    decode : bool
        Give physical values, also of arrays whose packing differs from granule to granule: the
        same, bit for bit, as of each granule by itself.

    Raises
    ------
    InputMissing
        Codes ``StoreMissing``, ``VersionMissing``.
    ConfigurationError
        Code ``NoSuchEpoch``.
    """
    from dor_ecco_assets.stores.session_dataset import decoded, open_numbers

    session = store.reading(version)
    epochs: Sequence[Any] = read_state(session.store).get("epochs", [])
    if not 0 <= epoch < len(epochs):
        raise ConfigurationError(
            f"{store.uri} has {len(epochs)} epochs, counted from 0; there is no {epoch}",
            code="NoSuchEpoch",
        )
    path = "/".join(part for part in (epochs[epoch]["path"], group.strip("/")) if part)
    dataset = open_numbers(session, path)
    if not decode:
        return dataset
    packed = [str(name) for name in dataset.variables if f"{name}".endswith(PACKED)]
    for name in packed:
        dataset = _unpacked(dataset, name)
    for variable in dataset.variables.values():
        types = variable.attrs.pop(TYPES, {})
        for name, dtype in types.items():
            if name in variable.attrs:
                variable.attrs[name] = np.dtype(dtype).type(variable.attrs[name])
    return decoded(dataset)


def _unpacked(dataset: "xr.Dataset", name: str) -> "xr.Dataset":
    """A dataset in which an array stands as what it means, not as it is packed."""
    import xarray as xr
    from xarray.core import indexing

    base = name.removesuffix(PACKED)
    parameters = (f"{base}{SCALE_FACTOR}", f"{base}{ADD_OFFSET}")
    if not all(parameter in dataset for parameter in parameters):
        return dataset
    variable = dataset[name].variable
    scales, offsets = (dataset[parameter].variable for parameter in parameters)
    kept = ("_FillValue", "missing_value", "packing", "_Unsigned", TYPES)
    types = variable.attrs.get(TYPES, {})
    lazy = PackedArray(
        variable._data,  # pyright: ignore[reportPrivateUsage] - not read yet
        variable.shape,
        variable.dtype,
        axis=variable.dims.index(scales.dims[0]),
        scales=scales.values.astype(types.get("scale_factor", "float64")),
        offsets=offsets.values.astype(types.get("add_offset", "float64")),
        missing=[variable.attrs[key] for key in kept[:2] if key in variable.attrs],
        unsigned=str(variable.attrs.get("_Unsigned", "")).lower() == "true",
    )
    attributes = {key: value for key, value in variable.attrs.items() if key not in kept}
    if PHYSICAL_UNITS in attributes:
        attributes["units"] = attributes.pop(PHYSICAL_UNITS)
    data: Any = indexing.LazilyIndexedArray(lazy)
    physical = xr.Variable(variable.dims, data, attributes)
    return dataset.drop_vars([name, *parameters]).assign({base: physical})


class PackedArray(BackendArray):
    """Physical values of packed numbers whose packing changes along an axis.

    Parameters
    ----------
    numbers : array
        As xarray reads them from the store.
    shape : tuple of int
    stored : dtype
        Of the numbers.
    axis : int
    scales, offsets : ndarray, shape of the axis
        In the types of the granules' attributes, which decide the result's.
    missing : sequence of int
        Numbers that stand for no value.
    unsigned : bool
        Whether signed numbers are meant to be unsigned.
    """

    def __init__(
        self,
        numbers: Any,
        shape: tuple[int, ...],
        stored: Any,
        *,
        axis: int,
        scales: npt.NDArray[Any],
        offsets: npt.NDArray[Any],
        missing: Sequence[Any],
        unsigned: bool,
    ) -> None:
        self.shape, self._numbers, self._axis = shape, numbers, axis
        self._scales, self._offsets = scales, offsets
        self._missing, self._unsigned = missing, unsigned
        self.dtype = _physical_type(np.dtype(stored), scales.dtype, offsets.dtype)

    def __getitem__(self, key: Any) -> Any:
        """Values of what is selected; every indexer of xarray."""
        from xarray.core import indexing

        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> npt.NDArray[Any]:
        from xarray.core import indexing

        indexer = indexing.OuterIndexer(key)
        numbers = np.asarray(self._numbers.oindex[indexer].get_duck_array())
        missing = np.zeros(numbers.shape, bool)
        for value in self._missing:
            missing |= numbers == value
        if self._unsigned:
            numbers = numbers.view(f"u{numbers.dtype.itemsize}")
        found = np.where(missing, np.nan, numbers.astype(self.dtype)).astype(self.dtype)
        found *= self._along(self._scales, key)
        found += self._along(self._offsets, key)
        return found

    def _along(self, values: npt.NDArray[Any], key: tuple[Any, ...]) -> npt.NDArray[Any]:
        """Parameters of the selected slots, so that they go with the selected numbers."""
        chosen = values[key[self._axis]].astype(self.dtype)
        if not chosen.ndim:
            return chosen
        after = sum(not isinstance(part, int | np.integer) for part in key[self._axis + 1 :])
        return chosen.reshape(-1, *(1,) * after)


def _physical_type(
    stored: np.dtype[Any], scale: np.dtype[Any], offset: np.dtype[Any]
) -> np.dtype[Any]:
    """The type in which xarray decodes: that of the packing, if it holds the numbers."""
    wide = stored.itemsize >= 4 or scale != offset
    return np.dtype("f8") if wide else scale
