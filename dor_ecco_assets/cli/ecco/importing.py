"""Import what other ECCO productions were configured with, and their mapping factors."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dor_ecco_assets.cli.common import (
    ConfigsOption,
    DataOption,
    JsonOption,
    ProfileOption,
    ProjectOption,
    RootOption,
    Where,
    say,
    show,
)

if TYPE_CHECKING:
    from dor_ecco_assets.ecco.importing.overlay import Imported

app = typer.Typer(
    help="Import metadata folders, configurations and mapping factors of ECCO-Dataset-Production.",
    no_args_is_help=True,
)

OutOption = Annotated[Path, typer.Option(help="New folder for the overlay; use it by --configs.")]
ProvenanceOption = Annotated[
    bool, typer.Option(help="Print file and entry that each setting was taken from.")
]


@app.command("metadata")
def metadata(
    folder: Annotated[Path, typer.Argument(help="Folder with the JSON files and the table.")],
    out: OutOption,
    table: Annotated[
        str | None, typer.Option(help="The table (CSV) of the folder, where there are several.")
    ] = None,
    tolerant: Annotated[
        bool, typer.Option(help="Mend commas, fill gaps from the table, leave out what is left.")
    ] = False,
    configs: ConfigsOption = None,
    provenance: ProvenanceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a metadata folder as an overlay of configs/, and say what could not be carried over."""
    from dor_ecco_assets.ecco.importing.metadata import import_metadata
    from dor_ecco_assets.ecco.importing.overlay import write_overlay
    from dor_ecco_assets.ecco.importing.table import check_table, published_datasets
    from dor_ecco_assets.products import all_products

    overlay = None if configs is None else str(configs)
    imported, rows = import_metadata(folder, table=table, tolerant=tolerant, configs=overlay)
    write_overlay(imported, out, configs=overlay)
    findings: list[dict[str, str]] = []
    if rows:
        version = imported.files["ecco/release.yaml"]["version"]
        datasets = published_datasets(all_products(str(out)), version)
        findings = check_table(rows, datasets, version)
    _report(imported, out, provenance=provenance, as_json=as_json, findings=findings)


@app.command("config")
def config(
    file: Annotated[Path, typer.Argument(help="A product_generation_config.yaml.")],
    out: OutOption,
    configs: ConfigsOption = None,
    provenance: ProvenanceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a production's configuration as an overlay of configs/."""
    from dor_ecco_assets.ecco.importing.generation import import_generation_config, read_text
    from dor_ecco_assets.ecco.importing.overlay import write_overlay

    overlay = None if configs is None else str(configs)
    imported = import_generation_config(read_text(file), file.name, configs=overlay)
    write_overlay(imported, out, configs=overlay)
    _report(imported, out, provenance=provenance, as_json=as_json, findings=[])


@app.command("factors")
def factors(
    folder: Annotated[Path, typer.Argument(help="Folder with sparse/sparse_matrix_<k>.npz.")],
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hold per-level sparse mapping factors against ours: indices and weights, level by level."""
    from dor_ecco_assets.ecco.catalogue import load_catalogue
    from dor_ecco_assets.mapping.factors import from_dataset
    from dor_ecco_assets.mapping.importing import compare_factors

    where = Where(project, root, data, configs, profile)
    places = where.places()
    workspace = where.workspace()
    key = load_catalogue(places.configs).factors
    workspace.make(key, "")
    rows = compare_factors(folder, from_dataset(workspace.open_upstream(key)))
    show([row.as_row() for row in rows], as_json=as_json, title=f"Compared with {key}")
    if any(row.different for row in rows):
        raise typer.Exit(1)


def _report(
    imported: "Imported",
    out: Path,
    *,
    provenance: bool,
    as_json: bool,
    findings: list[dict[str, str]],
) -> None:
    import json

    if as_json:
        found: dict[str, Any] = {
            "out": str(out),
            "files": list(imported.files),
            "mended": imported.mended,
            "left_out": imported.left_out,
            "table": findings,
            "provenance": imported.provenance,
        }
        print(json.dumps(found, indent=1))
        return
    if provenance:
        rows = [{"setting": name, "from": source} for name, source in imported.provenance.items()]
        show(rows, as_json=False, title="Taken over")
    show(imported.left_out, as_json=False, title="Not carried over")
    if findings:
        show(findings, as_json=False, title="Table and catalogue")
    for line in imported.mended:
        say(f"mended: {line}")
    print(f"{len(imported.provenance)} settings taken over; use them by --configs {out}")
