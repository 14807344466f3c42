"""What a product is, as a value: its key, inputs, partitions, code version and how it is made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dor_ecco_assets.settings import source_date
from dor_ecco_assets.storage.base import Readable

if TYPE_CHECKING:
    import xarray as xr

Layer = Literal["raw", "core", "out"]
PartitionKind = Literal["none", "month", "day"]
Format = Literal["netcdf", "zarr"]


@dataclass(frozen=True)
class Partitioning:
    """What a product is split by.

    Parameters
    ----------
    kind : {"none", "month", "day"}
    keys : tuple of str
        Every partition key in order; ``("",)`` where the product is not split.
    """

    kind: PartitionKind = "none"
    keys: tuple[str, ...] = ("",)


@dataclass(frozen=True)
class RunSettings:
    """What a run is told besides the configuration files.

    Parameters
    ----------
    source_date : str or None
        ``SOURCE_DATE_EPOCH`` as ``YYYY-MM-DDThh:mm:ss``: date written into outputs where the
        configuration names none.
    """

    source_date: str | None = None

    @classmethod
    def from_environment(cls) -> "RunSettings":
        """The settings that the environment gives now."""
        return cls(source_date())


@dataclass(frozen=True)
class Content:
    """The content of one partition, worked out and ready to be written.

    Parameters
    ----------
    key : str
        Where it will lie below the root.
    write : callable
        Writes the file or folder at the local path it is given and reads it back.
    details : mapping
        What the materialisation says of it: shape, one physical number with its unit in the name.
    preview : callable, optional
        Makes a small PNG of it.
    """

    key: str
    write: Callable[[Path], None]
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])
    preview: Callable[[], bytes] | None = None


@dataclass(frozen=True)
class Task:
    """One partition to be made, with what making it may read.

    Parameters
    ----------
    partition : str
    inputs : Readable
        The raw inputs.
    input_keys : mapping of str to str or None
        What the product's `inputs` gave: name to key below `inputs`; None where absent.
    upstream : callable
        Opens an upstream product by its key, through its record; opened once per process.
    settings : RunSettings
    upstream_fingerprints : mapping of str to str
    keep : callable
        Takes a name and a function; what the function gives is worked out once for all tasks of
        the process that ask for the same name, and dropped when its kind is asked for by another.
        A name reads ``kind fingerprint``.
    """

    partition: str
    inputs: Readable
    input_keys: Mapping[str, str | None]
    upstream: Callable[[str], "xr.Dataset"]
    settings: RunSettings
    upstream_fingerprints: Mapping[str, str | None]
    keep: Callable[[str, Callable[[], Any]], Any]


@dataclass(frozen=True)
class Product:
    """One asset of one line, without Dagster.

    Parameters
    ----------
    key : str
        ``line/name``; the asset's key and its path below the root.
    title : str
        One line for people.
    code_version : str
        Raised by hand when the product's bytes would change.
    layer : {"raw", "core", "out"}
    format : {"netcdf", "zarr"}
    make : callable
        Works out the content of one partition.
    partitioning : Partitioning
    upstream : tuple of str
        Keys of unpartitioned products it is made from.
    inputs : callable
        Raw inputs of one partition, by name; the key is None where a member is absent.
    require : callable
        Raises `InputMissing` where what `inputs` gave is not enough to make the partition.
    config : callable
        What of the configuration decides its bytes.
    external : tuple of str
        Keys of external assets (raw inputs) it hangs on in the graph.
    """

    key: str
    title: str
    code_version: str
    layer: Layer
    format: Format
    make: Callable[[Task], Content]
    partitioning: Partitioning = Partitioning()
    upstream: tuple[str, ...] = ()
    inputs: Callable[[Readable, str], Mapping[str, str | None]] = lambda _inputs, _partition: {}
    require: Callable[[Readable, str, Mapping[str, str | None], bool], None] = (
        lambda _storage, _partition, _keys, _allow_partial: None
    )
    config: Callable[[RunSettings], Mapping[str, Any]] = lambda _settings: {}
    external: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """First part of the key: the line it belongs to."""
        return self.key.split("/")[0]

    @property
    def name(self) -> str:
        """Second part of the key."""
        return self.key.split("/")[1]


def by_key(products: Sequence[Product]) -> dict[str, Product]:
    """Products by their key."""
    return {product.key: product for product in products}
