"""Figures of skills on text-pieces: links from excess to failing share, charges against wrong answers, weak shares."""

from __future__ import annotations

import numpy as np
import polars as pl

from emergelab.report.content import ReportInput
from emergelab.report.figures import Figure
from emergelab.report.plots import LINE, POINT, Axis, Plot, rows
from emergelab.theory.curves import Curve

BETA = 4.0
"""How many times as often as pieces a weak skill of the figure fails."""
_LINES = 60
_EDGE, _ROOM = 0.02, 1.25  # so that points at the ends of an axis are whole
_KINDS = {
    "single": "single skills",
    "concatenated": "pairs of two pieces",
    "within": "pairs of one piece",
}
_CURVES = {Curve.markov: "Markov", Curve.exact: "exact curve", Curve.theorem: "theorem"}


def skill_figures(content: ReportInput) -> list[Figure]:
    """Return the figures of a study that measures skills on text-pieces; none for any other, or without excess."""
    if content.links is None or content.links.is_empty() or content.skills is None or content.weak is None:
        return []
    return [
        plot.figure()
        for plot in (links_plot(content.links), charges_plot(content.skills), weak_plot(content.weak))
        if plot.frame.height
    ]


def links_plot(links: pl.DataFrame) -> Plot:
    """Draw the share of failing pieces over the excess, with what the links allow. `links` are `LINKS`."""
    shown = links.filter(pl.col("link") == "linear", pl.col("theta") > 0, pl.col("epsilon") > 0)
    series = {"distance": "models", "cloze loss": "models, by cloze loss"}
    parts: list[pl.DataFrame] = []
    for rank, (panel, own) in enumerate(_panels(shown)):
        # Where all answers are certain both are the same.
        same = _by(own, "distance")["theta"].to_list() == _by(own, "cloze loss")["theta"].to_list()
        for failing, name in series.items():
            if failing == "distance" or not same:
                points = _by(own, failing)
                values = {"x": points["epsilon"], "y": points["theta"]}
                values |= {"lo": points["theta_lo"].clip(1e-5), "hi": points["theta_hi"]}
                parts.append(rows(panel, rank, name, POINT, values))
        parts += [rows(panel, rank, name, LINE, values) for name, values in _links(own).items()]
    colours = {"models": "mode-0", "models, by cloze loss": "mode-1"}
    colours |= {
        "2\N{GREEK SMALL LETTER EPSILON}": "bound-1",
        "certain answers": "ideal-1",
        "Pinsker": "guess",
    }
    return Plot(
        name="skill-links",
        title="From the excess to failing pieces",
        short="Links",
        caption="Each point is a model, with its 95 % interval over documents. A piece fails when its answers' mean "
        "distance from the ideal predictor is one half or more. Lines: the most that may fail, twice the excess, the "
        "root of twice the excess (Pinsker), and, where every answer is certain, the excess over ln 2.",
        frame=_joined(parts),
        x=_logarithmic("excess, nats per question", shown["epsilon"]),
        y=_logarithmic("share of pieces that fail", shown["theta"]),
        colours={name: colour for name, colour in colours.items() if _drawn(parts, name)},
        dashed=("Pinsker",),
    )


def _links(own: pl.DataFrame) -> dict[str, dict[str, np.ndarray]]:
    measured = np.log(own["epsilon"].to_numpy())
    epsilon = np.exp(np.linspace(measured.min(), measured.max(), _LINES))
    lines = {
        "2\N{GREEK SMALL LETTER EPSILON}": 2 * epsilon,
        "certain answers": epsilon / np.log(2),
        "Pinsker": np.sqrt(2 * epsilon),
    }
    return {name: {"x": epsilon[y <= 1], "y": y[y <= 1]} for name, y in lines.items()}


def charges_plot(skills: pl.DataFrame) -> Plot:
    """Draw wrong answers over failure, skill by skill, for the largest models. `skills` are `SKILLS`."""
    largest = pl.col("params") == pl.col("params").max().over("variant")  # grammars differ in their words
    single = skills.filter(pl.col("kind") == "single", largest)
    parts = [
        part
        for rank, (panel, own) in enumerate(_panels(single))
        for part in (
            rows(panel, rank, "as many", LINE, {"x": [0.0, 1.0], "y": [0.0, 1.0]}),
            rows(
                panel,
                rank,
                "a skill of a model",
                POINT,
                {"x": own["failure"], "y": own["wrong"], "lo": own["wrong_lo"], "hi": own["wrong_hi"]},
            ),
        )
    ]
    return Plot(
        name="skill-charges",
        title="Wrong answers against failing pieces, by skill",
        short="Charges",
        caption="Each point is one skill of one of the largest models: the share of wrong answers on its pieces, with "
        "a 95 % interval, over the share of these pieces that fail. Above the line more is wrong than is charged.",
        frame=_joined(parts),
        x=Axis(title="failure of the skill", ends=(-_EDGE, 1 + _EDGE)),
        y=Axis(title="share of wrong answers", ends=(-_EDGE, 1 + _EDGE)),
        colours={"a skill of a model": "mode-0", "as many": "guess"},
    )


def weak_plot(weak: pl.DataFrame) -> Plot:
    """Draw the share of weak skills and pairs over failing pieces, under the curves. `weak` is `WEAK`."""
    shown = weak.filter(pl.col("beta") == BETA, pl.col("theta") > 0, pl.col("failure") < 1)
    parts: list[pl.DataFrame] = []
    rank = 0
    for variant, own in _panels(shown):
        for kind, name in _KINDS.items():
            points = own.filter(pl.col("kind") == kind).sort("theta")
            panel = "\n".join(filter(None, [name, variant]))
            values = {"x": points["theta"], "y": points["share"]}
            parts.append(
                rows(
                    panel,
                    rank,
                    "models",
                    POINT,
                    values | {"lo": points["share_lo"], "hi": points["share_hi"]},
                )
            )
            for curve, said in _CURVES.items():
                parts.append(rows(panel, rank, said, LINE, {"x": points["theta"], "y": points[str(curve)]}))
            rank += 1
    return Plot(
        name="weak-skills",
        title="Shares of weak skills under the curves",
        short="Weak skills",
        caption=f"Each point is a model: which share of skills, or pairs, fails more than {BETA:g} times as often as "
        "pieces do, with its 95 % interval. Lines: the most that the theory allows. Skills are weighed by their share "
        "of all edges.",
        frame=_joined(parts),
        x=_logarithmic("share of pieces that fail", shown["theta"]),
        y=Axis(title="share that is weak", ends=(-_EDGE / 2, 0.5)),
        colours={"models": "mode-0", "exact curve": "ideal-1", "theorem": "bound-0", "Markov": "guess"},
        dashed=("Markov",),
    )


def _logarithmic(title: str, values: pl.Series) -> Axis:
    """Return an axis with some room beyond all values, of which there may be none."""
    ends = (
        (float(values.to_numpy().min()) / _ROOM, float(values.to_numpy().max()) * _ROOM)
        if len(values)
        else None
    )
    return Axis(title=title, scale="log", ends=ends)


def _panels(frame: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    """Return the rows of each variant under its name, nothing where there is one."""
    parts = frame.sort("variant", nulls_last=False).partition_by("variant", maintain_order=True)
    return [(part["variant"][0] or "", part) for part in parts]


def _by(own: pl.DataFrame, failing: str) -> pl.DataFrame:
    return own.filter(pl.col("failing") == failing).sort("cell")


def _drawn(parts: list[pl.DataFrame], series: str) -> bool:
    return any(part.height and part["series"][0] == series for part in parts)


def _joined(parts: list[pl.DataFrame]) -> pl.DataFrame:
    """Put parts one below the other; those without rows have columns of no kind."""
    filled = [part for part in parts if part.height]
    return pl.concat(filled) if filled else pl.DataFrame()
