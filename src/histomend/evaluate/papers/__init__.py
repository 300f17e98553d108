"""The tables and figures of the four papers, each run again by one command.

Nothing heavy is imported before one is run: `NAMES` is what the command line lists.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING

from histomend.errors import SettingError

if TYPE_CHECKING:
    from histomend.evaluate.papers.reproduction import Reproduced
    from histomend.evaluate.papers.setting import Setting


@dataclass(frozen=True)
class Name:
    """A table or figure that can be run again.

    Attributes
    ----------
    place : str
        "module:function" in this package, from a `Setting` to a `Reproduced`.
    about : str
        What it shows.
    data : tuple of str
        The data sets that it takes (`histomend.evaluate.harness.datasets`).
    paper : tuple of str
        Those that it would take at the scale of the paper, first the one of tiles.
    """

    place: str
    about: str
    data: tuple[str, ...] = ("he_clean_train", "he_clean_val")
    paper: tuple[str, ...] = ()


_ATLAS, _SRH, _TCGA = ("camelyon17_clean",), ("srh",), ("tcga_prad",)
NAMES: dict[str, Name] = {
    "artifusion-table1": Name(
        "artifusion:table1", "fidelity of restored artifacts, beside CycleGAN", paper=_ATLAS
    ),
    "artifusion-table2": Name("costs:table2", "parameters, multiplications, seconds", data=()),
    "artifusion-table3": Name(
        "downstream:table3",
        "tissue classified clean, damaged and restored",
        ("he_clean_train", "labelled_tissue"),
        (*_ATLAS, "labelled_tissue"),
    ),
    "artifusion-fig4": Name(
        "artifusion:fig4",
        "real artifacts restored, and the steps between",
        ("he_clean_train", "he_artifacts"),
        (*_ATLAS, "he_artifacts"),
    ),
    "latent-artifusion-table2": Name(
        "latent_artifusion:table2",
        "time and quality beside ArtiFusion; reconstruction, masks, steps",
        ("he_clean_val",),
        _ATLAS,
    ),
    "rscd-table1": Name("rscd:table1", "distance to clean images, without pairs", paper=_SRH),
    "rscd-table2": Name("rscd:table2", "the same of pairs, with fidelity", paper=_SRH),
    "rscd-fig3": Name(
        "rscd_figures:fig3",
        "from less and from more than the calibrated t",
        ("he_clean_val",),
        _SRH,
    ),
    "rscd-fig6": Name("rscd_raters:fig6", "which restoration raters prefer", paper=_SRH),
    "rscd-fig7": Name(
        "diagnosis:fig7",
        "classified right, wrong or not at all, before and after",
        ("labelled_tissue",),
        _SRH,
    ),
    "rscd-fig8": Name("rscd_figures:fig8", "quality by depth", ("he_clean_val",), _SRH),
    "histo-diffusion-table2": Name("histo_diffusion:table2", "general measures", paper=_TCGA),
    "histo-diffusion-table3": Name("histo_diffusion:table3", "measures of tissue", paper=_TCGA),
    "histo-diffusion-table4": Name(
        "histo_diffusion_ablations:table4", "with and without stage 1", paper=_TCGA
    ),
    "histo-diffusion-table5": Name("histo_diffusion:table5", "embedding similarity", paper=_TCGA),
    "histo-diffusion-table6": Name(
        "histo_diffusion_ablations:table6", "degradations and lengths of training", paper=_TCGA
    ),
    "histo-diffusion-fig5": Name(
        "histo_diffusion_figures:fig5", "the control, decoded", ("he_clean_val",), _TCGA
    ),
    "histo-diffusion-fig10": Name(
        "histo_diffusion_figures:fig10", "enlarged side by side", paper=_TCGA
    ),
    "histo-diffusion-fig11": Name(
        "histo_diffusion_figures:fig11", "several scales", ("he_clean_val",), _TCGA
    ),
}
"""In the order of the papers."""
ALL = "all"


def chosen(names: list[str]) -> list[str]:
    """Return the names that are meant, "all" being all of them.

    Raises
    ------
    SettingError
        There is no such name.
    """
    unknown = [name for name in names if name not in NAMES and name != ALL]
    if unknown:
        raise SettingError(
            f"Nothing that can be reproduced is called {unknown[0]!r}. There are {ALL}, "
            f"{', '.join(NAMES)}."
        )
    return list(NAMES) if ALL in names else list(dict.fromkeys(names))


def reproduce(name: str, setting: Setting) -> Reproduced:
    """Run a table or a figure again.

    Parameters
    ----------
    name : of `NAMES`
    setting : Setting
        The scale, the data, and where what was computed is kept.

    Raises
    ------
    SettingError
        There is no such name.
    InputError
        A data set is missing; the message says how to get it.
    ResourceError
        A package or a device is missing.
    """
    (name,) = chosen([name])
    known = NAMES[name]
    setting.check(name, known.paper)
    setting = replace(setting, tiles=known.paper[0] if known.paper else "")
    for dataset in known.data:
        setting.dataset(dataset)
    module, _, function = known.place.partition(":")
    found: Reproduced = getattr(import_module(f"{__name__}.{module}"), function)(setting)
    return found
