"""What `dor-ecco vis` does with store 2, the maps: template, populate, status."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from dor_ecco_assets.cli.common import Where, say, show

if TYPE_CHECKING:
    from dor_ecco_assets.atlas.specification import Atlas
    from dor_ecco_assets.lineage.workspace import Workspace

__all__ = ["make_template", "populate_maps", "require_layout", "show_status"]


def _atlas(where: Where) -> "Atlas":
    from dor_ecco_assets.atlas.specification import load_atlas
    from dor_ecco_assets.pyramids.configuration import chosen_atlas

    configs = where.places().configs
    return load_atlas(chosen_atlas(configs), configs)


def require_layout(where: Where, variables: Sequence[str] | None, levels: int | None) -> None:
    """Refuse variables and levels that are not those of the configured atlas.

    Raises
    ------
    ConfigurationError
        ``OtherLayout``.
    """
    from dor_ecco_assets.errors import ConfigurationError

    atlas = _atlas(where)
    asked = {word for each in variables or () for word in each.replace(",", " ").split()}
    if asked and asked != set(atlas.variables):
        raise ConfigurationError(
            f"--variables {' '.join(sorted(asked))}: atlas {atlas.name} has "
            f"{' '.join(atlas.variables)}; mend variables in configs/atlases/{atlas.name}.yaml",
            code="OtherLayout",
        )
    if levels is not None and levels != atlas.zoom_levels:
        raise ConfigurationError(
            f"--levels {levels}: atlas {atlas.name} has {atlas.zoom_levels} zoom levels; mend "
            f"zoom_levels in configs/atlases/{atlas.name}.yaml and levels of its mapping",
            code="OtherLayout",
        )


def make_template(where: Where, output_store: Path | None, force: bool) -> None:
    """Make the stores of the atlas with nothing in them.

    Raises
    ------
    ConfigurationError
        ``StoreHoldsData``, unless forced.
    """
    from dor_ecco_assets.cli.running import report_failures, run_products
    from dor_ecco_assets.pyramids.products import ATLAS, TEMPLATE_SUFFIX
    from dor_ecco_assets.pyramids.tasks import remove_stores

    places, workspace = where.places(), where.workspace()
    storage = workspace.storage
    _require_empty(workspace, force)
    if force:
        remove_stores(storage, ATLAS)
    report_failures(run_products(places, [f"{ATLAS}{TEMPLATE_SUFFIX}"]))
    if output_store is not None:
        _copy(workspace, output_store, force)
    print(storage.locate(ATLAS))


def _require_empty(workspace: "Workspace", force: bool) -> None:
    from dor_ecco_assets.errors import ConfigurationError
    from dor_ecco_assets.pyramids.assess import status_chunks
    from dor_ecco_assets.pyramids.products import ATLAS

    held = {place for place, _ in status_chunks(workspace.storage, ATLAS)}
    if held and not force:
        raise ConfigurationError(
            f"{workspace.storage.locate(ATLAS)} holds data of {len(held)} cases; --force removes "
            "it",
            code="StoreHoldsData",
        )


def _copy(workspace: "Workspace", folder: Path, force: bool) -> None:
    """Copy the v2 store into a folder, its consolidated metadata last."""
    from dor_ecco_assets.errors import ConfigurationError
    from dor_ecco_assets.pyramids.index import STORES
    from dor_ecco_assets.pyramids.products import ATLAS
    from dor_ecco_assets.storage import Directory

    target, store = Directory(folder.absolute()), f"{ATLAS}/{STORES['v2']}"
    if next(iter(target.list("")), None) is not None:
        if not force:
            raise ConfigurationError(
                f"{folder} is not empty; --force removes what it holds", code="StoreHoldsData"
            )
        target.delete("")
    names = [name.removeprefix(f"{store}/") for name, _ in workspace.storage.list(store)]
    for name in sorted(names, key=lambda name: (name == ".zmetadata", name)):
        target.put(name, workspace.storage.read(f"{store}/{name}") or b"")
    say(f"copied to {folder}")


def populate_maps(
    where: Where,
    *,
    polygons: Sequence[int] = (),
    months: Sequence[int] = (),
    workers: int | None = None,
    verify: bool = False,
    output_store: Path | None = None,
    as_json: bool = False,
) -> None:
    """Regrid every case that is made, or those of some polygons and months, then the index."""
    from dor_ecco_assets.cli.running import report_failures, run_products
    from dor_ecco_assets.lineage.workspace import Policy
    from dor_ecco_assets.pyramids.products import ATLAS, INDEX_SUFFIX, atlas_cases

    workspace, cases = where.workspace(), atlas_cases(_atlas(where))
    wanted = [
        state.partition
        for state in workspace.states(ATLAS)
        if state.standing != "waiting"
        and (not polygons or cases[state.partition].polygon_master in polygons)
        and (not months or cases[state.partition].injection_month in months)
    ]
    if not wanted:
        print("no such case has been made yet: dor-ecco cases process-all")
        raise typer.Exit(1)
    policy = Policy(verify=verify)
    tally = run_products(where.places(), [ATLAS], wanted, policy=policy, workers=workers)
    rows = [
        {"case": partition, "became": became}
        for became, pairs in (("made", tally.made), ("up to date", tally.skipped))
        for key, partition in pairs
        if key == ATLAS
    ]
    run_products(where.places(), [f"{ATLAS}{INDEX_SUFFIX}"], tally=tally)
    show(rows, as_json=as_json, title="Maps")
    if output_store is not None and not tally.failures:
        _copy(workspace, output_store, force=True)
    report_failures(tally)


def show_status(where: Where, *, as_json: bool) -> None:
    """Which cases the map stores hold: all as JSON, else how many by injection month."""
    from dor_ecco_assets.pyramids.assess import statuses
    from dor_ecco_assets.pyramids.products import ATLAS, atlas_cases

    atlas, workspace = _atlas(where), where.workspace()
    months = atlas.injection_months
    shape = (atlas.polygon_set.n_polygons, len(months))
    found = statuses(workspace.storage, ATLAS, shape)
    cases = atlas_cases(atlas).values()
    if as_json:
        show(
            [
                {
                    "case": case.name,
                    "partition": case.partition,
                    "status": "complete"
                    if found[case.polygon_master, months.index(case.injection_month)]
                    else "missing",
                }
                for case in cases
            ],
            as_json=True,
        )
        return
    counts = {month: sum(case.injection_month == month for case in cases) for month in months}
    rows = [
        {
            "injection_month": f"{month:02d}",
            "complete": int(found[:, place].sum()),
            "missing": counts[month] - int(found[:, place].sum()),
        }
        for place, month in enumerate(months)
    ]
    show(rows, as_json=False, title="Maps")
