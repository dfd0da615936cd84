"""The figures of the page of skills: what each shows, and the words below it."""

# ruff: noqa: RUF001 - typography and letters of the theory, for readers

from __future__ import annotations

import math

import numpy as np
import polars as pl

from emergelab.report.plots import LINE, POINT, Axis, Plot, rows
from emergelab.report.skills.content import SkillsInput
from emergelab.theory.curves import Curve, TupleKind, Tuples, failure
from emergelab.theory.decoding import jump, texts_for
from emergelab.theory.scaling import LINKS, failing_share

ALPHAS = np.concatenate([np.geomspace(0.002, 0.1, 40), np.linspace(0.11, 0.99, 60)])
CURVES = (Curve.theorem, Curve.exact)
COUNTS = (2, 4, 8, 16)
THETAS = (0.05, 0.1, 0.2)
SIZES = (1, 2, 4)
TEXT_SKILLS = (2.0, 3.0, 4.0, 5.0)
_FAILURE = Axis(title="failure βθ of weak skills, at most", ends=(0.0, 1.0), form="~g")
_STRONG = Axis(title="share of skills 1 − α that fail no more", ends=(0.0, 1.0), form="~g")
_CURVE_COLOURS = {"theorem": "bound-1", "sharper": "bound-0", "exact": "ideal-1", "markov": "guess"}
_BOTH = "params and tokens"
_WAYS = {
    "params": "parameters",
    "tokens": "tokens",
    _BOTH: "parameters and tokens",
    "compute, optimum to optimum": "compute at the optimum",
}
_LAW_NAMES = {"hoffmann": "Hoffmann et al. 2022", "besiroglu": "Besiroglu et al. 2024"}
_WAY_COLOURS = {
    "parameters": "ideal-1",
    "tokens": "mode-1",
    "parameters and tokens": "size-3",
    "compute at the optimum": "other-1",
}
_INDEPENDENT = "independence"
_KIND_COLOURS = {"adversary": "mode-1", "correlated": "other-1", "random": "other-0"}


def contours_by_k(theta: float = 0.1) -> Plot:
    """Return the contours at one θ for several numbers of skills of a piece."""
    frames = [
        _contour(curve, rank, f"k = {k}", theta, k) for rank, curve in enumerate(CURVES) for k in COUNTS
    ]
    return Plot(
        name="contours-k",
        title=f"How sure skills are, by the number of skills of a piece, when {theta:g} of all pieces fail",
        short="Curves by k",
        caption=(
            "Each line bounds every failing set of this measure at once: the share of skills at the left of the axis "
            "below fails no more than the height says. The more skills a piece needs, the less it can spare any "
            "of them."
        ),
        frame=pl.concat(frames),
        x=_STRONG,
        y=_FAILURE,
        colours=_ramp([f"k = {k}" for k in COUNTS]),
    )


def contours_by_theta(k: int = 8) -> Plot:
    """Return the contours at one k for several θ."""
    frames = [
        _contour(curve, rank, f"θ = {theta:g}", theta, k)
        for rank, curve in enumerate(CURVES)
        for theta in THETAS
    ]
    return Plot(
        name="contours-theta",
        title=f"How sure skills are, by the share of failing pieces, when pieces need {k} skills",
        short="Curves by θ",
        caption="As before, for three shares of failing pieces. Where a line ends, its curve says nothing "
        "further left or right.",
        frame=pl.concat(frames),
        x=_STRONG,
        y=_FAILURE,
        colours=_ramp([f"θ = {theta:g}" for theta in THETAS]),
    )


def contours_of_tuples(theta: float = 0.05, k: int = 8) -> Plot:
    """Return the exact contours of tuples of both kinds."""
    frames = []
    for rank, kind in enumerate(TupleKind):
        for size in SIZES:
            tuples = Tuples(size=size, kind=kind)
            y = failure(Curve.exact, tuples.theta(theta), ALPHAS, tuples.k(k))
            frames.append(rows(_panel(kind), rank, _tuple_name(size), LINE, {"x": 1 - ALPHAS, "y": y}))
    return Plot(
        name="contours-tuples",
        title=f"Tuples of skills of two kinds, when {theta:g} of all pieces fail and pieces need {k} skills",
        short="Tuples",
        caption=(
            "The exact curve. A tuple of concatenated pieces takes one skill from each of several pieces and "
            "fails if any "
            "of these fails: θ grows. A tuple within one piece needs all its skills from it: k shrinks. The two are "
            "different claims."
        ),
        frame=pl.concat(frames),
        x=Axis(title="share of tuples 1 − α that fail no more", ends=(0.0, 1.0)),
        y=_FAILURE,
        colours=_ramp([_tuple_name(size) for size in SIZES]),
    )


def simulation(content: SkillsInput) -> Plot:
    """Return simulated failing sets against the curves, for each graph."""
    frames = [_curves(content, panel, rank) for rank, panel in enumerate(_panels(content.attacks))]
    for rank, panel in enumerate(_panels(content.attacks)):
        part = content.attacks.filter(pl.col("graph") == panel)
        frames.append(rows(panel, rank, "adversary", POINT, {"x": part["alpha"], "y": part["mean"]}))
        for kind in ("correlated", "random"):
            part = content.kinds.filter((pl.col("graph") == panel) & (pl.col("kind") == kind))
            if part.height:
                frames.append(rows(panel, rank, kind, POINT, {"x": part["alpha"], "y": part["mean"]}))
    return Plot(
        name="simulation",
        title=f"Simulated graphs against the curves, θ = {content.theta:g}, k = {content.k}",
        short="Simulation",
        caption=(
            "Points: mean failure of the worst share α of skills, in a simulated graph. The adversary picks "
            "pieces that hurt "
            "α of the skills most, anew for each α, and in the small graph the skills, too; random failing sets "
            "and those of hard "
            "skills (half of a piece’s failing is its skills’) stay far below every curve. In a large graph the "
            "adversary "
            "meets the exact curve; in the small one it passes it, and the theorem’s finite form, which is not "
            "drawn, is what holds."
        ),
        frame=pl.concat(frames),
        x=Axis(title="worst share α of skills", ends=(0.0, 1.0)),
        y=Axis(title="failure", ends=(0.0, 1.0)),
        colours={**_CURVE_COLOURS, **_KIND_COLOURS},
        dashed=("markov",),
    )


def decoding(content: SkillsInput) -> Plot:
    """Return the share of skills unknown by texts for each skill, in infinite and in simulated graphs."""
    frames: list[pl.DataFrame] = []
    for rank, skills in enumerate(content.decoded["skills"].unique().sort(descending=True).to_list()):
        panel = f"{skills:,} skills"
        for mean in TEXT_SKILLS:
            frames.append(rows(panel, rank, _texts_name(mean), LINE, _solutions(mean)))
            part = content.decoded.filter((pl.col("skills") == skills) & (pl.col("c") == mean))
            frames.append(
                rows(panel, rank, _texts_name(mean), POINT, {"x": part["texts"], "y": part["unknown"]})
            )
    return Plot(
        name="decoding",
        title="Learning as decoding: skills still unknown, by texts for each skill",
        short="Decoding",
        caption=(
            "Lines: density evolution, up to the jump the largest solution, behind it the smallest. Points: one "
            "simulated graph "
            "each, peeled. With more than e skills for each text learning jumps: nothing much is learnt, and "
            "then nearly all "
            "at once. Small graphs smear the jump."
        ),
        frame=pl.concat(frames),
        x=Axis(title="texts for each skill, R", ends=(0.0, 3.0)),
        y=Axis(title="share of skills unknown, q", ends=(0.0, 1.0)),
        colours=_ramp([_texts_name(mean) for mean in TEXT_SKILLS]),
    )


def novelty(content: SkillsInput) -> Plot:
    """Return success by k against the share of combinations that a corpus can hold."""
    board = content.board.filter(pl.col("rate") > 0)
    bound = content.board.select("k", "bound").unique().sort("k")
    best = board.sort("rate").group_by("model").agg(pl.col("k").max(), pl.col("rate").max())
    first = best.sort("k", "rate", descending=True)["model"][0]
    panel = "combinations of k skills and a topic"
    frames = [rows(panel, 0, "corpus, at most", LINE, {"x": bound["k"], "y": bound["bound"]})]
    for name, part in (
        (first, board.filter(pl.col("model") == first)),
        ("other models", board.filter(pl.col("model") != first)),
    ):
        values = {"x": part["k"], "y": part["rate"], "lo": part["lo"], "hi": part["hi"]}
        frames.append(rows(panel, 0, name, POINT, values))
    return Plot(
        name="novelty",
        title="Full marks by the number of skills, and what a corpus can have shown",
        short="Novelty",
        caption=(
            "Success at combinations drawn at random, with exact 95 % intervals; models without any success are "
            "not drawn. The line "
            "is the share of combinations that occurs in a corpus of 5e10 sentences, at most, if skills and "
            "topics are independent. "
            "An interval above the line shows texts that were not read; the line at 1 shows nothing."
        ),
        frame=pl.concat(frames),
        x=Axis(title="skills in a combination, k", ends=(1.7, 6.3), form="d"),
        y=Axis(title="share of combinations", scale="log", ends=(5e-4, 1.2)),
        colours={first: "size-2", "other models": "other-0", "corpus, at most": "bound-1"},
        dashed=("corpus, at most",),
    )


def cooccurrence(content: SkillsInput) -> Plot:
    """Return how much more often k skills occur together than independence says."""
    names = content.lifts["corpus"].unique(maintain_order=True).to_list()
    frames: list[pl.DataFrame] = []
    for name in names:
        part = content.lifts.filter(pl.col("corpus") == name)
        panel, rank = ("simulated texts", 0) if part["known"].is_not_null().all() else ("shipped grammars", 1)
        values = {"x": part["k"], "y": part["value"], "lo": part["lo"], "hi": part["hi"]}
        frames.append(rows(panel, rank, name, POINT, values))
        if rank == 0:
            frames.append(rows(panel, rank, name, LINE, {"x": part["k"], "y": part["known"]}))
    ends = (1.8, float(content.lifts["k"].to_numpy().max()) + 0.2)
    panels = pl.concat(frames).select("panel", "panel_rank").unique(maintain_order=True)
    frames += [
        rows(panel, rank, _INDEPENDENT, LINE, {"x": list(ends), "y": [1.0, 1.0]})
        for panel, rank in panels.iter_rows()
    ]
    return Plot(
        name="lifts",
        title="How many times as often as by independence do k skills occur in one text?",
        short="Independence",
        caption=(
            "Points with 95 % intervals; at the left lines are the closed form for texts whose density of skills "
            "varies by a gamma law. 1 is "
            "independence. Where texts have themes or lengths of their own the lift grows with k, and the bound on "
            "novelty rises with it; where skills exclude each other it falls."
        ),
        frame=pl.concat(frames),
        x=Axis(title="skills in a combination, k", ends=ends, form="d"),
        y=Axis(title="lift", scale="log"),
        own_heights=True,
        colours={
            **dict(zip(names, ("size-0", "size-1", "size-2", "mode-0", "mode-1", "other-1"), strict=False)),
            _INDEPENDENT: "guess",
        },
        dashed=(_INDEPENDENT,),
    )


def slingshot(content: SkillsInput) -> Plot:
    """Return by what more parameters, tokens or compute divide the excess, law by law."""
    names = content.scaled["law"].unique(maintain_order=True).to_list()
    frames: list[pl.DataFrame] = []
    for rank, name in enumerate(names):
        for way, part in _by_way(content.scaled.filter(pl.col("law") == name)):
            frames.append(rows(law_name(name), rank, way, LINE, {"x": part["factor"], "y": part["divided"]}))
            told = part.filter(pl.col("lo").is_not_null())
            values = {"x": told["factor"], "y": told["divided"], "lo": told["lo"], "hi": told["hi"]}
            if told.height:
                frames.append(rows(law_name(name), rank, way, POINT, values))
    return Plot(
        name="slingshot",
        title="By what scale divides the excess loss",
        short="Slingshot",
        caption=(
            "From the compute-optimal point of each law at the compute named above. A factor in parameters and in "
            "tokens is its square in compute; the same factor in compute, spent at the optimum, divides the excess "
            "far less. Points: 95 % intervals over resampled runs, where the law was fitted here."
        ),
        frame=pl.concat(frames),
        x=Axis(title="factor", scale="log", form="~s"),
        y=Axis(title="excess divided by", scale="log"),
        colours=_WAY_COLOURS,
    )


def slingshot_theta(content: SkillsInput) -> Plot:
    """Return θ by the factor, under both links."""
    frames: list[pl.DataFrame] = []
    for rank, link in enumerate(LINKS):
        for way, part in _by_way(content.scaled.filter(pl.col("law") == content.law)):
            theta = [failing_share(excess, link) for excess in part["excess"].to_list()]
            frames.append(rows(_link_name(link), rank, way, LINE, {"x": part["factor"], "y": theta}))
    return Plot(
        name="slingshot-theta",
        title="The share of failing pieces after more of it, under both links",
        short="θ by scale",
        caption=(
            f"The law of {law_name(content.law)}, its excess per token taken for the excess per cloze answer. The link "
            "decides: what divides the excess by k divides θ by k under the linear link, by its root under Pinsker’s."
        ),
        frame=pl.concat(frames),
        x=Axis(title="factor", scale="log", form="~s"),
        y=Axis(title="share θ of failing pieces", ends=(0.0, 1.0)),
        colours=_WAY_COLOURS,
    )


def slingshot_curves(content: SkillsInput) -> Plot:
    """Return the curves of single skills and of pairs, before and after ten times parameters and tokens."""
    part = content.through.filter((pl.col("way") == _BOTH) & (pl.col("tuples") == 1))
    frames: list[pl.DataFrame] = []
    for rank, row in enumerate(part.to_dicts()):
        for size in (1, 2):
            for when in ("before", "after"):
                y = _tuple_curve(float(row[f"theta_{when}"]), size, content.k)
                name = f"{_tuple_name(size)}, {when}"
                frames.append(rows(_link_name(row["link"]), rank, name, LINE, {"x": 1 - ALPHAS, "y": y}))
    return Plot(
        name="slingshot-curves",
        title="Curves before and after ten times the parameters and ten times the tokens",
        short="Tuples by scale",
        caption=(
            "The exact curve of single skills and of pairs, one skill from each of two joined pieces. Under the "
            "linear link pairs after it are no worse than single skills before, for the excess is more than halved. "
            "Under Pinsker’s it would have to be divided by four."
        ),
        frame=pl.concat(frames),
        x=Axis(title="share of skills or pairs 1 − α that fail no more", ends=(0.0, 1.0)),
        y=_FAILURE,
        colours={
            "single skills, before": "other-0",
            "single skills, after": "size-2",
            "tuples of 2, before": "other-1",
            "tuples of 2, after": "mode-1",
        },
        dashed=("single skills, before", "tuples of 2, before"),
    )


def way_name(way: str) -> str:
    """Return what there is more of, in words."""
    return _WAYS[way]


def _by_way(part: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    found = [(name, part.filter(pl.col("way") == way).sort("factor")) for way, name in _WAYS.items()]
    return [(name, frame) for name, frame in found if frame.height]


def _tuple_curve(theta: float, size: int, k: int) -> np.ndarray:
    if theta >= 1:
        return np.ones_like(ALPHAS)
    joined = Tuples(size=size, kind=TupleKind.concatenated).theta(theta)
    return failure(Curve.exact, joined, ALPHAS, k)


def law_name(name: str) -> str:
    """Return whose law it is, in words."""
    return _LAW_NAMES.get(name, name)


def _link_name(link: str) -> str:
    return f"{link}: θ = 2ε" if link == "linear" else f"{link}: θ = √(2ε)"


def design(content: SkillsInput) -> Plot:
    """Return half-widths of intervals by combinations, predicted and simulated."""
    frames: list[pl.DataFrame] = []
    names: list[str] = []
    for (generations, graders), part in content.evaluations.group_by(
        ["generations", "graders"], maintain_order=True
    ):
        name = f"{generations} per combination, {graders} grader{'' if graders == 1 else 's'}"
        names.append(name)
        x = part["combinations"]
        frames.append(rows("half-width by combinations", 0, name, LINE, {"x": x, "y": part["predicted"]}))
        frames.append(rows("half-width by combinations", 0, name, POINT, {"x": x, "y": part["simulated"]}))
    return Plot(
        name="design",
        title="How wide an interval an evaluation of tuples gives",
        short="Design",
        caption=(
            "Success rate 0.3, generations of one combination alike by 0.2, graders agreeing by 0.7, their means "
            "apart by 0.03. Lines: the "
            "formula; points: 1.96 standard deviations over simulated evaluations. More combinations help most; "
            "what graders "
            "disagree on in the mean stays."
        ),
        frame=pl.concat(frames),
        x=Axis(title="combinations", scale="log", form="~s"),
        y=Axis(title="half-width of the 95 % interval", ends=(0.0, 0.3)),
        colours=_ramp(names),
    )


def _contour(curve: Curve, rank: int, series: str, theta: float, k: int) -> pl.DataFrame:
    return rows(str(curve), rank, series, LINE, {"x": 1 - ALPHAS, "y": failure(curve, theta, ALPHAS, k)})


def _curves(content: SkillsInput, panel: str, rank: int) -> pl.DataFrame:
    return pl.concat(
        rows(
            panel,
            rank,
            str(curve),
            LINE,
            {"x": ALPHAS, "y": failure(curve, content.theta, ALPHAS, content.k)},
        )
        for curve in Curve
    )


def _solutions(mean: float) -> dict[str, np.ndarray]:
    """Return the curve of stable solutions from q = 1 on: up to the jump, down it, and on."""
    shares = np.exp(np.linspace(0.0, -16.0, 600))
    texts = np.array([texts_for(share, mean) for share in shares])
    found = jump(mean)
    if found is None:
        kept = texts <= 3  # noqa: PLR2004 - the axis ends there
        return {"x": texts[kept], "y": shares[kept]}
    kept = (texts <= 3) & ((shares >= found.before) | (shares <= found.after))  # noqa: PLR2004
    return {"x": texts[kept], "y": shares[kept]}


def _panels(frame: pl.DataFrame) -> list[str]:
    return frame["graph"].unique(maintain_order=True).to_list()


def _panel(kind: TupleKind) -> str:
    return "of concatenated pieces" if kind is TupleKind.concatenated else "within one piece"


def _tuple_name(size: int) -> str:
    return "single skills" if size == 1 else f"tuples of {size}"


def _texts_name(mean: float) -> str:
    return f"{mean:g} skills per text"


def _ramp(names: list[str]) -> dict[str, str]:
    places = [math.floor(place * 3 / max(len(names) - 1, 1)) for place in range(len(names))]
    return {name: f"size-{place}" for name, place in zip(names, places, strict=True)}
