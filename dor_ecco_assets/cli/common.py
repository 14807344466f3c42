"""What commands share: options, the production they work on, tables and JSON."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from dor_ecco_assets.lineage.workspace import Workspace
    from dor_ecco_assets.products import Production
    from dor_ecco_assets.settings import Places

ProjectOption = Annotated[
    Path | None,
    typer.Option(help="Folder that holds data/ and .dagster/; that of workspace.yaml by default."),
]
RootOption = Annotated[
    str | None, typer.Option(help="Local directory or S3 URL of the data (DOR_ECCO_ROOT).")
]
DataOption = Annotated[
    str | None,
    typer.Option("--data", help="Where raw inputs lie, for this command (DOR_ECCO_INPUTS)."),
]
ConfigsOption = Annotated[
    Path | None, typer.Option(help="Your own overlay of configs/ (DOR_ECCO_CONFIGS).")
]
ProfileOption = Annotated[
    str | None, typer.Option(help="Deployment profile in configs/profiles (DOR_ECCO_PROFILE).")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@dataclass(frozen=True)
class Where:
    """The places that a command was told."""

    project: Path | None = None
    root: str | None = None
    data: str | None = None
    configs: Path | None = None
    profile: str | None = None

    def places(self) -> "Places":
        """Absolute places, made known to every child process."""
        import os

        from dor_ecco_assets.settings import find_places

        places = find_places(
            root=self.root,
            inputs=self.data,
            profile=self.profile,
            configs=None if self.configs is None else str(self.configs),
            project=self.project,
        )
        os.environ.update(places.environment())
        return places

    def production(self) -> "Production":
        """The production at these places."""
        from dor_ecco_assets.products import Production

        return Production.at(self.places())

    def workspace(self) -> "Workspace":
        """A look at the production, without Dagster."""
        return self.production().workspace()


def show(rows: Sequence[dict[str, Any]], *, as_json: bool, title: str = "") -> None:
    """Print rows to stdout, as a table for people or as JSON for programs."""
    if as_json:
        print(json.dumps(list(rows), indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    if not rows:
        print(f"{title}: none" if title else "nothing to show")
        return
    table = Table(title=title or None, title_justify="left", header_style="bold")
    for name in rows[0]:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def tracked[T](items: Sequence[T], what: str) -> Iterable[T]:
    """The items, with a progress bar on stderr where that is a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(items, what, console=console, transient=True, disable=not console.is_terminal)


def say(text: str) -> None:
    """Print one line of a log to stderr."""
    print(text, file=sys.stderr)
