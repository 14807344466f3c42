"""ECCO production: grid, mapping factors, granules, verification."""

import typer

from dor_ecco_assets.cli.ecco import comparing, delivery, importing, jobs, making, planning

app = typer.Typer(help="ECCO granules from MITgcm output.", no_args_is_help=True)
app.command("grid")(making.grid)
app.command("factors")(making.factors)
app.command("granules")(making.granules)
app.command("verify")(making.verify)
app.command("plan")(planning.plan)
app.command("gaps")(planning.gaps)
app.command("compare")(comparing.compare)
app.command("annotate")(comparing.annotate)
app.command("deliver")(delivery.deliver)
app.command("report")(delivery.report)
app.add_typer(jobs.app, name="jobs")
app.add_typer(importing.app, name="import")
