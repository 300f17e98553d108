"""Pictures of measures against something that was varied.

Used by other scripts; nothing to run here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from histomend.evaluate.tables import Interval

# What a ratio to the truth should be.
GOAL = (0.8, 1.25)
# With more curves than these, intervals are left out.
MOST_INTERVALS = 4
Found = Mapping[str, Interval]
RATIOS = ("laplacian_ratio", "spectrum_ratio", "nuclei")


def draw(
    path: Path,
    panels: Sequence[tuple[str, str]],
    curves: Mapping[str, Mapping[float, Found]],
    label: str,
    *,
    lines: Mapping[str, Found] | None = None,
    ticks: Sequence[int] | None = None,
    styles: Mapping[str, dict[str, Any]] | None = None,
) -> None:
    """Draw one panel per measure, one curve per name, and write a PNG.

    A few curves have their 95 % intervals; many would only hide each other.

    Parameters
    ----------
    panels : (measure, title) of each panel
    curves : what was found, by name of the curve and place on the horizontal axis
    label : str
        Of the horizontal axis.
    lines : horizontal lines to compare with, by name
    ticks : whole numbers, for a logarithmic horizontal axis
    styles : keyword arguments of a curve's line, by its name
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

    wide = -(-len(panels) // 2)
    figure, axes = pyplot.subplots(
        2, wide, figsize=(4.5 * wide, 6.5), sharex=True, layout="constrained", squeeze=False
    )
    for axis, (key, title) in zip(axes.flat, panels, strict=False):
        for name, curve in curves.items():
            places = sorted(curve)
            found = [curve[place][key] for place in places]
            style = (styles or {}).get(name, {})
            values = [f.value for f in found]
            (line,) = axis.plot(places, values, marker="o", markersize=4, label=name, **style)
            if len(curves) <= MOST_INTERVALS:
                low, high = [f.low for f in found], [f.high for f in found]
                axis.fill_between(places, low, high, alpha=0.15, color=line.get_color())
        if key in RATIOS:
            axis.axhspan(*GOAL, color="0.9", zorder=0, label="goal")
            axis.axhline(1, color="0.5", linewidth=0.8, zorder=0)
            axis.set_yscale("log")
        for (name, known), dots in zip((lines or {}).items(), (":", "--", "-."), strict=False):
            axis.axhline(known[key].value, color="0.3", linestyle=dots, label=name)
        axis.set_title(title, fontsize=10)
        if ticks is not None:
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(FixedLocator(sorted(ticks)))
            axis.xaxis.set_minor_locator(NullLocator())
            axis.xaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
    for place in range(len(panels), axes.size):
        axes.flat[place].axis("off")
        above = axes[0, place % wide]
        above.tick_params(labelbottom=True)
        above.set_xlabel(label)
    entries: dict[str, Any] = {}
    for axis in axes.flat:
        handles, names = axis.get_legend_handles_labels()
        entries |= dict(zip(names, handles, strict=True))
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=4, fontsize=8)
    for axis in axes[1]:
        axis.set_xlabel(label)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
