"""The program `histomend`: its verbs, and how errors are shown."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import histomend
from histomend.cli import (
    EXIT_INTERRUPTED,
    adapt,
    audit,
    auto,
    convert,
    demo,
    denoise,
    detect,
    doctor,
    evaluate,
    models,
    rate,
    reproduce,
    restore,
    show,
    simulate,
    tiles,
    upscale,
    verify,
    view,
)
from histomend.cli.failures import named
from histomend.cli.screen import paragraphs, say
from histomend.cli.train import train

EXIT_FAULT = 1
DEBUG = "--debug"


class _Verbs(TyperGroup):
    """Show an error as one message, without a traceback unless it is asked for."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            said = "Files that were finished are complete. The same command goes on with a slide."
            say(said, title="Interrupted", style="bold")
            raise typer.Exit(EXIT_INTERRUPTED) from error
        except Exception as error:
            # Usage errors and exits carry an exit code, and Typer knows how to show them.
            known = named(error)
            usage = known is None and hasattr(error, "exit_code")
            if usage or isinstance(error, typer.Abort) or ctx.params.get("debug"):
                raise
            if known is not None:
                say(str(known), title="Error", style="bold red")
                raise typer.Exit(known.exit_code) from error
            say(
                f"{type(error).__name__}: {error}\nThis is a fault in Histomend or in its "
                f"installation. See `histomend doctor`; {DEBUG} shows where it happened.",
                title="Unexpected error",
                style="bold red",
            )
            raise typer.Exit(EXIT_FAULT) from error


app = typer.Typer(
    cls=_Verbs,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
conversions = typer.Typer(no_args_is_help=True, help="Convert weights that others published.")
for conversion in (convert.calibrator, convert.upscaler):
    conversions.command(help=paragraphs(conversion.__doc__))(conversion)

for verb in (
    auto.auto,
    restore.restore,
    denoise.denoise,
    upscale.upscale,
    view.view,
    rate.rate,
    show.show,
    detect.detect,
    evaluate.evaluate,
    reproduce.reproduce,
    audit.audit,
    simulate.simulate,
    tiles.tiles,
    adapt.adapt,
    verify.undo,
    verify.verify,
    models.presets,
    models.models,
    doctor.doctor,
    demo.demo,
):
    app.command(help=paragraphs(verb.__doc__))(verb)
app.add_typer(train, name="train")
app.add_typer(conversions, name="convert")


def run() -> None:
    """Run the program on the arguments of the process."""
    # An option of the program itself, but people add it at the end of the line that failed.
    app(args=sorted(sys.argv[1:], key=lambda word: word != DEBUG), prog_name="histomend")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"histomend {histomend.__version__}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
    debug: Annotated[bool, typer.Option(DEBUG, help="Show the traceback of an error.")] = False,
) -> None:
    """Find artifacts in histology images, restore them, and keep a ledger of every change.

    Restored images are not for diagnosis.
    """
