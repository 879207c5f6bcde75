"""Every command, put together; and where an error becomes a line and an exit status."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from typer.core import TyperGroup

from trunkline import __version__
from trunkline.cli import agents, calls, demo, doctor, keys, ringing, serve
from trunkline.errors import TrunklineError

__all__ = ["app"]


class _Commands(TyperGroup):
    """Shows what Trunkline raises on purpose as one line; anything else keeps its traceback."""

    # Typer carries its own copy of click, whose Context has no public name.
    def invoke(self, ctx: typer.Context) -> object:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Run the command."""
        try:
            return super().invoke(ctx)
        except TrunklineError as error:
            typer.echo(f"error ({error.code}): {error}", err=True)
            sys.exit(1)


app = typer.Typer(
    name="trunkline",
    cls=_Commands,
    help="Put voice bots on the phone.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"trunkline {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Say which.")
    ] = False,
) -> None:
    del version


app.command("serve")(serve.serve)
app.command("call")(ringing.call)
app.command("doctor")(doctor.doctor)
app.command("demo")(demo.demo)
app.add_typer(agents.app, name="agents", help="The bots that answer.")
app.add_typer(calls.app, name="calls", help="Calls: records, and live control.")
app.add_typer(keys.app, name="keys", help="API keys, made directly in the database.")
