"""ECCO production: grid, mapping factors, granules, verification."""

import typer

from dor_ecco_assets.cli.ecco import making

app = typer.Typer(help="ECCO granules from MITgcm output.", no_args_is_help=True)
app.command("grid")(making.grid)
app.command("factors")(making.factors)
app.command("granules")(making.granules)
app.command("verify")(making.verify)
