"""Comparing granules, or folders of them, and re-stamping their metadata."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from dor_ecco_assets.cli.common import ConfigsOption, JsonOption, say, show, tracked

#: Differences of one pair of files that a table shows; ``--json`` gives all.
MOST_SHOWN = 20


def compare(
    first: Annotated[Path, typer.Argument(help="A granule, or a folder of them.")],
    second: Annotated[Path, typer.Argument(help="Another.")],
    rtol: Annotated[float, typer.Option(min=0, help="Allowed relative difference.")] = 0.0,
    atol: Annotated[float, typer.Option(min=0, help="Allowed absolute difference.")] = 0.0,
    ignore_dates: Annotated[
        bool, typer.Option("--ignore-dates", help="Leave out uuid and date_ attributes.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Tell what differs between two granules or folders: structure, attributes, values.

    Ends with 0 if nothing does, with 1 if something does and with 2 if something could not be
    compared.
    """
    from dor_ecco_assets.ecco.comparison import Comparison, Tolerance
    from dor_ecco_assets.ecco.comparison import compare as compare_files
    from dor_ecco_assets.errors import DorEccoError

    found: dict[str, Comparison] = {}
    unread: dict[str, str] = {}
    try:
        pairs, only = _pairs(first, second)
    except DorEccoError as error:
        say(f"error: {error.message} [{error.code}]")
        raise typer.Exit(2) from error
    for name, a, b in tracked(pairs, "comparing"):
        try:
            found[name] = compare_files(a, b, Tolerance(rtol, atol), ignore_dates=ignore_dates)
        except DorEccoError as error:
            unread[name] = error.message
            say(f"not compared: {name}: {error.message} [{error.code}]")
    equal = not only and not unread and all(each.equal for each in found.values())
    if as_json:
        files = {name: each.as_json() for name, each in found.items()}
        told = {"equal": equal, "only_in": only, "files": files, "not_compared": unread}
        print(json.dumps(told, indent=1))
    else:
        for side, names in only.items():
            for name in names:
                print(f"{name}: only in {side}")
        for name, each in found.items():
            if not each.equal:
                _tell(name, each)
        different = sum(not each.equal for each in found.values())
        print(
            f"{len(found)} compared, {different} different, {sum(map(len, only.values()))} unpaired"
            + (f", {len(unread)} not compared" if unread else "")
        )
    if not equal:
        raise typer.Exit(2 if unread else 1)


def _pairs(first: Path, second: Path) -> tuple[list[tuple[str, Path, Path]], dict[str, list[str]]]:
    """Files to compare, and the names that only one of two folders has."""
    from dor_ecco_assets.ecco.comparison import granules_below
    from dor_ecco_assets.errors import ConfigurationError

    if first.is_dir() != second.is_dir() and first.exists() and second.exists():
        raise ConfigurationError(
            f"{first} and {second} are a file and a folder; name two files or two folders",
            code="UnlikePlaces",
        )
    if not first.is_dir():
        return [(first.name, first, second)], {}
    a, b = granules_below(first), granules_below(second)
    only = {str(first): sorted(a.keys() - b.keys()), str(second): sorted(b.keys() - a.keys())}
    pairs = [(name, a[name], b[name]) for name in a if name in b]
    return pairs, {side: names for side, names in only.items() if names}


def _tell(name: str, found: Any) -> None:
    print(f"{name}:")
    texts = [*found.structure, *found.attributes]
    for text in texts[:MOST_SHOWN]:
        print(f"  {text}")
    if len(texts) > MOST_SHOWN:
        print(f"  and {len(texts) - MOST_SHOWN} more; --json lists them all")
    if found.values:
        show([_row(value) for value in found.values], as_json=False, title="Values")


def _row(value: Any) -> dict[str, Any]:
    def number(found: float | None) -> str:
        return "" if found is None else f"{found:.6g}"

    place = "" if value.where is None else ", ".join(f"{d} {n}" for d, n in value.where.items())
    return {
        "name": value.name,
        "kind": value.kind,
        "cells": value.cells,
        "missing_in_one": value.missing,
        "largest_difference": number(value.max_abs),
        "largest_relative": number(value.max_rel),
        "at": place,
    }


def annotate(
    places: Annotated[list[Path], typer.Argument(help="Granules, or folders of them.")],
    strip: Annotated[
        bool, typer.Option("--strip", help="Remove attributes that the catalogue does not give.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would change and change nothing.")
    ] = False,
    configs: ConfigsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give granules the catalogue's attributes in place; their data stay as they are stored.

    A granule of a production is refused: change the catalogue and make it again.
    """
    from dor_ecco_assets.ecco.annotation import annotate as annotate_file
    from dor_ecco_assets.ecco.catalogue import load_catalogue
    from dor_ecco_assets.ecco.comparison import granules_below
    from dor_ecco_assets.errors import DorEccoError, InputMissing
    from dor_ecco_assets.lineage.product import RunSettings

    catalogue = load_catalogue(configs)
    settings = RunSettings.from_environment()
    paths: list[Path] = []
    for place in places:
        if not place.exists():
            raise InputMissing(f"there is no {place}", code="NoSuchFile")
        paths += granules_below(place).values() if place.is_dir() else [place]
    rows: list[dict[str, Any]] = []
    failed = 0
    for path in tracked(paths, "annotating"):
        try:
            changes = annotate_file(path, catalogue, settings, strip=strip, dry_run=dry_run)
        except DorEccoError as error:
            failed += 1
            place = "" if path.name in error.message else f"{path}: "
            say(f"failed: {place}{error.message} [{error.code}]")
            rows.append({"file": str(path), "became": "failed", "changes": [error.message]})
            continue
        became = "up to date" if not changes else "would change" if dry_run else "changed"
        rows.append({"file": str(path), "became": became, "changes": list(map(str, changes))})
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        for row in rows:
            if row["became"] == "failed":
                continue  # said above
            number = len(row["changes"])
            print(f"{row['file']}: {row['became']}, {number} attribute{'' if number == 1 else 's'}")
            for text in row["changes"] if dry_run else ():
                print(f"  {text}")
    if failed:
        raise typer.Exit(1)
