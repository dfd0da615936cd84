"""A test in words, as tables and reports say it: made from the entries, defaults filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from emergelab.recipes.hypothesis_spec import SUMS, Asked, Further, JumpTest, SkillsTest, ThresholdTest
from emergelab.report.words import listing, plural, setting
from emergelab.scores.variants import value_text
from emergelab.spec import Json

FEWEST_RANKED = 5
RANK_UNIT = "rank correlation"
JUMP_UNIT = "share of the fall in nats"
UNITS = {
    "accuracy": "share of answers",
    "final_accuracy": "share of final answers",
    "nats": "nats per answer",
    "errors": "wrong answers",
    "total_nats": "nats",
}
EXCESSES = {"errors": "wrong answers beyond the bound", "total_nats": "nats beyond the bound"}
AXIS_UNITS = {
    "tokens": "training tokens",
    "parameters": "parameters",
    "compute": "FLOP",
    "loss": "nats per token",
}

_OF_PIECES = "share of pieces beyond the bound"
_OF_SKILLS = "share of skills beyond the curve"
SKILL_UNITS = {
    **dict.fromkeys(("linear", "pinsker", "certain", "cloze"), _OF_PIECES),
    "slope": "slope of ln \N{GREEK SMALL LETTER THETA} over ln \N{GREEK SMALL LETTER EPSILON}",
    "guarantee": "success short of what is guaranteed",
    "conservative": "wrong answers beyond failure",
    **dict.fromkeys(("theorem", "sharper", "exact", "markov"), _OF_SKILLS),
    "slingshot": "share of tuples beyond that of skills",
}

_ASPECTS = {
    "linear": "the share of failing pieces less twice the excess",
    "pinsker": "the share of failing pieces less the root of twice the excess",
    "certain": "the share of failing pieces, of those with certain answers, less their excess over ln 2",
    "cloze": "the share of pieces with a cloze loss of one half at least, less twice the excess,",
    "slope": "the slope of the logarithm of the share of failing pieces over that of the excess, where it is below one "
    "half,",
    "guarantee": "half of what does not fail of a skill, less its success,",
    "conservative": "the wrong answers on a skill's pieces less its failure",
}
_MEASURES = {
    "accuracy": "accuracy",
    "final_accuracy": "accuracy of the final answer",
    "nats": "nats per answer",
    "probability": "probability of the right answer",
}
_REFERENCES = {
    "chance": "chance",
    "ideal": "that of the ideal predictor",
    "ideal_train": "that of the ideal predictor of the training law",
    "bound": "its bound",
}
_WHO = {"ideal": "the ideal predictor", "models": "the models"}


def difference(measure: str, of: Asked, minus: str | Asked | None, most: int) -> str:
    """Say what is measured, and what is taken from it."""
    said = _asked(measure, of, most)
    if minus is None:
        return said
    if isinstance(minus, Asked):
        return f"{said}, minus the same with {_entries(minus)},"
    return f"{said}, minus {_REFERENCES[minus]},"


def more_than(said: str, further: Further) -> str:
    """Say what a difference is to exceed."""
    parts = [_entries(further.of)] if further.of != Asked() else []
    if isinstance(further.minus, Asked):
        parts.append(f"{_entries(further.minus)} on its other side")
    elif further.minus is not None:
        parts.append(f"{_REFERENCES[further.minus]} taken away")
    if further.models is not None:
        parts.append(_models({name: list(values) for name, values in further.models.chosen.items()}))
    return f"{said} less the same with {listing(parts)},"


def limited(said: str, limit: tuple[float, str] | None) -> str:
    """Say what the limit is."""
    return said if limit is None else f"{said} is {limit[1]} {limit[0]:g}"


def bound(measure: str, of: Asked, predictor: str, answers: int) -> str:
    """Say which bound is to hold."""
    what = "are no more wrong" if measure == "errors" else "cost no more nats"
    return (
        f"the first {plural(answers, 'answer')} of {_WHO[predictor]} {what} than the bound allows, on "
        f"{_tasks(of) or 'every task that has one'}, all at once"
    )


def rank(measure: str, unit: str, predictor: str, answers: int) -> str:
    """Say what is ranked."""
    what = {
        "errors": f"wrong answers among the first {answers}",
        "total_nats": f"nats of the first {answers} answers",
        "examples": "examples to 90 %",
    }[measure]
    over = "choices of functions" if unit == "choices" else "tasks"
    return f"the rank correlation of D with the {what} of {_WHO[predictor]}, over {over},"


def threshold(test: ThresholdTest, most: int) -> str:
    """Say where a curve is to cross which level."""
    said = _asked(test.measure, test.of, most)
    level = "half way between its plateaus" if test.level is None else f"{test.level:g}"
    crossing = f"{said} crosses {level} over {AXIS_UNITS[test.axis]}"
    if test.later_than is not None:
        return f"{crossing} later than with {_entries(test.later_than)}"
    if test.limit is not None:
        return f"{crossing} {test.limit[1]} {setting(test.limit[0])}"
    return f"{crossing} within what was measured"


def jump(test: JumpTest, most: int) -> str:
    """Say what is expected of a curve."""
    expected = {"jump": "jumps", "no jump": "does not jump"}.get(
        test.expected, "jumps, and nats do not: an artefact of the metric,"
    )
    return f"{_asked('accuracy', test.of, most)} {expected} over {AXIS_UNITS[test.axis]}"


def skills(test: SkillsTest, size: int, values: Sequence[float]) -> str:
    """Say which assumption of the theory of skills is tested, at which ratios or levels, and how it is summed up."""
    summed = "the mean" if test.over == "mean" else "the largest"
    return f"over all comparisons, {summed} of: {_aspect(test, size, listing([f'{value:g}' for value in values]))}"


def _aspect(test: SkillsTest, size: int, values: str) -> str:
    if test.aspect in _ASPECTS:
        return _ASPECTS[test.aspect]
    what = "skills" if size == 1 else f"{_KINDS_OF_TUPLES[test.tuples].format(size=size)}"
    if test.aspect == "slingshot":
        return (
            f"the share of {what} that fail more often than {values}, less that of single skills in a model with "
            f"{size} times the excess,"
        )
    return (
        f"the share of {what} that fail more than {values} times as often as pieces, less what "
        f"{_CURVES[test.aspect]} allows,"
    )


_CURVES = {
    "theorem": "the theorem",
    "sharper": "the sharper curve",
    "exact": "the exact curve",
    "markov": "Markov's bound",
}
_KINDS_OF_TUPLES = {
    "concatenated": "tuples of {size} skills, one from each of as many pieces,",
    "within": "tuples of {size} skills of one piece",
}


def with_models(text: str, chosen: Mapping[str, Sequence[Json]]) -> str:
    """Say of which models, and end the sentence."""
    whole = f"{text.rstrip(',')}. Models: {_models(chosen)}." if chosen else f"{text.rstrip(',')}."
    return whole[0].upper() + whole[1:]


def _asked(measure: str, of: Asked, most: int) -> str:
    if measure in SUMS:
        answers = of.answers or most + 1
        what = (
            f"wrong answers among the first {answers}"
            if measure == "errors"
            else f"nats of the first {answers} answers"
        )
        return f"{what} on {_tasks(of)}{_manner(of)}"
    shots = most if of.shots is None else of.shots
    return f"{_MEASURES[measure]} on {_tasks(of)} at {plural(shots, 'example')}{_manner(of)}"


def _tasks(of: Asked) -> str:
    if of.task is None:
        return listing([_spaced(part) for part in (*(of.form or ()), *(of.split or ()))])
    form = " and ".join(of.form or ("direct",))
    split = " and ".join(_spaced(split) for split in of.split or ("seen",))
    mean = "the mean of " if len(of.task) > 1 else ""
    return f"{mean}{listing(list(of.task))} ({form}, {split})"


def _manner(of: Asked) -> str:
    parts = ["repeated arguments"] if of.argument == "repeated" else []
    parts += ["free generation"] if of.decoding == "free" else []
    return "".join(f", {part}" for part in parts)


def _entries(asked: Asked) -> str:
    parts = [
        f"{name} {listing([_said(name, one) for one in (value if isinstance(value, tuple) else (value,))])}"
        for name, value in asked
        if value is not None and name != "models"
    ]
    if asked.models is not None:
        parts.append(_models({name: list(values) for name, values in asked.models.chosen.items()}))
    return listing(parts)


def _said(name: str, value: object) -> str:
    return str(value) if name == "task" else _spaced(str(value))


def _models(chosen: Mapping[str, Sequence[Json]]) -> str:
    return ", ".join(
        f"{name} {listing([_value(value) for value in values])}" for name, values in chosen.items()
    )


def _value(value: Json) -> str:
    return setting(value) if isinstance(value, int | float | str) else value_text(value)


def _spaced(name: str) -> str:
    return name.replace("_", " ")
