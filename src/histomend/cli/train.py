"""Verbs that train: each is a class of options in `histomend.train`, shown as a command line."""

from __future__ import annotations

import inspect
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from histomend.cli import EXIT_INTERRUPTED
from histomend.cli.screen import paragraphs, say
from histomend.jobs.progress import PATIENCE_S
from histomend.train import TRAININGS, TrainingOptions
from histomend.train import train as start_training
from histomend.train.option import Declared, declared

if TYPE_CHECKING:
    from histomend.train.fit import Report

train = typer.Typer(no_args_is_help=True, help="Train a model on artifact-free images.")


def verb(options: type[TrainingOptions]) -> Callable[..., None]:
    """Return the verb whose options are the fields of a class."""
    fields = list(declared(options))

    def run(**given: Any) -> None:
        plain = {name: v.value if isinstance(v, Enum) else v for name, v in given.items()}
        chosen = options(**plain)
        try:
            with log_shown(), progress() as report:
                model = start_training(chosen, report)
        except KeyboardInterrupt as interrupt:
            if not interrupt.args:
                raise
            say(str(interrupt), title="Interrupted", style="bold")
            raise typer.Exit(EXIT_INTERRUPTED) from interrupt
        if _is_first():
            say(f"Use it: {chosen.verb.use.format(model=model)}")

    parameters = [_parameter(field) for field in fields]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__name__ = options.verb.name.replace("-", "_")
    return run


def _parameter(field: Declared) -> inspect.Parameter:
    """Return the parameter of a verb from which Typer makes the option."""
    kind: Any = field.kind
    default: Any = inspect.Parameter.empty if field.default is MISSING else field.default
    low, high = field.option.low, field.option.high
    if field.choices and kind is int:
        low, high = min(field.choices), max(field.choices)
    elif field.choices:
        # Its values are shown as choices, in the help and to shells.
        make: Any = Enum
        kind = make("Choice", {choice: choice for choice in field.choices}, type=str)
        default = None if default is None else kind(default)
    number = kind in (int, float)
    # A flag that is on is switched off by --no-...; one that is off has no other form.
    off = f"/--no-{field.flag[2:]}" if field.default is True else ""
    option = typer.Option(
        *([field.option.short] if field.option.short else []),
        field.flag + off,
        help=field.option.help,
        min=low if number else None,
        max=high if number else None,
        metavar=field.option.metavar,
        rich_help_panel=field.option.group,
    )
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind | None if field.optional else kind, option],
    )


for _options in TRAININGS:
    _verb, _doc = _options.verb, inspect.getdoc(_options) or ""
    train.command(
        _verb.name,
        help=paragraphs(_doc),
        epilog=f"Example: histomend train {_verb.name} {_verb.example}",
        rich_help_panel=_verb.panel,
        short_help=_doc.split("\n")[0],
    )(verb(_options))


@contextmanager
def log_shown() -> Iterator[None]:
    """Show what the library logs, while the block runs."""

    class Shown(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            say(record.getMessage())

    logger, handler = logging.getLogger("histomend"), Shown(logging.INFO)
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


@contextmanager
def progress() -> Iterator[Report | None]:
    """Show step, loss and images per second: in a bar, or a line at times without a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    if not _is_first():
        yield None
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _by_line()
        return
    bar = Progress(
        TextColumn("step {task.fields[step]}  loss {task.fields[loss]:.4f}"),
        TextColumn("{task.fields[rate]:.1f} images/s"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=console,
    )
    with bar:
        task = bar.add_task("", total=1.0, step=0, loss=float("nan"), rate=0.0)

        def report(step: int, loss: float, rate: float, share: float) -> None:
            bar.update(task, completed=share, step=step, loss=loss, rate=rate)

        yield report


def _is_first() -> bool:
    """Return whether this is the one of several processes that reports."""
    return os.environ.get("RANK", "0") == "0"


def _by_line() -> Report:
    told = time.monotonic()

    def report(step: int, loss: float, rate: float, share: float) -> None:
        nonlocal told
        if time.monotonic() - told >= PATIENCE_S:
            told = time.monotonic()
            done = f"  {share:.0%}" if share else ""
            say(f"step {step}  loss {loss:.4f}  {rate:.1f} images/s{done}")

    return report
