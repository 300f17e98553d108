"""Options of trainings, declared once: for the command line, Python, the docs and run.json."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import Field, dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from histomend.errors import SettingError


@dataclass(frozen=True)
class Option:
    """What `Annotated` says of a field of the options, beside its type.

    Parameters
    ----------
    help : str
        One sentence, or a few words.
    low, high : float, optional
        Smallest and largest value.
    over : float, optional
        What the value must be above.
    metavar : str
        What stands for the value in the help.
    short : str
        A short form, "-o".
    group : str
        Panel of the help that lists it.
    """

    help: str
    low: float | None = None
    high: float | None = None
    over: float | None = None
    metavar: str | None = None
    short: str = ""
    group: str = "Model"

    def range(self) -> str:
        """Return in words what the value must be, "" where anything goes."""
        if self.low is not None and self.high is not None:
            return f"between {self.low:g} and {self.high:g}"
        if self.over is not None and self.high is not None:
            return f"above {self.over:g} and at most {self.high:g}"
        if self.over is not None:
            return f"above {self.over:g}"
        return "" if self.low is None else f"{self.low:g} or more"

    def allows(self, value: float) -> bool:
        """Return whether the value lies in the range."""
        return (
            (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.over is None or value > self.over)
        )


@dataclass(frozen=True)
class Declared:
    """A field of the options.

    Parameters
    ----------
    name : str
    kind : type
        One of bool, int, float, str, Path; of `str | Path` it is str.
    choices : tuple
        All that it can be; empty where there is no such list.
    optional : bool
        Whether it may be None.
    default : object
        `MISSING` where it must be given.
    option : Option
    """

    name: str
    kind: type
    choices: tuple[Any, ...]
    optional: bool
    default: Any
    option: Option

    @property
    def flag(self) -> str:
        """The option's name on the command line."""
        return "--" + self.name.replace("_", "-")

    def check(self, value: Any) -> None:
        """Raise a SettingError if the value cannot be."""
        if value is None and self.optional:
            return
        if self.choices and value not in self.choices:
            raise SettingError(
                f"{self.flag} is {value!r}, but must be one of {', '.join(map(str, self.choices))}."
            )
        if self.kind in (int, float) and not self.option.allows(value):
            raise SettingError(f"{self.flag} is {value}, but must be {self.option.range()}.")


def declared(options: type) -> Iterator[Declared]:
    """Return the options that a dataclass declares, those of its bases first."""
    # The mark after which fields are named is no type to Python 3.10.
    hints = get_type_hints(options, localns={"KW_ONLY": type}, include_extras=True)
    for field in fields(options):
        yield _declared(field, hints[field.name])


def _declared(field: Field[Any], hint: Any) -> Declared:
    plain, option = get_args(hint)
    parts = get_args(plain) if get_origin(plain) in (Union, UnionType) else (plain,)
    kinds = [part for part in parts if part is not type(None)]
    choices: tuple[Any, ...] = ()
    kind = kinds[0]
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        kind = type(choices[0])
    return Declared(field.name, kind, choices, len(kinds) < len(parts), field.default, option)


def as_json(options: Any) -> dict[str, Any]:
    """Return options as values that JSON holds, paths as they were given."""
    given = {each.name: getattr(options, each.name) for each in fields(options)}
    return {name: str(v) if isinstance(v, Path) else v for name, v in given.items()}
