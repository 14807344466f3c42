"""What a virtual store is, as configuration: ``configs/collections/*.yaml``."""

import fnmatch
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from dor_ecco_assets.errors import ConfigurationError
from dor_ecco_assets.settings import Strict, config_names, load_config
from dor_ecco_assets.virtual.granule_records import GranuleRecord

if TYPE_CHECKING:
    from dor_ecco_assets.virtual.cmr import CmrQuery

__all__ = [
    "Access",
    "CollectionScope",
    "Concat",
    "Exports",
    "StoreSpec",
    "Swath",
    "collection_name",
    "load_collections",
    "own_collections",
    "partition_of",
]

FOLDER, OWN = "collections", "own_collections"

Level = Literal["L2", "L3", "L4"]
PartitionBy = Literal["month", "cycle"]

#: Ways to tell granules apart that are no regular expression.
_IDENTITIES = ("granule_ur", "begin", "cycle_pass")

#: How a file's production time is written into granule names.
_PRODUCTION_STAMPS = ("%Y%m%dT%H%M%SZ", "%Y%m%dT%H%M%S", "%Y%m%d%H%M%S")

_STEP = re.compile(r"^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?$")


def collection_name(short_name: str) -> str:
    """A short name as asset keys take it: other characters than letters and digits are ``_``."""
    return re.sub(r"[^A-Za-z0-9_]", "_", short_name)


class CollectionScope(Strict):
    """Which collection of CMR."""

    concept_id: str | None = Field(
        None, pattern=r"^C\d+-\w+$", description="wins: names are patterns to CMR"
    )
    short_name: str = Field(min_length=1)
    version: str | None = None
    provider: str | None = None
    product: str | None = Field(
        None,
        pattern="^[a-z_]+/[A-Za-z0-9_]+$",
        description="of this platform, whose records are asked instead of CMR",
    )
    cmr: str | None = Field(
        None,
        pattern="^(https?|file)://",
        description="URL of its CMR, or file:// folder of saved records; the usual one without it",
    )

    @field_validator("version", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int | float) else value  # YAML reads 4.1 as a number


class Concat(Strict):
    """The axis along which granules follow each other."""

    dim: str = "time"
    order: Literal["begin", "cycle_pass"] = "begin"
    step: str | None = Field(
        None, description="ISO 8601 length of a regular axis, such as P1D or PT1H"
    )
    on_gap: Literal["hole", "close"] = "close"

    @field_validator("step")
    @classmethod
    def _period(cls, value: str | None) -> str | None:
        if value is not None and not _seconds_of(value):
            raise ValueError("expected a length of days, hours, minutes or seconds such as P1D")
        return value

    @model_validator(mode="after")
    def _holes_need_a_step(self) -> Self:
        if self.on_gap == "hole" and self.step is None:
            raise ValueError("on_gap: hole needs a step, which says where granules are missing")
        return self

    @property
    def step_s(self) -> float | None:
        """Seconds of `step`."""
        return None if self.step is None else _seconds_of(self.step)


def _seconds_of(text: str) -> float:
    """Seconds of an ISO 8601 length of fixed size; 0 for anything else."""
    found = _STEP.match(text)
    if found is None:
        return 0.0
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(86400 * days + 3600 * hours + 60 * minutes + seconds)


class Swath(Strict):
    """Swaths lie side by side along a new axis, each as long as it is."""

    dim: str = "granule"
    ragged: tuple[str, ...] = Field(("num_lines",), description="axes of uneven length")
    coords: tuple[Literal["cycle", "pass", "begin", "end", "filename", "num_lines_valid"], ...] = (
        "cycle",
        "pass",
        "begin",
        "filename",
    )
    track: str | None = Field(
        None, description="pattern with groups cycle and pass, where CMR does not tell them"
    )

    @field_validator("track")
    @classmethod
    def _two_groups(cls, value: str | None) -> str | None:
        if value is not None and {"cycle", "pass"} - set(_compiled(value).groupindex):
            raise ValueError("expected groups (?P<cycle>...) and (?P<pass>...)")
        return value


class Access(Strict):
    """One place of an archive under the URLs by which it is reached."""

    name: str = Field("granules", pattern=r"^[a-z][a-z0-9_-]*$")
    s3: str | None = Field(None, pattern="^s3://[^/]+/")
    https: str | None = Field(None, pattern="^https?://[^/]+/")
    local: str | None = Field(None, description="absolute folder")
    region: str = Field("us-west-2", description="of the bucket; Earthdata's by default")
    endpoint: str | None = Field(
        None, pattern="^https?://[^/]+", description="URL of an S3 service that is not AWS"
    )
    anonymous: bool = Field(False, description="send unsigned requests")

    @model_validator(mode="after")
    def _with_slashes(self) -> Self:
        given = {kind: getattr(self, kind) for kind in ("s3", "https", "local")}
        if not any(given.values()):
            raise ValueError("name at least one of s3, https, local")
        for kind, url in given.items():
            if url is not None and not url.endswith("/"):
                raise ValueError(f"{kind} must end with a slash, found {url!r}")
        return self


class KerchunkJson(Strict):
    """The JSON export."""

    max_refs: int = Field(2_000_000, ge=1, description="above it only Parquet is written")


class KerchunkParquet(Strict):
    """The Parquet export."""

    record_size: int = Field(100_000, ge=1, description="references of one file")


class Exports(Strict):
    """What is written for readers of kerchunk; None leaves one out."""

    kerchunk_json: KerchunkJson | None = KerchunkJson.model_validate({})
    kerchunk_parquet: KerchunkParquet | None = KerchunkParquet.model_validate({})


class StoreSpec(Strict):
    """One virtual store: a file of ``configs/collections``."""

    collection: CollectionScope
    title: str = ""
    temporal: tuple[datetime | None, datetime | None] = Field(
        (None, None), description="granules that begin in [start, end)"
    )
    granule_name: str = Field("*.nc", description="pattern of the data file, one per granule")
    level: Level
    partition: PartitionBy | None = Field(None, description="by cycle for swaths, else by month")
    identity: str = Field(
        "granule_ur",
        description="granule_ur (without its production time), begin, cycle_pass, or a regular "
        "expression on the granule's name whose groups tell granules apart",
    )
    group: str = Field("", description="HDF5 group that holds the variables")
    concat: Concat = Concat.model_validate({})
    swath: Swath | None = None
    load: tuple[str, ...] = Field((), description="arrays whose values are kept")
    drop: tuple[str, ...] = Field((), description="arrays that are left out")
    variables: Literal["intersection", "union", "strict"] = "union"
    incompatible: Literal["quarantine", "materialise", "fail"] = "quarantine"
    schema_epochs: Literal["auto", "single"] = "single"
    packing: Literal["decoded", "raw"] = Field(
        "decoded", description="raw where granules differ in scale_factor and add_offset"
    )
    attributes: Literal["first", "all"] = "first"
    tolerance: float = Field(0.0, ge=0, description="largest difference of other coordinates")
    access: tuple[Access, ...] = Field((), description="a product's granules lie in the root")
    checksum: Literal["etag", "last_modified", "none"] = "etag"
    time_chunk: int = Field(4096, ge=1)
    manifest_refs_target: int = Field(8_192, ge=1, description="references of one manifest")
    most_quarantined: float = Field(
        0.05, ge=0, le=1, description="share of a batch above which nothing is committed"
    )
    most_copied: float = Field(
        0.2, ge=0, le=1, description="the same of granules that incompatible: materialise copies"
    )
    exports: Exports = Exports.model_validate({})
    interval_s: int = Field(900, ge=10, description="between two looks of the sensor at CMR")

    @field_validator("temporal", mode="before")
    @classmethod
    def _dates(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple) or len(value) != 2:
            raise ValueError("expected [start, end), null where it is open")
        return tuple(_date(each) for each in value)

    @field_validator("access", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, Mapping) else value

    @field_validator("identity")
    @classmethod
    def _known_identity(cls, value: str) -> str:
        if value not in _IDENTITIES and not _compiled(value).groups:
            raise ValueError(
                f"expected {', '.join(_IDENTITIES)} or a regular expression with a group"
            )
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if bool(self.access) == (self.collection.product is not None):
            raise ValueError("access: name where the granules lie; only for a product leave it out")
        names = [each.name for each in self.access]
        if len(set(names)) < len(names):
            raise ValueError(f"access: names must differ, found {', '.join(names)}")
        start, end = self.temporal
        if start is not None and end is not None and start >= end:
            raise ValueError(f"temporal: the end {end:%Y-%m-%d} must come after the start")
        if self.swath is not None and self.level != "L2":
            raise ValueError(f"swath: only for level L2, found level {self.level}")
        both = set(self.load) & set(self.drop)
        if both:
            raise ValueError(f"drop: {', '.join(sorted(both))} are in load too")
        return self

    @property
    def name(self) -> str:
        """How asset keys call it."""
        return collection_name(self.collection.short_name)

    @property
    def split_by(self) -> PartitionBy:
        """What its references are partitioned by."""
        return self.partition or ("cycle" if self.swath is not None else "month")

    def query(self) -> "CmrQuery":
        """The granules that belong into the store."""
        # Here and below imported late: what only looks at products needs no HTTP client.
        from dor_ecco_assets.virtual.cmr import CmrQuery

        scope = self.collection
        start, end = self.temporal
        if scope.concept_id is not None:
            return CmrQuery(concept_id=scope.concept_id, start=start, end=end)
        return CmrQuery(
            short_name=scope.short_name,
            version=scope.version,
            provider=scope.provider,
            start=start,
            end=end,
        )

    def identity_of(self, record: GranuleRecord) -> str:
        """What two revisions of the same granule, or two granules for one place, share.

        Raises
        ------
        ValueError
            If the record does not tell; says what it lacks.
        """
        if self.identity == "begin":
            if record.begin is None:
                raise ValueError("the record has no time")
            return f"{record.begin:%Y-%m-%dT%H:%M:%S}"
        if self.identity == "cycle_pass":
            cycle, number = self.track_of(record)
            if cycle is None or number is None:
                raise ValueError("neither the record nor the name tells cycle and pass")
            return f"{cycle:04d}_{number:04d}"
        if self.identity == "granule_ur":
            return _without_production_time(record)
        found = _compiled(self.identity).search(record.granule_ur)
        if found is None:
            raise ValueError(f"the name {record.granule_ur} does not fit identity {self.identity}")
        return "_".join(group or "" for group in found.groups())

    def track_of(self, record: GranuleRecord) -> tuple[int | None, int | None]:
        """Cycle and pass: of the record, else of the granule's name as `swath.track` reads it."""
        if record.cycle is not None and record.pass_number is not None:
            return record.cycle, record.pass_number
        if self.swath is not None and self.swath.track is not None:
            found = _compiled(self.swath.track).search(record.granule_ur)
            if found is not None:
                return int(found["cycle"]), int(found["pass"])
        return record.cycle, record.pass_number


def _date(value: Any) -> Any:
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if isinstance(value, str):
        from dor_ecco_assets.virtual.cmr import parse_date

        try:
            return parse_date(value)
        except ConfigurationError as error:
            raise ValueError(error.message) from error
    return value


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression ({error})") from error


def _without_production_time(record: GranuleRecord) -> str:
    """The granule's name without the time at which its file was made, where it stands in it."""
    name = record.granule_ur
    for form in _PRODUCTION_STAMPS if record.production_date is not None else ():
        stamp = f"{record.production_date:{form}}"
        for joined in (f"_{stamp}", f"-{stamp}"):
            if joined in name:
                return name.replace(joined, "")
    return name


def partition_of(spec: StoreSpec, record: GranuleRecord) -> str | None:
    """The partition of a granule: its month ``2002-06`` or cycle ``0012``; None if it has none."""
    if spec.split_by == "cycle":
        cycle = spec.track_of(record)[0]
        return None if cycle is None else f"{cycle:04d}"
    return None if record.begin is None else f"{record.begin:%Y-%m}"


class OwnCollections(Strict):
    """Products of this platform that have a virtual store: ``configs/own_collections.yaml``."""

    products: tuple[str, ...] = Field(
        (),
        description="keys of products of one granule per month or day; ecco/* is all of them",
    )
    load: tuple[str, ...] = Field((), description="arrays whose values are kept")
    interval_s: int = Field(900, ge=10, description="between two looks of the sensors at records")

    def specs(self, known: Sequence[str]) -> list[StoreSpec]:
        """The stores of these products; a pattern means those of the known ones that fit it."""
        keys: dict[str, None] = {}
        for given in self.products:
            found = fnmatch.filter(known, given) if "*" in given else [given]
            keys |= dict.fromkeys(found)
        return [
            StoreSpec.model_validate(
                {
                    "collection": {"short_name": key.rpartition("/")[2], "product": key},
                    "title": f"all granules of {key}",
                    "level": "L4",
                    "load": self.load,
                    "interval_s": self.interval_s,
                }
            )
            for key in keys
        ]


@lru_cache(maxsize=4)
def load_collections(configs: str | None = None) -> dict[str, StoreSpec]:
    """Every configured store of an archive's granules, by the name in its asset keys.

    Parameters
    ----------
    configs : str, optional
        The user's overlay of ``configs/``.

    Raises
    ------
    ConfigurationError
        Names the file and the key; code ``TwoCollections`` if two files mean the same keys.
    """
    found: dict[str, tuple[str, StoreSpec]] = {}
    for name in config_names(f"{FOLDER}/*", configs):
        spec = load_config(StoreSpec, f"{FOLDER}/{name}.yaml", configs)
        if spec.name in found:
            raise ConfigurationError(
                f"{FOLDER}/{found[spec.name][0]}.yaml and {FOLDER}/{name}.yaml both describe "
                f"virtual/{spec.name}; remove one, or give one another short_name",
                code="TwoCollections",
            )
        found[spec.name] = (name, spec)
    return {name: spec for name, (_, spec) in found.items()}


def own_collections(configs: str | None, known: Sequence[str]) -> dict[str, StoreSpec]:
    """The stores of this platform's own products, as `load_collections` gives those of archives.

    Parameters
    ----------
    configs : str or None
        The user's overlay of ``configs/``.
    known : sequence of str
        Keys of the products of one granule per month or day.

    Raises
    ------
    ConfigurationError
        Code ``TwoCollections``.
    """
    of_archives = load_collections(configs)
    found: dict[str, StoreSpec] = {}
    for spec in load_config(OwnCollections, f"{OWN}.yaml", configs).specs(known):
        if spec.name in of_archives:
            raise ConfigurationError(
                f"{OWN}.yaml and a file of {FOLDER}/ both describe virtual/{spec.name}; remove it "
                "from one of them",
                code="TwoCollections",
            )
        found[spec.name] = spec
    return found
