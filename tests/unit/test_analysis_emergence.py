"""Statistics of emergence against least squares, brute force and closed forms; what they say of what is not known."""

import dataclasses

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats
from scipy.special import expit

from emergelab.analysis.aggregate import CELLS
from emergelab.analysis.emergence import breaks, curves, thresholds
from emergelab.analysis.emergence.breaks import find_break
from emergelab.analysis.emergence.curves import Curve, Scale
from emergelab.analysis.emergence.metrics import Question, TaskCurves, across_metrics, emergence
from emergelab.analysis.emergence.rises import Plateaus, fit_rises, law_of_all
from emergelab.analysis.emergence.shapes import Family, _sudden, shapes_over
from emergelab.analysis.emergence.tables import EMERGENCE, emergence_table, task_curves
from emergelab.analysis.emergence.thresholds import sharpness, threshold
from emergelab.rng import stream
from emergelab.scores.tables import ITEMS

DRAWS = stream(0, "draws")


def of_shares(x: list[float], right: list[int], n: int = 200, axis: curves.Axis = "parameters") -> Curve:
    """Return a curve of one run."""
    counts = np.array(right)[:, None]
    return curves.shares(Scale(np.array(x, dtype=float), axis), counts, np.full_like(counts, n))


def logistic(u: np.ndarray, place: float, width: float, start: float, end: float) -> np.ndarray:
    return start + (end - start) * expit((u - place) / width)


# Curves


def test_errors_of_answers_are_those_of_resampled_prompts():
    """Runs that answer the same prompts share what the prompts do to them: resample whole prompts."""
    generator = stream(0, "answers").generator()
    prompts, runs = 400, 3
    difficulty = generator.normal(size=prompts)
    nats = 5 + difficulty + 0.5 * generator.normal(size=(2, runs, prompts))
    curve = curves.of_answers(Scale(np.array([1.0, 2.0])), nats, rising=False)
    chosen = generator.integers(prompts, size=(4000, prompts))
    resampled = nats[0].mean(axis=0)[chosen].mean(axis=1).var()
    assert curve.mean_variances()[0] == pytest.approx(resampled, rel=0.15)
    assert curve.mean_variances()[0] > 2 * curve.errors[0].mean() / runs  # it is far from independent
    np.testing.assert_allclose(curve.errors, nats.var(axis=2, ddof=1) / prompts)


def test_runs_that_share_no_prompts_are_independent():
    nats = stream(0, "independent").generator().normal(size=(1, 4, 5000))
    curve = curves.of_answers(Scale(np.array([1.0])), nats, rising=False)
    assert curve.mean_variances()[0] == pytest.approx(1 / 20000, rel=0.1)


def test_answers_of_0_and_1_are_shares():
    answers = np.zeros((2, 1, 100))
    answers[1, 0, :40] = 1
    curve = curves.of_answers(Scale(np.array([1.0, 2.0])), answers, rising=True)
    same = of_shares([1, 2], [0, 40], 100)
    assert curve.shares
    np.testing.assert_allclose(curve.errors, same.errors)
    assert same.errors[0, 0] > 0  # none right is no certainty


def test_points_are_put_in_order_and_loss_runs_downward():
    parameters = of_shares([300, 100, 200], [3, 1, 2])
    assert parameters.scale.x.tolist() == [100, 200, 300]
    assert parameters.means().tolist() == [1 / 200, 2 / 200, 3 / 200]
    loss = of_shares([1.5, 3.5, 2.5], [3, 1, 2], axis="loss")
    assert loss.scale.x.tolist() == [3.5, 2.5, 1.5]
    assert loss.scale.positions().tolist() == [-3.5, -2.5, -1.5]


def test_missing_runs_are_left_out():
    right, n = np.array([[10, 30], [50, 0]]), np.array([[100, 100], [100, 0]])
    curve = curves.shares(Scale(np.array([1.0, 2.0])), right, n)
    assert curve.means().tolist() == [0.2, 0.5]
    assert curve.counts().tolist() == [2, 1]
    assert curve.n == 300


@pytest.mark.parametrize("x", [[], [0.0, 1.0], [1.0, 1.0], [1.0, np.inf], [-2.0, 1.0]])
def test_a_scale_refuses_what_has_no_place_on_it(x: list[float]):
    with pytest.raises(ValueError, match="A scale"):
        Scale(np.array(x))


def test_impossible_curves_are_faults():
    scale, two = Scale(np.array([1.0, 2.0])), np.ones((2, 1))
    with pytest.raises(ValueError, match="0 to n"):
        curves.shares(scale, np.array([[3], [1]]), np.array([[2], [2]]))
    with pytest.raises(ValueError, match="a run"):
        curves.shares(scale, np.array([[0], [1]]), np.array([[0], [2]]))
    with pytest.raises(ValueError, match="standard error"):
        curves.means(scale, two, np.full((2, 1), np.nan), rising=True)
    with pytest.raises(ValueError, match="a point"):
        curves.means(scale, np.ones((3, 1)), np.ones((3, 1)), rising=True)
    with pytest.raises(ValueError, match="finite"):
        curves.means(scale, np.array([[1.0], [np.inf]]), two, rising=False)
    with pytest.raises(ValueError, match="two of them"):
        curves.of_answers(scale, np.full((2, 1, 1), 0.5), rising=True)


# Thresholds


def test_the_rise_is_that_of_least_squares_where_points_are_many():
    """With many precise points the integrated law is the normal one about the fit of least squares."""
    u = np.linspace(0, 8, 25)
    noise = 0.02
    y = logistic(u, 4.3, 0.7, 0.2, 0.9) + noise * stream(0, "fit").generator().normal(size=u.size)
    curve = curves.means(Scale(np.exp(u)), y[:, None], np.full((25, 1), noise), rising=True)
    best, covariance = optimize.curve_fit(
        logistic, u, y, p0=(4, 1, 0, 1), sigma=np.full(25, noise), absolute_sigma=True
    )
    (rise,) = fit_rises(curve, DRAWS)
    for draws, parameter in ((rise.place, 0), (rise.width, 1), (rise.start, 2), (rise.end, 3)):
        error = np.sqrt(covariance[parameter, parameter])
        assert np.median(draws) == pytest.approx(best[parameter], abs=0.4 * error)
        assert np.std(draws) == pytest.approx(error, rel=0.35)


def test_a_named_level_is_crossed_where_the_fit_crosses_it():
    u = np.linspace(0, 8, 25)
    y = logistic(u, 4.0, 0.7, 0.2, 0.9)
    curve = curves.means(Scale(np.exp(u)), y[:, None], np.full((25, 1), 0.005), rising=True)
    for level in (0.3, 0.55, 0.8):
        crossing = 4.0 + 0.7 * np.log((level - 0.2) / (0.9 - level))
        found = threshold(curve, DRAWS, level=level)
        assert np.log(found.curve.value) == pytest.approx(crossing, abs=0.03)
        assert found.hull.lo < np.exp(crossing) < found.hull.hi


def test_sharpness_is_the_width_from_10_to_90_percent():
    u = np.linspace(0, 8, 25)
    y = logistic(u, 4.0, 0.5, 0.0, 1.0)
    curve = curves.means(Scale(np.exp(u)), y[:, None], np.full((25, 1), 0.005), rising=True)
    tenth, ninetieth = np.interp(
        [0.1, 0.9], logistic(np.linspace(0, 8, 4001), 4, 0.5, 0, 1), np.linspace(0, 8, 4001)
    )
    found = sharpness(curve, DRAWS)
    assert found.value == pytest.approx(ninetieth - tenth, rel=0.03)
    assert found.lo < ninetieth - tenth < found.hi


def test_a_jump_between_two_points_is_known_to_lie_between_them():
    found = threshold(of_shares([1e3, 1e4, 1e5, 1e6], [10, 12, 190, 195]), DRAWS, level=0.5)
    assert (found.hull.lo, found.hull.hi) == (1e4, 1e5)
    assert (found.bracket.lo, found.bracket.hi) == (1e4, 1e5)
    assert found.stated == "between 1e+04 and 1e+05"
    assert sharpness(of_shares([1e3, 1e4, 1e5, 1e6], [10, 12, 190, 195]), DRAWS).lo == 0.0


@pytest.mark.parametrize(
    ("right", "ends", "stated"),
    [
        ([10, 12, 9, 11], (1e6, None), "above 1e+06"),
        ([190, 195, 192, 196], (None, 1e3), "below 1000"),
        ([10, 12, 9, 100], (1e5, None), "above 1e+05"),
        ([100, 190, 191, 192], (None, 1e4), "below 1e+04"),
    ],
)
def test_a_level_that_is_not_crossed_is_censored(
    right: list[int], ends: tuple[float | None, float | None], stated: str
):
    found = threshold(of_shares([1e3, 1e4, 1e5, 1e6], right), DRAWS, level=0.5)
    assert (found.bracket.lo, found.bracket.hi) == pytest.approx(ends)
    assert (found.hull.lo, found.hull.hi) == pytest.approx(ends)
    assert found.stated == stated


def test_on_the_axis_of_loss_less_is_better():
    found = threshold(of_shares([2.0, 2.5, 3.0, 3.5], [190, 188, 12, 9], axis="loss"), DRAWS, level=0.5)
    assert (found.bracket.lo, found.bracket.hi) == pytest.approx((2.5, 3.0))
    assert found.stated == "between 2.5 and 3"
    none = threshold(of_shares([2.0, 2.5, 3.0], [10, 9, 12], axis="loss"), DRAWS, level=0.5)
    assert (none.bracket.lo, none.bracket.hi) == (None, 2.0)
    assert none.stated == "below 2"


@given(st.lists(st.integers(0, 60), min_size=2, max_size=7), st.integers(1, 59).map(lambda level: level / 60))
def test_the_bracket_is_what_a_walk_from_either_end_finds(right: list[int], level: float):
    curve = of_shares([2.0**k for k in range(len(right))], right, 60)
    found = thresholds._bracket(curve, level)
    lo, hi = 0.0, np.inf
    for k, count in enumerate(right):
        p = (count + 1) / 62
        if not count / 60 + 1.959964 * np.sqrt(p * (1 - p) / 62) < level:
            break
        lo = 2.0**k
    for k, count in reversed(list(enumerate(right))):
        p = (count + 1) / 62
        if not count / 60 - 1.959964 * np.sqrt(p * (1 - p) / 62) > level:
            break
        hi = 2.0**k
    assert np.exp(found) == pytest.approx((lo, hi))


def test_units_of_the_scale_and_order_of_points_do_not_matter():
    x, right = [1e3, 4e3, 16e3, 64e3, 256e3], [20, 30, 110, 180, 185]
    found = threshold(of_shares(x, right), DRAWS).hull
    scaled = threshold(of_shares([1e6 * value for value in x], right), DRAWS).hull
    assert (scaled.lo, scaled.value, scaled.hi) == pytest.approx(
        (1e6 * found.lo, 1e6 * found.value, 1e6 * found.hi), rel=1e-6
    )
    turned = threshold(of_shares(x[::-1], right[::-1]), DRAWS).hull
    assert turned == found


def test_a_falling_curve_is_the_rising_one_upside_down():
    u = np.linspace(0, 6, 8)
    y, errors = logistic(u, 3, 0.5, 0.1, 2.0)[:, None], np.full((8, 1), 0.05)
    rising = curves.means(Scale(np.exp(u)), y, errors, rising=True)
    falling = curves.means(Scale(np.exp(u)), -y, errors, rising=False)
    assert threshold(rising, DRAWS, level=1.0).hull == threshold(falling, DRAWS, level=-1.0).hull


def test_known_plateaus_are_kept():
    curve = of_shares([1, 2, 4, 8], [40, 60, 100, 140])
    (rise,) = fit_rises(curve, DRAWS, Plateaus(start=0.125, end=1.0))
    assert rise.start == pytest.approx(0.125, abs=0.01)
    assert rise.end == pytest.approx(1.0, abs=0.01)


def test_the_same_stream_gives_the_same_numbers():
    curve = of_shares([1, 2, 4, 8, 16, 32], [20, 25, 60, 120, 170, 172])
    assert threshold(curve, DRAWS) == threshold(curve, DRAWS)
    assert find_break(curve, DRAWS) == find_break(curve, DRAWS)


def test_nothing_is_known_of_two_points_or_of_a_fall():
    two = threshold(of_shares([1, 2], [10, 190]), DRAWS)
    assert (two.hull.value, two.hull.lo, two.hull.hi) == (None, None, None)
    assert two.hull.method == "none: fewer than 3 points"
    fall = of_shares([1, 2, 4, 8], [195, 150, 60, 5])
    assert threshold(fall, DRAWS).hull.method == "none: no rise"
    assert sharpness(fall, DRAWS).value is None


def test_one_run_speaks_for_itself_only():
    one, two = np.array([[10], [100], [190]]), np.array([[10, 9], [100, 90], [190, 191]])
    scale = Scale(np.array([1.0, 10.0, 100.0]))
    assert "of these runs" in threshold(curves.shares(scale, one, one * 0 + 200), DRAWS).hull.method
    assert "of these runs" not in threshold(curves.shares(scale, two, two * 0 + 200), DRAWS).hull.method


def test_the_law_of_all_runs_is_students_where_runs_are_many_and_known():
    generator = stream(0, "runs").generator()
    places = generator.normal(3.0, 0.4, size=12)
    draws = [place + 0.02 * generator.normal(size=4000) for place in places]
    grid, law = law_of_all(draws, 7.0)
    lo, hi = grid[np.searchsorted(law.cumsum(), [0.025, 0.975])]
    expected = stats.ttest_1samp(places, 0).confidence_interval()
    assert (lo, hi) == pytest.approx((expected.low, expected.high), abs=0.05)


def test_few_runs_that_disagree_leave_much_open():
    agree, disagree = (
        [place + 0.05 * stream(0, "few", k).generator().normal(size=4000) for k, place in enumerate(places)]
        for places in ((3.0, 3.02), (2.5, 3.5))
    )
    widths = []
    for draws in (agree, disagree):
        grid, law = law_of_all(draws, 7.0)
        lo, hi = grid[np.searchsorted(law.cumsum(), [0.025, 0.975])]
        widths.append(hi - lo)
    assert widths[0] < 1.5
    assert widths[1] > 2.5


# Smooth or broken


@pytest.mark.parametrize("name", ["sigmoid", "step on a slope"])
def test_residuals_are_those_of_bounded_least_squares(name: str):
    u = np.linspace(0, 6, 9)
    generator = stream(0, "residuals", name).generator()
    noise = generator.uniform(0.5, 2.0, size=9)
    shapes = shapes_over(u, 3.0)
    (family,) = [one for one in shapes.broken if one.names[0] == name]
    ready = breaks._whitened(family, u, noise)
    values = generator.normal(size=(4, 9))
    found = ready.residuals(values)
    for number in range(0, len(family.shapes), 37):
        columns = [np.ones(9), *([u] if family.sloped else []), family.shapes[number]]
        design = np.stack(columns, axis=1) / noise[:, None]
        free = [np.inf] * len(columns)
        bounds = ([-np.inf] * (len(columns) - 1) + [0.0], free)
        for row in range(4):
            expected = 2 * optimize.lsq_linear(design, values[row], bounds, tol=1e-13).cost
            assert found[row, number] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("span", "sudden"), [(0.44, [True]), (0.42, [False])])
def test_a_sigmoid_changes_most_within_its_width(span: float, sudden: list[bool]):
    """Four fifths of a logistic lie within 2 ln 9 widths, 4.394 of 10 here, and a little less as its ends are cut."""
    fine = np.linspace(0, 10, 4001)
    values = expit(fine - 5)[None]
    done = (values[0] - values[0, 0]) / (values[0, -1] - values[0, 0])
    need = (np.interp(0.9, done, fine) - np.interp(0.1, done, fine)) / 10
    assert 0.42 < need < 0.43
    assert _sudden(np.interp(np.linspace(0, 10, 401), fine, values[0])[None], span).tolist() == sudden


def test_power_laws_and_lines_are_smooth_and_steps_are_not():
    shapes = shapes_over(np.linspace(0, 7, 12), 3.5)
    smooth, broken = ({family.names[0] for family in part} for part in (shapes.smooth, shapes.broken))
    assert {"line", "power law", "levelling line"} <= smooth - broken
    assert {"step", "step on a slope"} <= broken - smooth
    assert {"sigmoid", "growing power", "rising line"} <= smooth & broken
    assert isinstance(shapes.step, Family)
    assert shapes.step.shapes.sum(axis=1).tolist() == list(range(11, 0, -1))


def test_a_break_is_found_where_it_is():
    found = find_break(of_shares([2.0**k for k in range(10)], [20] * 6 + [180] * 4), DRAWS)
    assert found.verdict == "jump"
    assert found.between == (32.0, 64.0)
    assert found.aicc_broken < found.aicc_smooth
    assert found.p_smooth == pytest.approx(1 / 1000)


def test_a_line_does_not_jump():
    found = find_break(of_shares([2.0**k for k in range(10)], list(range(20, 200, 18))), DRAWS)
    assert found.verdict == "no jump"
    assert found.smooth == "line"
    assert found.p_step < 0.05 <= found.p_smooth


def test_a_curve_that_falls_steadily_does_not_jump():
    found = find_break(of_shares([2.0**k for k in range(10)], list(range(182, 2, -18))), DRAWS)
    assert found.verdict != "jump"
    assert found.smooth == "line"


def test_whether_a_rise_is_a_jump_depends_on_the_span_that_the_caller_names():
    x = np.exp(np.linspace(0, 10, 12))
    right = np.round(300 * logistic(np.log(x), 5, 0.5, 0.1, 0.9)).astype(int)
    curve = of_shares(x.tolist(), right.tolist(), 300)
    assert find_break(curve, DRAWS, span=5.0).verdict == "jump"
    assert find_break(curve, DRAWS, span=1.5).verdict == "no jump"


def test_few_points_are_undecided():
    found = find_break(of_shares([1, 2, 4, 8], [10, 10, 190, 190]), DRAWS)
    assert (found.verdict, found.p_smooth, found.aicc_smooth) == ("undecided", None, None)
    assert found.method == "none: fewer than 6 points"


def test_criteria_follow_their_formula():
    """Hurvich and Tsai: AICc = 2k - 2 ln L + 2k(k + 1)/(n - k - 1); here a line, k = 3, with residuals of scipy's."""
    u = np.linspace(0, 9, 10)
    y = 0.1 * u + 0.3 * stream(0, "aicc").generator().normal(size=10)
    family = Family(("line",), np.zeros((1, 10)), np.array([3.0]), sloped=True)
    ready = breaks._whitened(family, u, np.full(10, 0.05))
    residuals = np.square((y - np.polyval(np.polyfit(u, y, 1), u)) / 0.05).sum()
    factor = residuals / 10
    likelihood = -0.5 * (10 * np.log(factor) + 10)
    expected = 2 * 3 - 2 * likelihood + 2 * 3 * 4 / 6
    assert breaks._aicc(y / 0.05, [ready]) == (pytest.approx(expected), "line", 0)


# Across metrics


def tokens(probability: np.ndarray) -> TaskCurves:
    """Return curves of answers of five tokens, without noise in their means, over twelve points."""
    scale = Scale(np.exp(np.linspace(0, 7, probability.size)))
    right = np.round(400 * probability**5).astype(int)[:, None]
    errors = np.full((probability.size, 1), 0.05)
    nats = curves.means(scale, -5 * np.log(probability)[:, None], errors, rising=False)
    return TaskCurves(curves.shares(scale, right, np.full_like(right, 400)), nats)


def test_exact_match_of_tokens_that_get_better_smoothly_is_an_artefact():
    found = across_metrics(tokens(np.linspace(0.2, 0.98, 12)), DRAWS)
    assert found.verdict == "artefact of the metric"
    assert found.progress.lo > 0.6


def test_tokens_that_jump_jump_in_both():
    found = across_metrics(tokens(np.repeat([0.3, 0.97], 6)), DRAWS)
    assert found.verdict == "jump"
    assert found.progress.value < 0.5


def test_what_changes_smoothly_in_both_does_not_jump():
    scale = Scale(np.exp(np.linspace(0, 7, 12)))
    share = np.linspace(0.3, 0.8, 12)
    right = np.round(400 * share).astype(int)[:, None]
    nats = curves.means(scale, -np.log(share)[:, None], np.full((12, 1), 0.02), rising=False)
    task = TaskCurves(curves.shares(scale, right, np.full_like(right, 400)), nats)
    assert across_metrics(task, DRAWS).verdict == "no jump"


def test_curves_of_one_task_are_over_one_scale():
    other = dataclasses.replace(tokens(np.linspace(0.2, 0.9, 12)).nats, scale=Scale(np.arange(1.0, 13)))
    with pytest.raises(ValueError, match="same scale"):
        across_metrics(TaskCurves(tokens(np.linspace(0.2, 0.9, 12)).accuracy, other), DRAWS)


# Tables


def study(sizes: tuple[int, ...], seeds: int, prompts: int) -> tuple[pl.DataFrame, pl.DataFrame, np.ndarray]:
    """Return items, cells and nats [sizes, seeds, prompts] of a study over sizes."""
    nats = stream(0, "study").generator().gamma(2.0, size=(len(sizes), seeds, prompts)).astype(np.float32)
    names = [(size, seed) for size in sizes for seed in range(seeds)]
    cells = pl.DataFrame(
        [
            {
                "cell": f"w{size}s{seed}",
                "width": size,
                "params": 100 * size,
                "seed": seed,
                "loss": 4 - size / 50 + seed,
            }
            for size, seed in names
        ],
        schema=CELLS,
    )
    items = pl.concat(
        pl.DataFrame({"prompt": range(prompts), "nats": values, "correct": values < 1}).with_columns(
            cell=pl.lit(f"w{size}s{seed}"), step=pl.lit(0), shot=pl.lit(3), chance=pl.lit(0.1)
        )
        for (size, seed), values in zip(names, nats.reshape(len(names), prompts), strict=True)
    )
    labels = [
        pl.lit("x").alias(name) for name in ("predictor", "task", "form", "split", "decoding", "argument")
    ]
    return items.with_columns(labels).select(pl.col(n).cast(k) for n, k in ITEMS.items()), cells, nats


def test_curves_of_a_study_are_its_answers():
    items, cells, nats = study((16, 64, 32), 2, 40)
    found = task_curves(items.sample(fraction=1, shuffle=True, seed=1), cells, "parameters")
    order = [0, 2, 1]
    assert found.nats.scale.x.tolist() == [1600, 3200, 6400]
    np.testing.assert_allclose(found.nats.runs, nats.mean(axis=2)[order], rtol=1e-5)
    np.testing.assert_allclose(found.accuracy.runs, (nats < 1).mean(axis=2)[order])
    np.testing.assert_allclose(found.probability.runs, np.exp(-nats).mean(axis=2)[order], rtol=1e-5)
    assert task_curves(items, cells, "loss").nats.scale.x.tolist() == pytest.approx([4.18, 3.86, 3.22])


def test_curves_of_several_groups_or_of_free_generation_are_refused():
    items, cells, _ = study((16, 64, 32), 1, 10)
    with pytest.raises(ValueError, match="one group"):
        task_curves(pl.concat([items, items.with_columns(task=pl.lit("y"))]), cells, "parameters")
    with pytest.raises(ValueError, match="free generation"):
        task_curves(items.with_columns(nats=pl.lit(None, dtype=pl.Float32)), cells, "parameters")


def test_the_table_says_what_was_found():
    curve = of_shares([2.0**k for k in range(10)], [20] * 6 + [180] * 4)
    found = emergence("accuracy", curve, DRAWS, Question(level=0.5))
    table = emergence_table([found])
    assert table.schema == EMERGENCE
    (row,) = table.to_dicts()
    assert (row["threshold_lo"], row["threshold_hi"]) == (found.threshold.hull.lo, found.threshold.hull.hi)
    assert (row["jump"], row["break_lo"], row["break_hi"], row["level"]) == ("jump", 32.0, 64.0, 0.5)
    assert row["n"] == 2000


def test_a_table_of_what_is_not_known_has_nulls():
    found = emergence("accuracy", of_shares([1, 2], [10, 190]), DRAWS)
    (row,) = emergence_table([found]).to_dicts()
    assert (
        row["threshold"]
        is row["threshold_lo"]
        is row["sharpness"]
        is row["p_smooth"]
        is row["break_lo"]
        is None
    )
    assert emergence_table([]).schema == EMERGENCE
