"""PO.DAAC's table of datasets, held against ours: each dataset one row, each row one dataset."""

import csv
import io
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from dor_ecco_assets.ecco.names import (
    DATASETS,
    GranuleGrid,
    GranuleName,
    doi,
    match_granule_name,
    short_name,
)
from dor_ecco_assets.ecco.times import FREQUENCIES, Frequency
from dor_ecco_assets.errors import ConfigurationError

__all__ = ["Row", "check_table", "match_row", "published_datasets", "read_table"]

#: Columns that are used; tables have others too.
FILENAME, SHORT_NAME, LONG_NAME, IDENTIFIER = (
    "DATASET.FILENAME",
    "DATASET.SHORT_NAME",
    "DATASET.LONG_NAME",
    "DATASET.PERSISTENT_ID",
)


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Parameters
    ----------
    line : int
        Where it stands in the file, from 2.
    filename, short_name, long_name : str
    doi : str
        Empty where the table has none.
    """

    line: int
    filename: str
    short_name: str
    long_name: str
    doi: str

    @property
    def granule(self) -> GranuleName | None:
        """The parts of its example file name; None where that is no granule's."""
        return match_granule_name(self.filename)

    @property
    def dataset(self) -> tuple[str, str, str] | None:
        """Stem, grid and frequency, in upper case for comparison."""
        name = self.granule
        return None if name is None else (name.stem.upper(), name.grid, name.frequency)


def read_table(text: str, name: str) -> list[Row]:
    """Read the table.

    Raises
    ------
    ConfigurationError
        Code ``PodaacTable``: a column is missing.
    """
    reader = csv.DictReader(io.StringIO(text.lstrip("\ufeff")))
    columns = reader.fieldnames or []
    missing = [column for column in (FILENAME, SHORT_NAME, IDENTIFIER) if column not in columns]
    if missing:
        raise ConfigurationError(
            f"{name} has no column {', '.join(missing)}; it has {', '.join(columns) or 'none'}",
            code="PodaacTable",
        )
    return [
        Row(
            line=reader.line_num,
            filename=(row[FILENAME] or "").strip(),
            short_name=(row[SHORT_NAME] or "").strip(),
            long_name=(row.get(LONG_NAME) or "").strip(),
            doi=_doi((row[IDENTIFIER] or "").strip()),
        )
        for row in reader
    ]


def _doi(identifier: str) -> str:
    """``PODAAC-ECG5D-ATM44`` and ``10.5067/ECG5D-ATM44`` name the same."""
    return (
        f"10.5067/{identifier.removeprefix('PODAAC-')}"
        if identifier.startswith("PODAAC-")
        else identifier
    )


def match_row(rows: Sequence[Row], stem: str, grid: GranuleGrid, frequency: Frequency) -> Row:
    """The one row of a dataset.

    Raises
    ------
    ConfigurationError
        Code ``PodaacMatch``: no row or several fit; names those that fit or come near.
    """
    wanted = (stem.upper(), grid, frequency)
    fitting = [row for row in rows if row.dataset == wanted]
    if len(fitting) == 1:
        return fitting[0]
    near = fitting or [row for row in rows if row.dataset and row.dataset[0] == wanted[0]]
    candidates = ", ".join(f"line {row.line} {row.filename}" for row in near) or "none near"
    raise ConfigurationError(
        f"{len(fitting)} rows of the table fit {stem} {grid} {frequency}, expected one; "
        f"candidates: {candidates}",
        code="PodaacMatch",
    )


def published_datasets(
    products: Container[str], version: str
) -> list[tuple[str, GranuleGrid, Frequency]]:
    """Stem, grid and frequency of every dataset that is among the products, by its short name."""
    grids: tuple[GranuleGrid, ...] = ("native", "latlon", "1D")
    return [
        (stem, grid, frequency)
        for stem in DATASETS
        for grid in grids
        for frequency in FREQUENCIES
        if (grid, frequency) != ("1D", "TI")
        and f"ecco/{short_name(stem, grid=grid, frequency=frequency, version=version)}" in products
    ]


def check_table(
    rows: Sequence[Row],
    datasets: Iterable[tuple[str, GranuleGrid, Frequency]],
    version: str,
) -> list[dict[str, str]]:
    """Hold a table against datasets, both ways.

    Parameters
    ----------
    rows : sequence of Row
    datasets : iterable of (stem, grid, frequency)
    version : str
        Release that the generated names are of.

    Returns
    -------
    list of dict
        With `dataset` and `found`: a dataset without a row or with several, a row without a
        dataset, a DOI that two rows have, a short name or DOI that is not the generated one.
    """
    findings: list[dict[str, str]] = []

    def tell(dataset: str, found: str) -> None:
        findings.append({"dataset": dataset, "found": found})

    known: set[tuple[str, str, str]] = set()
    for stem, grid, frequency in datasets:
        known.add((stem.upper(), grid, frequency))
        label = f"{stem} {grid} {frequency}"
        try:
            row = match_row(rows, stem, grid, frequency)
        except ConfigurationError as error:
            tell(label, f"PodaacMatch: {error.message}")
            continue
        for what, rule, given in (
            ("short name", short_name, row.short_name),
            ("DOI", doi, row.doi),
        ):
            try:
                ours = rule(stem, grid=grid, frequency=frequency, version=version)
            except ConfigurationError as error:
                tell(label, error.message)
                continue
            if given and given.upper() != ours.upper():
                tell(label, f"{what} is {ours} here, {given} on line {row.line}")
    for row in rows:
        if row.dataset is None:
            tell(row.filename, f"line {row.line}: this is no granule's name")
        elif row.dataset not in known:
            tell(row.filename, f"line {row.line}: the catalogue has no such dataset")
    by_doi: dict[str, list[Row]] = {}
    for row in rows:
        if row.doi:
            by_doi.setdefault(row.doi, []).append(row)
    for identifier, sharing in by_doi.items():
        if len(sharing) > 1:
            lines = ", ".join(f"line {row.line} {row.short_name}" for row in sharing)
            tell(identifier, f"PodaacMatch: {len(sharing)} rows have this DOI: {lines}")
    return findings
