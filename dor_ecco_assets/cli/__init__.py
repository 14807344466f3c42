"""The `dor-ecco` command; every command imports what it needs when it runs, so help is instant."""

import sys

import typer

from dor_ecco_assets.cli import (
    cases,
    demo,
    doctor,
    ecco,
    former,
    inputs,
    standing,
    ui,
    virtual,
    vis,
)
from dor_ecco_assets.errors import ConfigurationError, DorEccoError, InputUnusable

app = typer.Typer(
    name="dor-ecco",
    help="Ocean model output and archived granules as assets with lineage.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("ui")(ui.ui)
app.command("doctor")(doctor.doctor)
app.command("stale")(standing.stale)
app.command("why")(standing.why)
app.command("reconcile")(standing.reconcile)
app.add_typer(inputs.app, name="inputs")
app.add_typer(ecco.app, name="ecco")
app.add_typer(cases.app, name="cases")
app.add_typer(vis.app, name="vis")
app.add_typer(virtual.app, name="virtual")
former.install(app)


def main() -> None:
    """Run the command line; a bad input ends in a message, never in a traceback."""
    try:
        app()
    except DorEccoError as error:
        print(f"error: {error.message} [{error.code}]", file=sys.stderr)
        sys.exit(exit_code(error))
    except OSError as error:
        from pathlib import Path

        from dor_ecco_assets.storage.directory import refusal

        print(f"error: {refusal(error, Path(error.filename or '.')).message}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(130)


def exit_code(error: DorEccoError) -> int:
    """1 work failed, 2 usage, 3 inputs in quarantine."""
    if isinstance(error, ConfigurationError):
        return 2
    return 3 if isinstance(error, InputUnusable) else 1
