"""Import a folder of metadata: JSON files by subject and grid, and PO.DAAC's table of datasets."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import ConfigDict, Field

from dor_ecco_assets.ecco.importing.overlay import Imported, read_base
from dor_ecco_assets.ecco.importing.table import Row, read_table
from dor_ecco_assets.ecco.importing.tolerant_json import read_json
from dor_ecco_assets.ecco.names import DATASETS
from dor_ecco_assets.ecco.times import FREQUENCIES, Frequency, frequency_named
from dor_ecco_assets.errors import ConfigurationError
from dor_ecco_assets.settings import Strict, parse_config

__all__ = ["import_metadata", "release_table"]

Grid = Literal["native", "latlon", "1D"]

#: Subject of a file, and its grid; what stands before, such as a version, does not matter.
_FILE = re.compile(
    r"(?P<kind>geometry_metadata|global_metadata|groupings|variable_metadata|coordinate_metadata)"
    r"(?:_for_(?P<grid>1D|latlon|native|all)_datasets)?\.json$"
)
_FOR_PEOPLE = re.compile(r"dataset_summary\.json$|\.(txt|tabsv|md|pdf|docx?)$", re.IGNORECASE)

#: Global attributes that a granule works out itself.
_COMPUTED = (
    *("comment", "keywords", "summary", "metadata_link", "product_name", "title", "uuid", "id"),
    *("date_created", "date_issued", "date_modified", "date_metadata_modified"),
    *("time_coverage_start", "time_coverage_end", "identifier_product_doi"),
    *("geospatial_lat_resolution", "geospatial_lon_resolution", "product_time_coverage_start"),
)


class _Entry(Strict):
    name: str


class _Attribute(_Entry):
    type: Literal["s", "f", "i"]
    value: str | float
    grid_dimension: str | None = None


class _Described(_Entry):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    long_name: str | None = None
    standard_name: str | None = None
    units: str | None = None
    comment: str | None = None
    comments_1: str | None = None
    comments_2: str | None = None
    direction: str | None = None
    axis: str | None = None
    bounds: str | None = None
    positive: str | None = None
    coordinate: str | None = None
    valid_min: str | float | None = None
    valid_max: str | float | None = None
    swap_dim: str | None = None
    c_grid_axis_shift: str | float | None = None
    keywords: str | None = Field(None, alias="GCMD_keywords")
    grid_dimension: str | None = None
    grid_location: str | None = None
    coverage_content_type: str | None = None
    internal_note: str | None = Field(None, alias="internal note")
    land_mask_override: str | None = None


class _Grouping(_Entry):
    fields: str
    filename: str
    dimension: Literal["1D", "2D", "3D"]
    product: str | None = None
    frequency: str | None = None
    comment: str | None = None
    description: str | None = None
    dataset_description: str | None = None
    variable_rename: str | None = None
    field_components: dict[str, dict[str, str]] = Field(default_factory=dict[str, dict[str, str]])
    field_orientations: dict[str, str] = Field(default_factory=dict[str, str])
    vector_inputs: str | None = None
    vector_outputs: str | None = None


def import_metadata(
    folder: Path,
    *,
    table: str | None = None,
    tolerant: bool = False,
    configs: str | os.PathLike[str] | None = None,
) -> tuple[Imported, list[Row]]:
    """Read a metadata folder of ECCO-Dataset-Production over our own catalogue.

    An entry takes the place of ours of the same name, but for where a variable lies on the grid,
    which released files state inconsistently: there ours holds.

    Parameters
    ----------
    folder : Path
    table : str, optional
        Name of the table in it; needed where several disagree.
    tolerant : bool
        Mend commas, fill a grouping's missing `product` from its file's name and its missing
        `frequency` from the table, and leave out groupings that cannot be made.
    configs : path, optional
        Overlay of ``configs/`` to start from.

    Returns
    -------
    imported : Imported
    rows : list of Row
        Of the table; empty where the folder has none.

    Raises
    ------
    ConfigurationError
        Code ``NotJson``, ``BadConfig`` (an entry does not fit), ``PodaacTable``, ``NoMetadata``,
        or ``GroupingIncomplete``, which lists all groupings that lack something.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"{folder} is no folder of metadata", code="NoMetadata")
    imported = Imported()
    files = _read_files(folder, imported, tolerant=tolerant)
    if not any(kind == "groupings" for kind, _, _, _ in files):
        raise ConfigurationError(
            f"{folder} has no *groupings_for_<grid>_datasets.json; expected a metadata folder",
            code="NoMetadata",
        )
    base = _Base(configs)
    version = _release(files, base, imported)
    rows = release_table(folder, version, table, imported)
    _variables(files, base, imported)
    _coordinates(files, base, imported)
    _groupings(files, base, imported, rows, tolerant=tolerant)
    imported.files = base.files
    return imported, rows


class _Base:
    """Our own files as plain values, which an import changes."""

    def __init__(self, configs: str | os.PathLike[str] | None) -> None:
        names = ("release", "variables", "groupings", "coordinates", "static", "series")
        self.files: dict[str, Any] = {
            f"ecco/{name}.yaml": read_base(f"ecco/{name}.yaml", configs) for name in names
        }
        self.release: dict[str, Any] = self.files["ecco/release.yaml"]
        self.variables: dict[str, Any] = self.files["ecco/variables.yaml"]
        self.groupings: list[dict[str, Any]] = self.files["ecco/groupings.yaml"]
        self.coordinates: dict[str, Any] = self.files["ecco/coordinates.yaml"]
        self.static: dict[str, Any] = self.files["ecco/static.yaml"]
        self.series: dict[str, Any] = self.files["ecco/series.yaml"]

    def holders(self, name: str) -> Iterator[tuple[dict[str, Any], str]]:
        """Every place that describes a variable, with the place's name."""
        if name in self.variables:
            yield self.variables[name], f"variables.{name}"
        for section in ("mixing", "geometry"):
            if name in self.static[section]:
                yield self.static[section][name], f"static.{section}.{name}"
        if name in self.series["variables"]:
            yield self.series["variables"][name], f"series.variables.{name}"


#: Kind, grid, name of the file, entries.
_Files = list[tuple[str, str, str, list[dict[str, Any]]]]


def _read_files(folder: Path, imported: Imported, *, tolerant: bool) -> _Files:
    files: _Files = []
    for path in sorted(folder.iterdir()):
        found = _FILE.search(path.name)
        if found is None:
            if path.suffix != ".csv" and path.is_file():
                why = (
                    "prose for people"
                    if _FOR_PEOPLE.search(path.name)
                    else "import it with `dor-ecco ecco import config`"
                    if path.suffix in (".yaml", ".yml")
                    else "nothing here reads such a file"
                )
                imported.leave_out(path.name, "", why)
            continue
        entries, mended = read_json(path.read_text(), str(path), tolerant=tolerant)
        imported.mended += mended
        if not isinstance(entries, list):
            raise ConfigurationError(
                f"{path} holds {type(entries).__name__}, expected a list of entries",
                code="BadConfig",
            )
        files.append((found["kind"], found["grid"] or "", path.name, cast("Any", entries)))
    # What is for one grid stands over what is for all, the lat-lon table over the native one.
    order = ("all", "", "native", "latlon", "1D")
    return sorted(files, key=lambda item: order.index(item[1]))


def _entries[M: Strict](files: _Files, kind: str, model: type[M]) -> Iterator[tuple[str, str, M]]:
    """Grid, file and content of every entry of one kind, each held against its model."""
    for found, grid, file, entries in files:
        if found == kind:
            for number, entry in enumerate(entries):
                yield grid, file, parse_config(model, entry, f"{file}, entry {number}")


def _release(files: _Files, base: _Base, imported: Imported) -> str:
    """Global attributes, into the release; returns the version that they name."""
    release = base.release
    attributes: dict[str, Any] = release["global_attributes"]
    special = {
        "keywords": ("common_keyword", "release.common_keyword"),
        "summary": ("project_summary", "release.project_summary"),
        "product_time_coverage_end": (
            "product_time_coverage_end",
            "release.product_time_coverage_end",
        ),
    }
    for grid, file, entry in _entries(files, "global_metadata", _Attribute):
        source = f"{file}: {entry.name}"
        name, value = entry.name, _typed(entry)
        if name == "comment" and grid in release["grids"]:
            imported.carry(
                release["grids"][grid], "comment", value, f"release.grids.{grid}.comment", source
            )
        elif name == "comment" and grid == "1D":
            imported.carry(base.series["words"], "comment", value, "series.words.comment", source)
        elif name in special and grid in ("all", ""):
            imported.carry(release, special[name][0], value, special[name][1], source)
        elif isinstance(value, str) and value.startswith("TBD_"):
            imported.leave_out(file, name, f"a placeholder, {value}; granules work it out")
        elif name in _COMPUTED or name.startswith("geospatial_vertical"):
            imported.leave_out(file, name, f"granules work it out; here it is {value}")
        else:
            imported.carry(attributes, name, value, f"release.global_attributes.{name}", source)
    stated = str(attributes.get("product_version", ""))
    number = re.search(r"Version (\d+),? Release (\d+\w?)", stated, re.IGNORECASE)
    if number is not None:
        release["version"] = f"V{number[1]}r{number[2]}"
        imported.provenance["release.version"] = f"product_version: {stated}"
    if release["version"].lower() != "v4r4" and "identifier" in release:
        release["identifier"] = "short_name"  # only V4r4 has DOIs that follow from a rule
        imported.provenance["release.identifier"] = f"follows from version {release['version']}"
    return release["version"]


def _typed(entry: _Attribute) -> str | float:
    if entry.type == "s":
        return str(entry.value)
    try:
        return float(entry.value)
    except ValueError as error:
        raise ConfigurationError(
            f"global attribute {entry.name} is {entry.value!r}, expected a number (type "
            f"{entry.type})",
            code="BadConfig",
        ) from error


def release_table(folder: Path, version: str, table: str | None, imported: Imported) -> list[Row]:
    """Rows of the folder's table for one release; see `import_metadata`."""
    read = {
        path.name: read_table(path.read_text(encoding="utf-8-sig"), path.name)
        for path in sorted(folder.glob("*.csv"))
    }
    if table is not None:
        if table not in read:
            raise ConfigurationError(
                f"{folder} has no table {table}; it has {', '.join(read) or 'none'}",
                code="PodaacTable",
            )
        chosen = [table]
    else:
        chosen = [name for name, rows in read.items() if _is_of(rows, version)]
    distinct = {
        frozenset((r.filename.lower(), r.short_name, r.doi) for r in read[n]) for n in chosen
    }
    if len(distinct) > 1:
        raise ConfigurationError(
            f"{folder} has several tables of {version} that disagree: {', '.join(chosen)}; choose "
            "one with --table",
            code="PodaacTable",
        )
    for name in read:
        if name not in chosen[:1]:
            why = (
                "says the same as another table" if name in chosen else f"not a table of {version}"
            )
            imported.leave_out(name, "", "another table was chosen" if table else why)
    return read[chosen[0]] if chosen else []


def _is_of(rows: Sequence[Row], version: str) -> bool:
    named = [row.granule for row in rows if row.granule is not None]
    same = all(name.version.lower() == version.lower() for name in named)
    return bool(named) and same and any(row.doi for row in rows)


def _variables(files: _Files, base: _Base, imported: Imported) -> None:
    wanted = _published(files)
    seen: dict[str, str] = {}
    kinds = [
        item
        for kind in ("variable_metadata", "geometry_metadata")
        for item in _entries(files, kind, _Described)
    ]
    for _grid, file, entry in kinds:
        values = _described(entry)
        source = f"{file}: {entry.name}"
        if entry.name in seen:
            _leave_out_second(entry, file, seen[entry.name], values, base, imported)
            continue
        seen[entry.name] = file
        holders = list(base.holders(entry.name))
        if not holders and entry.name in wanted:
            location = (entry.grid_location or "c").upper()
            base.variables[entry.name] = {"location": location if location in "CUVW" else "C"}
            imported.provenance[f"variables.{entry.name}.location"] = source
            holders = list(base.holders(entry.name))
        if not holders:
            imported.leave_out(file, entry.name, "no dataset here holds it")
            continue
        for holder, place in holders:
            for name, value in values.items():
                if name == "units" and holder.get("units", value) != value:
                    why = f"units {value}; the model writes {holder['units']}, so that stays"
                    imported.leave_out(file, entry.name, why)
                else:
                    imported.carry(holder, name, value, f"{place}.{name}", source)
            for name in ("standard_name", "direction"):  # ours would say what theirs does not
                if name in holder and name not in values:
                    del holder[name]
            ours = holder.get("location", "C")
            stated = (entry.grid_location or "").upper()
            if stated and place.startswith("variables") and stated != ours:
                why = f"grid_location {stated}; the catalogue's {ours} decides dimensions and mask"
                imported.leave_out(file, entry.name, why)
        _tell_unused(entry, file, imported)


def _published(files: _Files) -> set[str]:
    """Names that any grouping publishes."""
    return {
        name
        for grid, _, grouping in _entries(files, "groupings", _Grouping)
        if grid != "1D"
        for name in _names(grouping)
    }


def _described(entry: _Described) -> dict[str, Any]:
    """What of an entry a variable of ours says."""
    keywords = [word.strip() for word in (entry.keywords or "").split(",") if word.strip()]
    comment = _joined(entry.comments_1 or entry.comment, entry.comments_2)
    found = {
        "long_name": (entry.long_name or "").strip(),
        "units": (entry.units or "").strip(),
        "standard_name": (entry.standard_name or "").strip(),
        "comment": comment,
        "direction": (entry.direction or "").strip(),
        "keywords": keywords,
    }
    return {name: value for name, value in found.items() if value}


def _joined(first: str | None, second: str | None) -> str:
    """Two parts of a comment, with a full stop between them."""
    parts = [part.strip() for part in (first, second) if part and part.strip()]
    if len(parts) == 2 and parts[0][-1] not in ".!?":
        parts[0] += "."
    return " ".join(parts)


def _tell_unused(entry: _Described, file: str, imported: Imported) -> None:
    if entry.internal_note:
        imported.leave_out(file, entry.name, "internal note; never written")
    if entry.land_mask_override:
        imported.leave_out(file, entry.name, "land_mask_override; location decides the mask here")
    if entry.coverage_content_type not in (None, "modelResult"):
        why = f"coverage_content_type {entry.coverage_content_type}; variables say modelResult"
        imported.leave_out(file, entry.name, why)


def _leave_out_second(
    entry: _Described,
    file: str,
    first: str,
    values: Mapping[str, Any],
    base: _Base,
    imported: Imported,
) -> None:
    """Say what a second description of a variable says otherwise: ours has one for all grids."""
    for holder, _ in base.holders(entry.name):
        other = [name for name, value in values.items() if holder.get(name) != value]
        if other:
            why = f"{', '.join(other)} are not as in {first}, which holds for both grids"
            imported.leave_out(file, entry.name, why)


def _coordinates(files: _Files, base: _Base, imported: Imported) -> None:
    sections = base.coordinates
    first: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
    for grid, file, entry in _entries(files, "coordinate_metadata", _Described):
        is_time = entry.name.startswith("time")
        section = "time" if is_time else grid
        if grid == "1D" or section not in sections or entry.name not in sections[section]:
            imported.leave_out(file, entry.name, "no granule here has this coordinate")
            continue
        given = entry.model_dump(by_alias=False)
        keep = ("long_name", "standard_name", "comment", "axis", "bounds", "positive")
        values = {
            n: given[n].strip() for n in keep if isinstance(given[n], str) and given[n].strip()
        }
        if given["units"] and not is_time:
            values["units"] = given["units"]
        elif given["units"]:
            imported.leave_out(file, entry.name, f"units {given['units']!r} follow from the clock")
        place = (section, entry.name)
        if place in first:
            if first[place][1] != values:
                why = f"not as in {first[place][0]}, which holds for both grids"
                imported.leave_out(file, entry.name, why)
            continue
        first[place] = (file, values)
        for name, value in values.items():
            setting = f"coordinates.{section}.{entry.name}.{name}"
            imported.carry(
                sections[section][entry.name], name, value, setting, f"{file}: {entry.name}"
            )


def _groupings(
    files: _Files, base: _Base, imported: Imported, rows: Sequence[Row], *, tolerant: bool
) -> None:
    """Groupings in the order of the native file, those of the other grid alone put in between."""
    ours = {grouping["stem"]: grouping for grouping in base.groupings}
    static = {grouping["stem"]: grouping for grouping in base.static["groupings"]}
    order: list[str] = []
    frequencies: dict[str, dict[str, list[Frequency]]] = {}
    merged: dict[str, dict[str, Any]] = {}
    problems: list[str] = []
    last = -1
    grid_before = ""
    for grid, file, entry in _entries(files, "groupings", _Grouping):
        stem = entry.filename.strip()
        if grid == "1D":
            _series(entry, base, file, imported)
            continue
        try:
            often = _frequencies(entry, grid, file, rows, imported, tolerant=tolerant)
            names = _publishable(entry, base, file, imported, tolerant=tolerant)
        except ConfigurationError as error:
            problems.append(error.message)
            imported.leave_out(file, stem, error.message)
            continue
        source = f"{file}: {stem}"
        if often == ["TI"] and stem in static:
            for name, value in (("name", entry.name), (grid, names)):
                imported.carry(static[stem], name, value, f"static.{stem}.{name}", source)
            continue
        if "TI" in often:
            why = f"{file}: {stem} is time-invariant; ecco/static.yaml does not describe it"
            problems.append(why)
            imported.leave_out(file, stem, why)
            continue
        if grid != grid_before:
            grid_before, last = grid, -1
        if stem not in merged:
            last += 1
            order.insert(last if grid != "native" else len(order), stem)
            merged[stem] = {**ours.get(stem, {"stem": stem, "title": _title(rows, stem, grid)})}
            for old in ("native", "latlon", "comment"):
                merged[stem].pop(old, None)
        else:
            last = order.index(stem)
        _carry_grouping(merged[stem], entry, names, grid, source, imported)
        frequencies.setdefault(stem, {})[grid] = often
        _components(entry, base, file, imported)
    if problems and not tolerant:
        raise ConfigurationError(
            "\n".join(
                [
                    f"{len(problems)} groupings cannot be imported as they are; --tolerant fills "
                    "what file names and the table tell, and leaves out and lists the others",
                    *problems,
                ]
            ),
            code="GroupingIncomplete",
        )
    for stem, by_grid in frequencies.items():
        union = [code for code in FREQUENCIES if any(code in often for often in by_grid.values())]
        merged[stem]["frequencies"] = list(union)
        lacking = set(union) - set(by_grid.get("latlon", union)) - {"SNAP"}
        if lacking:
            why = f"published on latlon as {', '.join(sorted(lacking))} too: frequencies are shared"
            imported.leave_out("groupings", stem, why)
    for stem in ours:
        if stem not in merged:
            imported.leave_out("", stem, "our grouping is not in the folder, so not in the overlay")
    base.groupings[:] = [merged[stem] for stem in order]


def _series(entry: _Grouping, base: _Base, file: str, imported: Imported) -> None:
    """What a grouping of time series says of itself; how they are made is not in such files."""
    stem = entry.filename.strip()
    described = [ours for ours in base.series["series"] if ours["stem"] == stem]
    for ours in described:
        for name, value in (("name", entry.name), ("comment", entry.comment)):
            if value:
                imported.carry(ours, name, value, f"series.{stem}.{name}", f"{file}: {stem}")
        if set(_names(entry)) != set(ours["variables"]):
            why = f"fields {entry.fields}; ecco/series.yaml says what is in it"
            imported.leave_out(file, stem, why)
    if not described:
        imported.leave_out(file, stem, "ecco/series.yaml does not say how this series is made")


def _carry_grouping(
    holder: dict[str, Any],
    entry: _Grouping,
    names: list[str],
    grid: str,
    source: str,
    imported: Imported,
) -> None:
    stem = holder["stem"]
    place = f"groupings.{stem}"
    imported.carry(holder, grid, names, f"{place}.{grid}", source)
    told = f"{place}.name" in imported.provenance
    comment = _joined(entry.comment, None)
    for name, value in (("name", entry.name), ("dimension", entry.dimension), ("comment", comment)):
        if not value:
            continue
        if told and holder.get(name) != value:
            if name == "comment" and name not in holder:
                imported.carry(holder, name, value, f"{place}.{name}", source)
            else:
                imported.leave_out(
                    source.split(":")[0], stem, f"{name} {value[:60]!r}; one holds for both grids"
                )
        elif not told:
            imported.carry(holder, name, value, f"{place}.{name}", source)
    for name in ("description", "dataset_description"):
        if getattr(entry, name):
            imported.leave_out(source.split(":")[0], stem, f"{name}; summaries are put together")


def _names(entry: _Grouping) -> list[str]:
    """Published names of a grouping's fields."""
    renamed: dict[str, str] = {}
    for pair in (entry.variable_rename or "").split(","):
        old, _, new = pair.partition(":")
        if new:
            renamed[old.strip()] = new.strip()
    fields = [field.strip() for field in entry.fields.split(",") if field.strip()]
    return [renamed.get(field, field) for field in fields]


def _frequencies(
    entry: _Grouping,
    grid: str,
    file: str,
    rows: Sequence[Row],
    imported: Imported,
    *,
    tolerant: bool,
) -> list[Frequency]:
    where = f"{file}: {entry.filename}"
    lacking = [name for name in ("product", "frequency") if getattr(entry, name) is None]
    if lacking and not tolerant:
        raise ConfigurationError(f"{where} has no {' and no '.join(lacking)}")
    if entry.product is None:
        imported.mended.append(f"{where}: product {grid}, from the file's name")
    if entry.frequency is not None:
        return [frequency_named(word) for word in entry.frequency.split(",") if word.strip()]
    found = {
        row.dataset[2]
        for row in rows
        if row.dataset and row.dataset[:2] == (entry.filename.strip().upper(), grid)
    }
    often: list[Frequency] = [code for code in FREQUENCIES if code in found]
    if not often:
        raise ConfigurationError(f"{where} has no frequency, nor a row in the table that tells it")
    imported.mended.append(f"{where}: frequency {', '.join(often)}, from the table's rows")
    return often


def _publishable(
    entry: _Grouping, base: _Base, file: str, imported: Imported, *, tolerant: bool
) -> list[str]:
    """Names of a grouping that some metadata describe."""
    stem = entry.filename.strip()
    names = [name for name in _names(entry) if list(base.holders(name))]
    unknown = ", ".join(name for name in _names(entry) if name not in names)
    if unknown and not (tolerant and names):
        raise ConfigurationError(
            f"{file}: {stem} names {unknown}, which no variable metadata describe"
        )
    if unknown:
        imported.leave_out(file, stem, f"its fields {unknown}: no variable metadata describe them")
    if stem not in DATASETS:
        raise ConfigurationError(
            f"{file}: {stem} is a dataset without a short name; known are {', '.join(DATASETS)}"
        )
    return names


def _components(entry: _Grouping, base: _Base, file: str, imported: Imported) -> None:
    """Which two fields a component is turned from, in either spelling."""
    pairs = {name: (of["x"], of["y"]) for name, of in entry.field_components.items()}
    turned = dict(entry.field_orientations)
    outputs, inputs = (
        [word.strip() for word in (text or "").split(",") if word.strip()]
        for text in (entry.vector_outputs, entry.vector_inputs)
    )
    if len(outputs) != len(inputs) or len(inputs) % 2:
        raise ConfigurationError(
            f"{file}: {entry.filename} has vector_inputs {entry.vector_inputs!r} and "
            f"vector_outputs {entry.vector_outputs!r}; expected as many "
            "of one as of the other, in pairs",
            code="BadConfig",
        )
    for n in range(0, len(inputs), 2):
        for name, orientation in zip(outputs[n : n + 2], ("zonal", "meridional"), strict=True):
            pairs[name], turned[name] = (inputs[n], inputs[n + 1]), orientation
    for name, (x, y) in pairs.items():
        if name not in base.variables:
            imported.leave_out(file, name, "components of a variable that is not described")
            continue
        ours = base.variables[name].get("components", {})
        lies_on = base.variables.get(x, {}).get("location", "C")
        value = {
            **ours,
            "x": x,
            "y": y,
            "points": ours.get("points", "faces" if lies_on == "U" else "centres"),
            "orientation": turned.get(name, ours.get("orientation")),
        }
        setting, source = f"variables.{name}.components", f"{file}: {entry.filename}"
        imported.carry(base.variables[name], "components", value, setting, source)


def _title(rows: Sequence[Row], stem: str, grid: str) -> str:
    """Title of a dataset from the table's long name: what stands before its frequency."""
    for row in rows:
        if row.dataset and row.dataset[:2] == (stem.upper(), grid):
            return re.sub(r"^ECCO ", "", row.long_name).partition(" - ")[0].strip()
    return stem.replace("_", " ").title()
