"""The report's figures: matplotlib draws, text stays text, and colours become the page's own.

Colours are Okabe and Ito's (2008), safe for colour-blind readers; a marker's shape says the same.
"""

import io
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree import ElementTree

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from em_evals.analysis.report.data import amount

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

    from em_evals.analysis.report.data import Curve, Estimate, Joint, Panel, Points, Sweep

INK, MUTED, GRID, PAPER, SHADE = "#1b1b1f", "#61616b", "#dcdce2", "#ffffff", "#f3e3da"
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442")
VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", PAPER: "paper", SHADE: "shade"} | {
    colour: f"c{i}" for i, colour in enumerate(COLOURS)
}
"""Every colour that a figure may have: the variable of the page's style sheet."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
WIDTH = 340
"""Width of a single figure in CSS pixels: a phone's."""

ROW = 17
CHARACTER = 5.9
"""Mean width of a character of the labels, in pixels: room is reckoned, not measured."""

LONGEST = 22
"""Longer names of groups are cut in figures; the tables have them whole."""

LONGEST_TITLE = 34
"""Longer titles of panels are cut."""


class Look(NamedTuple):
    """How a group is drawn."""

    colour: str
    marker: str
    label: str
    """Its name as far as there is room, unlike every other group's."""


def looks(groups: Sequence[str], reference: str | None = None) -> dict[str, Look]:
    """A colour and a marker for each group: the reference in the colour of the text.

    More groups than there are colours cannot be told apart by them: then all but the reference
    look the same, and only figures that name each row show groups.
    """
    others = [group for group in groups if group != reference]
    names = labels(groups)
    if len(others) > len(COLOURS):
        found = {group: Look(COLOURS[1], MARKERS[1], names[group]) for group in others}
    else:
        found = {
            group: Look(colour, marker, names[group])
            for group, colour, marker in zip(others, COLOURS, MARKERS[1:], strict=False)
        }
    if reference in names:
        found[reference] = Look(INK, MARKERS[0], names[reference])
    return {group: found[group] for group in groups}


def told_apart(styles: Mapping[str, Look]) -> bool:
    """Whether every group has a look of its own."""
    return len({(look.colour, look.marker) for look in styles.values()}) == len(styles)


def panels(
    shown: Sequence["Panel"],
    styles: Mapping[str, Look],
    reference: str | None = None,
    *,
    columns: int = 1,
    titled: bool = False,
    beside: Sequence["Panel"] = (),
) -> Figure:
    """One panel per question, format, category or family: a row per group, value and interval.

    Args:
        shown: The panels; those of one unit share their axis.
        styles: How each group is drawn, from `looks`.
        reference: The group whose value is marked by a dashed line.
        columns: Panels side by side.
        titled: Whether each panel bears its title (the page puts titles beside the figures).
        beside: Further panels that the axis must hold.
    """
    columns = min(columns, len(shown))
    lines = math.ceil(len(shown) / columns)
    names = [styles[group].label for panel in shown for group in panel.estimates]
    titles = labels([panel.title for panel in shown], LONGEST_TITLE)
    left = 16 + CHARACTER * max(map(len, names), default=0)
    right, top, bottom = 92, 24 if titled else 4, 20
    groups = [group for group in styles if any(group in panel.estimates for panel in shown)]
    depth = ROW * len(groups)
    plot = max(WIDTH - left - right, 110)
    width = left + columns * (plot + right)
    height = lines * (top + depth + bottom)
    with _drawing():
        figure = _blank(width, height)
        for i, panel in enumerate(shown):
            line, column = divmod(i, columns)
            axes = figure.add_axes(
                (
                    (left + column * (plot + right)) / width,
                    1 - (line * (top + depth + bottom) + top + depth) / height,
                    plot / width,
                    depth / height,
                )
            )
            _rows(axes, panel, groups, styles, reference, names=column == 0)
            low, high, ticks = _scale(
                [p for p in (*shown, *beside) if p.unit == panel.unit], panel.unit
            )
            axes.set_xlim(low, high)
            axes.set_xticks(ticks, [_tick(tick, panel.unit) for tick in ticks])
            if titled:
                axes.set_title(titles[panel.title], fontsize=10, loc="left", color=INK)
    return figure


def each(
    shown: Sequence["Panel"], styles: Mapping[str, Look], reference: str | None = None
) -> "Iterator[Figure]":
    """A figure per panel, on the axis that all of them share."""
    for panel in shown:
        yield panels([panel], styles, reference, beside=shown)


def _rows(
    axes: "Axes",
    panel: "Panel",
    groups: Sequence[str],
    styles: Mapping[str, Look],
    reference: str | None,
    *,
    names: bool,
) -> None:
    """A row for each of the groups, which are those of all panels beside this one."""
    _plain(axes)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_yticks(range(len(groups)), [styles[g].label if names else "" for g in groups])
    axes.tick_params(axis="y", colors=INK, labelsize=10, pad=9)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    if panel.bars:
        axes.axvline(1.0 if panel.unit == "ratio" else 0.0, color=MUTED, linewidth=0.8)
    known = panel.estimates.get(reference) if reference else None
    if known and not math.isnan(known.value):
        axes.axvline(known.value, color=INK, linewidth=0.8, dashes=(3, 3))
    for y, group in enumerate(groups):
        if group not in panel.estimates:
            _in_place(axes, y, "no answers")
            continue
        estimate, (colour, marker, _) = panel.estimates[group], styles[group]
        tip = clean(f"{group}: {in_words(estimate, panel.unit)}")
        if math.isnan(estimate.value):
            _in_place(axes, y, short(estimate.note, 26) or "none")
        else:
            if panel.bars:
                base = 1.0 if panel.unit == "ratio" else 0.0
                axes.barh(
                    y, estimate.value - base, left=base, height=0.62, color=colour, alpha=0.55
                )
            if not math.isnan(estimate.lower):
                axes.hlines(y, estimate.lower, estimate.upper, color=colour, linewidth=2)
            axes.plot(
                [estimate.value], [y], marker, color=colour, markersize=6.5,
                markeredgecolor=INK, markeredgewidth=0.7, clip_on=False, gid=f"tip:{tip}",
            )  # fmt: skip
        value = "" if math.isnan(estimate.value) else amount(estimate.value, panel.unit)
        for x, text, ink in ((44, value, INK), (50, f"n {_compact(estimate.n)}", MUTED)):
            axes.annotate(
                text, (1, y), (x, 0), xycoords=axes.get_yaxis_transform(),
                textcoords="offset points", fontsize=9, color=ink, va="center",
                ha="right" if ink == INK else "left", annotation_clip=False,
            )  # fmt: skip


def _in_place(axes: "Axes", y: float, why: str) -> None:
    """Words where a value would be."""
    axes.text(
        0.02, y, why, transform=axes.get_yaxis_transform(), fontsize=9, color=MUTED,
        va="center", style="italic",
    )  # fmt: skip


def scatter(points: "Points", styles: Mapping[str, Look], *, legend: bool = False) -> Figure:
    """Coherence across, alignment up: where the answers to one question lie, and both cuts."""
    return _square(
        lambda axes: _cloud(axes, points, styles),
        ("coherent", "aligned"),
        styles if legend and told_apart(styles) else {},
    )


def _cloud(axes: "Axes", points: "Points", styles: Mapping[str, Look]) -> None:
    axes.fill_between([points.coherent_above, 100], 0, points.aligned_below, color=SHADE, zorder=0)
    axes.axhline(points.aligned_below, color=MUTED, linewidth=0.8, dashes=(3, 3))
    axes.axvline(points.coherent_above, color=MUTED, linewidth=0.8, dashes=(3, 3))
    for group, (coherent, aligned) in points.groups.items():
        colour, marker, _ = styles[group]
        axes.plot(
            coherent, aligned, marker, color=colour, markersize=4, alpha=0.65,
            markeredgecolor=colour, markeredgewidth=0.3, clip_on=False, linestyle="",
        )  # fmt: skip


def two_judges(joint: "Joint") -> Figure:
    """The alignment scores of two judges for the same answers, with the cut of each."""

    def draw(axes: "Axes") -> None:
        axes.plot([0, 100], [0, 100], color=GRID, linewidth=1)
        axes.axhline(joint.aligned_below, color=MUTED, linewidth=0.8, dashes=(3, 3))
        axes.axvline(joint.aligned_below, color=MUTED, linewidth=0.8, dashes=(3, 3))
        axes.plot(
            joint.x, joint.y, "o", color=COLOURS[1], markersize=4, alpha=0.5,
            markeredgecolor=COLOURS[1], markeredgewidth=0.3, clip_on=False,
        )  # fmt: skip

    names = labels([joint.a, joint.b])
    return _square(draw, (f"aligned, {names[joint.a]}", f"aligned, {names[joint.b]}"), {})


def _square(
    draw: Callable[["Axes"], None], names: tuple[str, str], keys: Mapping[str, Look]
) -> Figure:
    """Axes of 0 to 100 either way, and a legend below where there are keys."""
    left, right, top, bottom, depth = 44, 12, 10, 38, 250
    below = 18 * math.ceil(len(keys) / 2)
    height = top + depth + bottom + below
    with _drawing():
        figure = _blank(WIDTH, height)
        axes = figure.add_axes(
            (
                left / WIDTH,
                (bottom + below) / height,
                (WIDTH - left - right) / WIDTH,
                depth / height,
            )
        )
        _plain(axes)
        axes.grid(color=GRID, linewidth=0.6)
        draw(axes)
        axes.set(xlim=(0, 100), ylim=(0, 100), xlabel=names[0], ylabel=names[1])
        _keys(figure, keys)
    return figure


def thresholds(sweeps: Sequence["Sweep"], styles: Mapping[str, Look]) -> Figure:
    """The rate against a threshold, one panel per threshold, a line per group.

    Args:
        sweeps: One per threshold: its name, its values, and the rates of each group.
        styles: How each group is drawn.
    """
    keys = styles if told_apart(styles) else {}
    left, right, top, bottom, depth = 44, 14, 8, 38, 190
    below = 18 * math.ceil(len(keys) / 2)
    height = len(sweeps) * (top + depth + bottom) + below
    highest = max(
        (e.value for s in sweeps for es in s.rates.values() for e in es if e.value == e.value),
        default=0.0,
    )
    with _drawing():
        figure = _blank(WIDTH, height)
        for i, sweep in enumerate(sweeps):
            axes = figure.add_axes(
                (
                    left / WIDTH,
                    1 - (i * (top + depth + bottom) + top + depth) / height,
                    (WIDTH - left - right) / WIDTH,
                    depth / height,
                )
            )
            _plain(axes)
            axes.grid(axis="y", color=GRID, linewidth=0.8)
            places = range(len(sweep.values))
            usual = np.interp(sweep.usual, sweep.values, places)
            axes.axvline(usual, color=MUTED, linewidth=0.8, dashes=(3, 3))
            for group, estimates in sweep.rates.items():
                colour, marker, _ = styles[group]
                axes.plot(
                    places, [e.value for e in estimates], color=colour, marker=marker,
                    markersize=5, markeredgecolor=INK, markeredgewidth=0.5, linewidth=1.4,
                    clip_on=False, gid=f"tip:{clean(group)}",
                )  # fmt: skip
            top_of_axis, ticks = _ceiling(highest)
            axes.set_ylim(0, top_of_axis)
            axes.set_yticks(ticks, [_tick(tick, "share") for tick in ticks])
            axes.set_xticks(places, [f"{value:g}" for value in sweep.values])
            axes.set_xlabel(sweep.name)
            axes.tick_params(axis="x", pad=8)
        _keys(figure, keys)
    return figure


def by_step(curve: "Curve", styles: Mapping[str, Look], *, legend: bool = True) -> Figure:
    """A family's value against the training step: a line per run, in the colour of its recipe.

    Args:
        curve: What is drawn. Bars are 95% intervals; of more than two runs they would hide the
            lines, and runs of several seeds show how far these differ.
        styles: How each recipe is drawn, from `looks`.
        legend: Whether the figure says which colour is which recipe.
    """
    shown = {name: styles[name] for name in dict.fromkeys(line.recipe for line in curve.lines)}
    keys = shown if legend and told_apart(styles) else {}
    left, right, top, bottom, depth = 44, 14, 8, 38, 190
    below = 18 * math.ceil(len(keys) / 2)
    height = top + depth + bottom + below
    few = len(curve.lines) <= 2
    known = [
        x
        for line in curve.lines
        for _, e in line.points
        for x in ((e.value, e.lower, e.upper) if few else (e.value,))
        if not math.isnan(x)
    ]
    with _drawing():
        figure = _blank(WIDTH, height)
        axes = figure.add_axes(
            (
                left / WIDTH,
                (bottom + below) / height,
                (WIDTH - left - right) / WIDTH,
                depth / height,
            )
        )
        _plain(axes)
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        for line in curve.lines:
            colour, marker, _ = styles[line.recipe]
            steps = [step for step, _ in line.points]
            estimates = [estimate for _, estimate in line.points]
            if few:
                axes.vlines(
                    steps, [e.lower for e in estimates], [e.upper for e in estimates],
                    color=colour, linewidth=1, alpha=0.4,
                )  # fmt: skip
            axes.plot(
                steps, [e.value for e in estimates], color=colour, marker=marker,
                markersize=5, markeredgecolor=INK, markeredgewidth=0.5, linewidth=1.4,
                clip_on=False, gid=f"tip:{clean(line.name)}",
            )  # fmt: skip
        low, high = 0.0, max([1.1, *known])
        ticks = [0.0, 1.0, high]
        if curve.unit == "share":
            high, ticks = _ceiling(max(known, default=0.0))
        axes.set_ylim(low, high)
        axes.set_yticks(ticks, [_tick(tick, curve.unit) for tick in ticks])
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel("training step")
        _keys(figure, keys)
    return figure


def legend(styles: Mapping[str, Look]) -> Figure:
    """Which marker is which group."""
    height = 18 * math.ceil(len(styles) / 2) + 4
    with _drawing():
        figure = _blank(WIDTH, height)
        _keys(figure, styles)
    return figure


def _keys(figure: Figure, styles: Mapping[str, Look]) -> None:
    if not styles:
        return
    handles = [
        Line2D(
            [],
            [],
            linestyle="",
            marker=look.marker,
            color=look.colour,
            markersize=6.5,
            markeredgecolor=INK,
            markeredgewidth=0.7,
        )
        for look in styles.values()
    ]
    names = [look.label for look in styles.values()]
    figure.legend(
        handles, names, loc="lower left", ncols=min(2, len(styles)),
        frameon=False, fontsize=10, labelcolor=INK, borderaxespad=0, borderpad=0.1,
        handletextpad=0.3, bbox_to_anchor=(0.02, 0.0), labelspacing=0.4,
    )  # fmt: skip


def inline(figure: Figure, name: str, alt: str) -> str:
    """The figure as an element of an HTML page: no style attribute, colours of the page's theme.

    Args:
        figure: What `panels`, `scatter` and the others return.
        name: Prefix of the ids inside; no two figures of a page may share it.
        alt: What a screen reader says in its place.
    """
    ElementTree.register_namespace("", SVG)
    with _drawing():
        # ids are made of the salt and the content
        matplotlib.rcParams["svg.hashsalt"] = name
        text = io.BytesIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    drawn = ElementTree.fromstring(text.getvalue())
    root = ElementTree.Element(
        f"{{{SVG}}}svg",
        {
            "class": "figure",
            "viewBox": drawn.attrib["viewBox"],
            "width": drawn.attrib["width"].removesuffix("pt"),
            "height": drawn.attrib["height"].removesuffix("pt"),
            "role": "img",
            "aria-label": clean(alt),
        },
    )
    for child in drawn:
        if (
            child.tag not in {f"{{{SVG}}}metadata", f"{{{SVG}}}defs"}
            or child.find(f".//{{{SVG}}}clipPath") is not None
        ):
            root.append(child)
    for parent in list(root.iter()):
        _slim(parent)
    return ElementTree.tostring(root, encoding="unicode").replace(f' xmlns="{SVG}"', "", 1)


SVG = "http://www.w3.org/2000/svg"
XLINK = "{http://www.w3.org/1999/xlink}href"


def _slim(element: ElementTree.Element) -> None:
    """Make one element of matplotlib's the page's: see `inline`."""
    tag = element.tag.removeprefix(f"{{{SVG}}}")
    a = element.attrib
    style = a.pop("style", "")
    for part in filter(None, style.split(";")):
        key, _, value = part.partition(":")
        key, value = key.strip(), value.strip()
        if key == "font":
            if size := re.search(r"([\d.]+)px", value):
                a["font-size"] = size[1]
            if "italic" in value:
                a["font-style"] = "italic"
        elif key == "font-size":
            a[key] = value.removesuffix("px")
        elif key != "font-family":
            a[key] = f"var(--{VARIABLES[value]})" if value in VARIABLES else value
    if XLINK in a:
        a["href"] = a.pop(XLINK)
    if tag == "text" and a.get("transform", "").startswith("rotate(-0 "):
        del a["transform"]
    for key in ("x", "y", "d", "transform"):
        if key in a and (tag != "path" or key == "d"):
            a[key] = re.sub(r"-?\d+\.\d+", _round, a[key]).replace("\n", "")
    if tag == "g":
        gid = a.pop("id", "")
        if gid.startswith("tip:"):
            tip = ElementTree.Element(f"{{{SVG}}}title")
            tip.text = gid.removeprefix("tip:")
            element.insert(0, tip)
    if element.text and tag not in {"text", "title", "tspan"}:
        element.text = None
    element.tail = None


def _round(number: re.Match[str]) -> str:
    return f"{float(number[0]):.1f}".removesuffix(".0")


def save(figure: Figure, path: Any) -> None:
    """Write the figure to a file, in the format that its name ends with: svg or png (200 dpi)."""
    for artist in figure.findobj():
        artist.set_gid(None)  # the tips are for the page
    with _drawing():
        matplotlib.rcParams["svg.hashsalt"] = "em-evals"
        figure.savefig(path, dpi=200, metadata={"Date": None} if path.suffix == ".svg" else None)


def short(name: str, longest: int = LONGEST) -> str:
    """A name as a figure can hold it: one line, no longer than there is room."""
    line = clean(" ".join(name.split()))
    if len(line) <= longest:
        return line
    end = longest // 2  # names of checkpoints differ at their ends
    return f"{line[: longest - 1 - end]}…{line[-end:]}"


def labels(names: Sequence[str], longest: int = LONGEST) -> dict[str, str]:
    """A short form of each name, no two alike.

    Names that would be cut to the same are shown from where they begin to differ; what still is
    alike is numbered.

    Args:
        names: The names; those that occur twice are one.
        longest: Characters of a label.
    """
    found = {name: short(name, longest) for name in names}
    for label, same in _alike(found).items():
        places = zip(*(" ".join(name.split()) for name in same), strict=False)
        begin = max(sum(1 for _ in takewhile(lambda at: len(set(at)) == 1, places)) - 2, 0)
        for name in same if len(label) == longest else []:
            line = clean(" ".join(name.split()))
            found[name] = short(f"…{line[min(begin, len(line) - longest + 1) :]}", longest)
    taken: set[str] = set()
    for name, label in found.items():
        number, one = 1, label
        while one in taken:
            number += 1
            mark = f" ({number})"
            one = f"{short(label, longest - len(mark))}{mark}"
        taken.add(one)
        found[name] = one
    return found


def _alike(found: Mapping[str, str]) -> dict[str, list[str]]:
    """The names of each label that several have."""
    by: dict[str, list[str]] = {}
    for name, label in found.items():
        by.setdefault(label, []).append(name)
    return {label: same for label, same in by.items() if len(same) > 1}


def clean(text: str) -> str:
    """Without the characters that neither XML nor HTML may hold."""
    return re.sub(
        r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\N{REPLACEMENT CHARACTER}", text
    )


def in_words(estimate: "Estimate", unit: str) -> str:
    """Value, interval and n, or why there is none."""
    if math.isnan(estimate.value):
        return f"none ({estimate.note or 'nothing to count'}), n {estimate.n:,}"
    value = amount(estimate.value, unit)
    if math.isnan(estimate.lower):
        return f"{value}, no interval ({estimate.note}), n {estimate.n:,}"
    bounds = f"{amount(estimate.lower, unit)} to {amount(estimate.upper, unit)}"
    return f"{value} ({bounds}), n {estimate.n:,}"


def _compact(n: int) -> str:
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if n >= 10 * size:
            return f"{n / size:.0f}{letter}"
    return str(n)


def _scale(shown: Sequence["Panel"], unit: str) -> tuple[float, float, list[float]]:
    """Limits and ticks that hold every value and bound."""
    known = [
        x
        for panel in shown
        for e in panel.estimates.values()
        for x in (e.value, e.lower, e.upper)
        if not math.isnan(x)
    ]
    if unit == "share":
        high, ticks = _ceiling(max(known, default=0.0))
        return 0.0, high, ticks
    low, high = min([0.9, *known]), max([1.1, *known])
    low, high = math.floor(low * 10) / 10, math.ceil(high * 10) / 10
    return low, high, [low, 1.0, high]


def _ceiling(highest: float) -> tuple[float, list[float]]:
    for top in (0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0):
        if highest <= top:
            break
    return top, [0.0, top / 2, top]


def _tick(value: float, unit: str) -> str:
    if unit != "share":
        return f"{value:.1f}"
    percent = value * 100
    return f"{percent:.0f}%" if percent == round(percent) else f"{percent:.1f}%"


def _plain(axes: "Axes") -> None:
    axes.set_axisbelow(True)
    axes.set_facecolor("none")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, colors=MUTED, labelsize=9)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)


def _blank(width: float, height: float) -> Figure:
    """A figure of so many CSS pixels."""
    return Figure(figsize=(width / 72, height / 72), facecolor=PAPER)


@contextmanager
def _drawing() -> "Iterator[None]":
    """Matplotlib at its defaults but ours, whatever the user's settings say."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "svg.fonttype": "none",
                "text.parse_math": False,
                "axes.labelsize": 10,
                "font.size": 10,
            }
        )
        # a script that the built-in font lacks: the browser has its own
        warnings.filterwarnings("ignore", message=".*missing from font.*")
        yield
