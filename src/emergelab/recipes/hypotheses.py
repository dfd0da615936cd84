"""A study's hypotheses made definite: which cells and answers each is asked of, checked before anything is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

from emergelab.analysis.emergence.names import FEWEST_POINTS
from emergelab.grammar.problems import suggestion
from emergelab.recipes import hypothesis_words as words
from emergelab.recipes.hypothesis_spec import (
    ALL,
    CURVES,
    FIRST,
    LARGEST,
    LAST,
    OF_RUNS,
    SMALLEST,
    SUMS,
    WORDS,
    Asked,
    BoundTest,
    DifferenceTest,
    Hypothesis,
    JumpTest,
    Models,
    RankTest,
    SkillsTest,
    ThresholdTest,
    digest_of,
)
from emergelab.report.words import plural
from emergelab.scores.variants import short_names, value_text
from emergelab.spec import Json, JsonObject

Kind = tuple[str, str, str]
"""A task, a form and a split."""

_SIZES = ("width", "layers")
# A named level needs as many as `analysis.emergence.rises`, a jump as many as `breaks`; both load SciPy.
POINTS = {"level": 3, "jump": 6}
_MOST_LISTED = 12
BETAS = (1.5, 2.0, 3.0)
LEVELS = (0.1, 0.25, 0.5)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A model of the grid: `point` holds the values of all axes that vary, and its tokens, by short name."""

    name: str
    run: str
    point: Mapping[str, Json]
    params: int
    flops: float


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What a study can be asked: its cells, the values of its axes by whole name, its kinds of task, its examples."""

    cells: Sequence[Cell]
    axes: Mapping[str, Sequence[Json]]
    kinds: Sequence[Kind]
    shots: int
    pieces: bool = False  # whether skills are measured on text-pieces

    @cached_property
    def names(self) -> dict[str, str]:
        """Return by every name that an axis may be called by the one that cells have it under."""
        short = short_names(list(self.axes))
        return {name: name for name in short.values()} | short

    @cached_property
    def values(self) -> dict[str, Sequence[Json]]:
        """Return the values of every axis by short name."""
        return {short: self.axes[whole] for whole, short in short_names(list(self.axes)).items()}


@dataclass
class _Faults:
    """What is wrong with one hypothesis; what comes behind a fault goes on with what can be had."""

    found: list[str] = field(default_factory=list[str])

    def add(self, text: str) -> None:
        if text not in self.found:
            self.found.append(text)


def resolve(hypotheses: Iterable[Hypothesis], asking: Asking) -> tuple[list[JsonObject], list[str]]:
    """Return what each hypothesis asks of which cells, as the step of the tables needs it, and all faults.

    A fault is one line: the hypothesis, the value, the rule, the remedy.
    """
    resolved: list[JsonObject] = []
    faults: list[str] = []
    for hypothesis in hypotheses:
        found = _Faults()
        part = _Resolving(asking, found).of(hypothesis)
        faults += [f"hypothesis {hypothesis.name!r}: {text}" for text in found.found]
        resolved.append(
            {
                "name": hypothesis.name,
                "claim": hypothesis.claim,
                "digest": digest_of(hypothesis),
                "kind": hypothesis.test,
                **part,
            }
        )
    return resolved, faults


@dataclass(frozen=True)
class _Resolving:
    asking: Asking
    faults: _Faults

    def of(self, hypothesis: Hypothesis) -> JsonObject:
        if isinstance(hypothesis, DifferenceTest):
            return self._difference(hypothesis)
        if isinstance(hypothesis, BoundTest):
            return self._bound(hypothesis)
        if isinstance(hypothesis, RankTest):
            return self._rank(hypothesis)
        if isinstance(hypothesis, SkillsTest):
            return self._skills(hypothesis)
        return (
            self._threshold(hypothesis) if isinstance(hypothesis, ThresholdTest) else self._jump(hypothesis)
        )

    # Differences

    def _difference(self, test: DifferenceTest) -> JsonObject:
        first, whole = self._contrast(test.of, test.minus, test)
        sides = list(first)
        said = words.difference(test.measure, whole, test.minus, self.asking.shots)
        if test.more_than is not None:
            further = test.more_than
            of = test.of.overridden(further.of)
            if further.models is not None:
                of = of.overridden(Asked(models=further.models))
            minus = test.minus if further.minus is None else further.minus
            if of == test.of and minus == test.minus:
                self.faults.add(
                    "more_than changes nothing. It is another difference. Name in it what differs, for example "
                    'more_than = { models = { width = "smallest" } }.'
                )
            second, _ = self._contrast(of, minus, test)
            sides += [{**side, "weight": -float(str(side["weight"]))} for side in second]
            said = words.more_than(said, further)
        limit = test.limit
        text = words.limited(said, limit)
        return {
            "measure": test.measure,
            "sides": sides,
            "limit": None if limit is None else limit[0],
            "side": None if limit is None else limit[1],
            "unit": words.UNITS[test.measure],
            "test": self._with_models(text, whole.models or Models()),
        }

    def _contrast(
        self, of: Asked, minus: str | Asked | None, test: DifferenceTest
    ) -> tuple[list[JsonObject], Asked]:
        """Return the sides of one difference, and what it is of with its defaults."""
        if minus == "bound" and test.measure not in SUMS:
            self.faults.add(
                f'minus = "bound" with measure = "{test.measure}": bounds are on the first answers together. Use '
                'measure = "total_nats" or "errors".'
            )
        whole = Asked(models=test.models).overridden(of)
        side = self._side(whole, test.measure, "of")
        if not isinstance(minus, Asked):
            return [{**side, "weight": 1.0, "minus": minus}], whole
        other = whole.overridden(minus)
        if other == whole:
            self.faults.add(
                "minus changes nothing of what is asked. It names the entries in which the other side differs. Name "
                'one, for example minus = { form = "steps" }.'
            )
        away = self._side(other, test.measure, "minus")
        return [{**side, "weight": 1.0, "minus": None}, {**away, "weight": -1.0, "minus": None}], whole

    def _side(self, asked: Asked, measure: str, where: str) -> JsonObject:
        return {
            "questions": self._questions(asked, measure, where),
            "cells": self._cells(asked.models or Models()),
        }

    # Bounds and ranks

    def _bound(self, test: BoundTest) -> JsonObject:
        said = words.bound(test.measure, test.of, test.predictor, self._answers(test.of))
        text = f"{said}, by {test.tolerance:g} at the most" if test.tolerance else said
        return {
            "measure": test.measure,
            "predictor": test.predictor,
            "limit": test.tolerance,
            "side": "below",
            "unit": words.EXCESSES[test.measure],
            "questions": self._questions(self._wide(test.of), test.measure, "of"),
            "cells": self._cells(test.models, ideal=test.predictor == "ideal"),
            "test": self._with_models(text, test.models, ideal=test.predictor == "ideal"),
        }

    def _rank(self, test: RankTest) -> JsonObject:
        limit = test.limit
        measure = "errors" if test.measure == "examples" else test.measure
        questions = self._questions(self._wide(test.of), measure, "of")
        if test.unit == "tasks" and len(questions) < words.FEWEST_RANKED:
            varied = [values for name, values in self.asking.axes.items() if name.startswith("grammar.")]
            settings = max((len(values) for values in varied), default=1)
            if len(questions) * settings < words.FEWEST_RANKED:
                self.faults.add(
                    f'unit = "tasks" has {len(questions)} of them, each in one form and split. A rank correlation '
                    f'needs {words.FEWEST_RANKED}. Name more tasks, or use unit = "choices".'
                )
        text = words.limited(
            words.rank(test.measure, test.unit, test.predictor, self._answers(test.of)), limit
        )
        return {
            "measure": test.measure,
            "predictor": test.predictor,
            "unit_of_rank": test.unit,
            "limit": None if limit is None else limit[0],
            "side": None if limit is None else limit[1],
            "unit": words.RANK_UNIT,
            "questions": questions,
            "cells": self._cells(test.models, ideal=test.predictor == "ideal"),
            "test": self._with_models(text, test.models, ideal=test.predictor == "ideal"),
        }

    # Skills of text-pieces

    def _skills(self, test: SkillsTest) -> JsonObject:
        if not self.asking.pieces:
            self.faults.add(
                'test = "skills" in a study that measures no skills on text-pieces. Let it do so: write [skills], and '
                "below it documents = 1024."
            )
        axis = "tokens" if test.aspect in OF_RUNS else None
        limit = test.limit or (0.0, "below")
        size = test.size or (2 if test.aspect == "slingshot" else 1)
        beta = list(test.beta or BETAS) if test.aspect in CURVES else []
        levels = list(test.levels or LEVELS) if test.aspect == "slingshot" else []
        said = words.limited(words.skills(test, size, beta or levels), limit)
        return {
            "aspect": test.aspect,
            "tuples": test.tuples,
            "size": size,
            "beta": beta,
            "levels": levels,
            "over": test.over,
            "limit": limit[0],
            "side": limit[1],
            "unit": words.SKILL_UNITS[test.aspect],
            "cells": self._cells(test.models, axis=axis),
            "test": self._with_models(said, test.models, axis=axis),
        }

    def _wide(self, asked: Asked) -> Asked:
        """Return what is asked with all tasks, forms and splits where none are named."""
        kinds = self.asking.kinds
        names = {
            name: getattr(asked, name) or tuple(dict.fromkeys(kind[place] for kind in kinds))
            for place, name in enumerate(("task", "form", "split"))
        }
        return asked.model_copy(update=names)

    def _answers(self, asked: Asked) -> int:
        return asked.answers or self.asking.shots + 1

    # Courses over a scale

    def _threshold(self, test: ThresholdTest) -> JsonObject:
        course = self._course(test.of, test, "of")
        later = None
        if test.later_than is not None:
            other = test.of.overridden(test.later_than)
            if other == test.of:
                self.faults.add(
                    "later_than changes nothing of what is asked. It names the entries in which the other curve "
                    'differs. Name one, for example later_than = { form = "steps" }.'
                )
            later = self._course(other, test, "later_than")
        if test.measure != "nats" and test.level is not None and not 0 < test.level < 1:
            self.faults.add(
                f"level = {test.level:g}: {test.measure} lies between 0 and 1. Use a level between them."
            )
        limit = test.limit
        if limit is not None and limit[0] <= 0:
            self.faults.add(
                f"{limit[1]} = {limit[0]:g}: a threshold is a positive number of {test.axis}. Use one."
            )
        text = words.threshold(test, self.asking.shots)
        return {
            "measure": test.measure,
            "level": test.level,
            "axis": test.axis,
            "course": course,
            "later_than": later,
            "limit": None if limit is None else limit[0],
            "side": None if limit is None else limit[1],
            "unit": words.AXIS_UNITS[test.axis],
            "test": self._with_models(text, test.models, axis=test.axis),
        }

    def _jump(self, test: JumpTest) -> JsonObject:
        return {
            "axis": test.axis,
            "expected": test.expected,
            "course": self._course(test.of, test, "of"),
            "unit": words.JUMP_UNIT,
            "test": self._with_models(words.jump(test, self.asking.shots), test.models, axis=test.axis),
        }

    def _course(self, asked: Asked, test: ThresholdTest | JumpTest, where: str) -> JsonObject:
        questions = self._questions(asked, "nats", where)
        if len(questions) > 1:
            self.faults.add(
                f"{where} names {len(questions)} kinds of task. A curve is of one task, form and split. Make a "
                "hypothesis for each."
            )
        models = test.models.overridden(asked.models or Models())
        cells = self._cells(models, axis=test.axis)
        self._require_points(cells, test)
        return {"question": questions[0] if questions else None, "cells": cells}

    def _require_points(self, cells: Sequence[str], test: ThresholdTest | JumpTest) -> None:
        chosen = [cell for cell in self.asking.cells if cell.name in set(cells)]
        places = {(cell.run.rpartition(",seed=")[0], cell.point["tokens"]): cell for cell in chosen}
        unnamed = isinstance(test, ThresholdTest) and test.level is None
        needed = (
            FEWEST_POINTS[test.axis]
            if unnamed
            else POINTS["level" if isinstance(test, ThresholdTest) else "jump"]
        )
        if len(places) < needed:
            self.faults.add(
                f"axis = {test.axis!r} has {plural(len(places), 'point')}. A {test.test} needs {needed} or more. Let "
                "the study have more of them, choose more with models, or take another axis."
            )
        if test.axis == "loss":
            return
        column = {
            "tokens": lambda c: c.point["tokens"],
            "parameters": lambda c: c.params,
            "compute": lambda c: c.flops,
        }
        times = Counter(column[test.axis](cell) for cell in places.values())
        if times and max(times.values()) > 1:
            self.faults.add(
                f"axis = {test.axis!r} has several models at one value of it. A curve has one, with its seeds. Choose "
                'with models, for example models = { layers = "largest" }.'
            )

    # What is asked

    def _questions(self, asked: Asked, measure: str, where: str) -> list[JsonObject]:
        together = measure in SUMS
        self._require_entries(asked, measure, where)
        shared: JsonObject = {
            "decoding": asked.decoding or "teacher_forced",
            "argument": None if together else asked.argument or "fresh",
            "shots": None if together else self.asking.shots if asked.shots is None else asked.shots,
            "answers": self._answers(asked) if together else None,
        }
        return [
            {"task": task, "form": form, "split": split, **shared}
            for task, form, split in self._kinds(asked, where)
        ]

    def _kinds(self, asked: Asked, where: str) -> list[Kind]:
        """Return the tasks in the forms and splits that are asked for, as far as the study has them."""
        kinds = self.asking.kinds
        if asked.task is None:
            self.faults.add(
                f'{where}.task is missing. A test names what it is of. Add task = "{kinds[0][0]}".'
            )
            return []
        known = list(dict.fromkeys(task for task, _, _ in kinds))
        wanted: list[Kind] = list(product(asked.task, asked.form or ("direct",), asked.split or ("seen",)))
        found = [kind for kind in wanted if kind in kinds]
        for task in asked.task:
            if task not in known:
                self.faults.add(
                    f"{where}.task names {task!r}, which evaluate.tasks does not. Ask it there, or name another one. "
                    f"{suggestion(task, known)}"
                )
            elif not any(kind[0] == task for kind in found):
                self.faults.add(self._other_kinds(task, wanted, where))
        return found

    def _other_kinds(self, task: str, wanted: Sequence[Kind], where: str) -> str:
        asked = " or ".join(f"form {form}, split {split}" for name, form, split in wanted if name == task)
        has = "; ".join(f"{form}, {split}" for name, form, split in self.asking.kinds if name == task)
        return (
            f"{where}: task {task} is not asked in {asked}. Forms and splits are those that the grammar gives a task: "
            f"{has}. Name one of these with form and split."
        )

    def _require_entries(self, asked: Asked, measure: str, where: str) -> None:
        most, together = self.asking.shots, measure in SUMS
        for name, value, limit in (("shots", asked.shots, most), ("answers", asked.answers, most + 1)):
            if value is not None and value > limit:
                self.faults.add(
                    f"{where}.{name} = {value}: a prompt has {limit} {'examples' if name == 'shots' else 'answers'} at "
                    f"most, as evaluate.shots = {most}. Use at most {limit}, or raise evaluate.shots."
                )
        unfit = {"shots": together, "argument": together, "answers": not together}
        for name, is_unfit in unfit.items():
            if is_unfit and getattr(asked, name) is not None:
                other = "answers says how many" if together else "shots says which one"
                self.faults.add(
                    f"{where}.{name} = {getattr(asked, name)}: this test is about "
                    f"{'the first answers together' if together else 'a single answer'}; {other}. Leave {name} out."
                )
        if asked.decoding == "free" and "nats" in measure:
            self.faults.add(
                f'{where}.decoding = "free": free generation has no nats. Measure accuracy or errors, or leave '
                "decoding out."
            )
        if asked.argument == "repeated" and asked.shots == 0:
            self.faults.add(
                f'{where}.argument = "repeated" with shots = 0: the first query repeats nothing. Use more shots.'
            )

    # Models

    def _cells(self, models: Models, axis: str | None = None, *, ideal: bool = False) -> list[str]:
        """Return the names of the cells that are meant."""
        chosen = self._chosen(models, axis, ideal=ideal)
        return [
            cell.name
            for cell in self.asking.cells
            if all(cell.point[name] in values for name, values in chosen.items() if name in cell.point)
        ]

    def _chosen(self, models: Models, axis: str | None, *, ideal: bool = False) -> dict[str, list[Json]]:
        """Return the values that each axis may have, by short name."""
        named = dict(self._named(models))
        for name, default in self._defaults(axis, ideal=ideal).items():
            named.setdefault(name, [_word(default, self.asking.values[name])])
        return named

    def _defaults(self, axis: str | None, *, ideal: bool) -> dict[str, str]:
        sizes = {} if axis == "parameters" else dict.fromkeys(_SIZES, LARGEST)
        tokens = {} if axis in {"tokens", "compute", "loss"} else {"tokens": LAST}
        del ideal  # cells of models lead to their ideal predictors: any of a variant will do
        return {**sizes, **tokens}

    def _named(self, models: Models) -> Iterator[tuple[str, list[Json]]]:
        for name, values in models.chosen.items():
            if name not in self.asking.names:
                self.faults.add(_unknown_axis(name, self.asking.names))
                continue
            short = self.asking.names[name]
            has = self.asking.values[short]
            if values == (ALL,):
                yield short, list(has)
                continue
            wanted = [_word(value, has) if value in WORDS else value for value in values]
            missing = [value for value in wanted if value not in has]
            if missing:
                listed = ", ".join(value_text(value) for value in has[:_MOST_LISTED])
                self.faults.add(
                    f"models.{name} = {missing[0]}: the study has no model with it. Use one of its values ({listed}), "
                    f"or one of {', '.join(WORDS)}."
                )
            yield short, [value for value in wanted if value in has]

    def _with_models(self, text: str, models: Models, axis: str | None = None, *, ideal: bool = False) -> str:
        """Return the text with the models that it is about, as far as the study has others."""
        quiet = _Resolving(self.asking, _Faults())
        chosen = quiet._chosen(models, axis, ideal=ideal)
        several = {name: values for name, values in chosen.items() if len(self.asking.values[name]) > 1}
        if ideal:
            several = {name: values for name, values in several.items() if name not in {*_SIZES, "tokens"}}
        return words.with_models(text, several)


def _word(value: Json, values: Sequence[Json]) -> Json:
    """Return the value of an axis that a word names; what are no numbers are in the order of the study."""
    numbers = [one for one in values if isinstance(one, int | float) and not isinstance(one, bool)]
    ordered = sorted(numbers) if len(numbers) == len(values) else list(values)
    return ordered[-1] if value in {LARGEST, LAST} else ordered[0] if value in {SMALLEST, FIRST} else value


def _unknown_axis(name: str, known: Mapping[str, Any]) -> str:
    if name in {"seed", "seeds"}:
        return "models.seed: seeds are repetitions, all of which count. Leave it out."
    return (
        f"models.{name} is nothing that a study varies. Choose models by entries of the study. "
        f"{suggestion(name, list(known))}"
    )
