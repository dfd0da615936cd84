"""What a hypothesis of a study says: a claim, the test that is to decide on it, and what it is asked of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Discriminator, Field, Tag, model_serializer, model_validator
from pydantic_core import PydanticKnownError

from emergelab.recipes.entries import Several, Shots, flattened
from emergelab.spec import Spec, Whole, fingerprint

Chosen: TypeAlias = Several[int | float | str]
"""Values of an axis: numbers, texts, or one of the words below."""

ALL, LARGEST, SMALLEST, LAST, FIRST = "all", "largest", "smallest", "last", "first"
WORDS = (ALL, LARGEST, SMALLEST, LAST, FIRST)

AnyMeasure = Literal["accuracy", "final_accuracy", "nats", "errors", "total_nats"]
FormName = Literal["direct", "steps"]
SplitName = Literal["seen", "held_out", "outside"]
DecodingName = Literal["teacher_forced", "free"]
ArgumentName = Literal["fresh", "repeated"]
AxisName = Literal["tokens", "parameters", "compute", "loss"]
SUMS = frozenset({"errors", "total_nats"})


def _named(text: str) -> str:
    if not text.strip() or len(text.splitlines()) != 1:
        raise ValueError("It must be one line of text, and not empty")
    return text


Line: TypeAlias = Annotated[str, AfterValidator(_named), Field(max_length=1000)]


class Models(Spec):
    """Which models are meant: values by the name of what the study varies, `layers`, `tokens`, `pair.silent`.

    A value, a list of them, or a word: `largest`, `smallest` (`last`, `first`, the same), `all`. What is not named is
    the largest width and number of layers, the last token count, and the mean over all values of anything else.
    """

    chosen: dict[str, Chosen] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: object) -> object:
        if isinstance(value, Models):
            return value
        if not isinstance(value, Mapping):
            raise PydanticKnownError("model_type", {"class_name": "Models"})
        return {"chosen": flattened(value)}  # pyright: ignore[reportUnknownArgumentType]

    def overridden(self, other: Models) -> Models:
        """Return it with the entries that the other one names."""
        return Models.model_validate({**self.chosen, **other.chosen})

    @model_serializer
    def _write(self) -> dict[str, Any]:
        return {name: list(values) for name, values in self.chosen.items()}


class Asked(Spec):
    """Which answers are meant: entries of `of`, of which `minus` may change some.

    `shots` examples stand before a single answer; `answers` first answers of a prompt are taken together.
    """

    task: Several[str] | None = None
    form: Several[FormName] | None = None
    split: Several[SplitName] | None = None
    shots: Annotated[Whole, Field(ge=0)] | None = None
    answers: Shots | None = None
    argument: ArgumentName | None = None
    decoding: DecodingName | None = None
    models: Models | None = None

    def overridden(self, other: Asked) -> Asked:
        """Return it with the entries that the other one names."""
        entries = {name: value for name, value in other if value is not None}
        if self.models is not None and other.models is not None:
            entries["models"] = self.models.overridden(other.models)
        return self.model_copy(update=entries)


ReferenceName = Literal["chance", "ideal", "ideal_train", "bound"]


def _reference_or_entries(value: object) -> str:
    """Tell the name of a reference from entries, so that a fault is told of the one that was meant."""
    return "entries" if isinstance(value, Mapping | Asked) else "reference"


Minus: TypeAlias = Annotated[
    Annotated[ReferenceName, Tag("reference")] | Annotated[Asked, Tag("entries")],
    Discriminator(_reference_or_entries),
]
UNION_TAGS = frozenset({"reference", "entries"})


class Further(Spec):
    """What a difference is to exceed: another difference, of whose entries those given here differ."""

    of: Asked = Asked()
    minus: Minus | None = None
    models: Models | None = None


class _Hypothesis(Spec):
    name: Line
    claim: Line


class _Limited(_Hypothesis):
    above: float | None = None
    below: float | None = None

    @property
    def limit(self) -> tuple[float, Literal["above", "below"]] | None:
        """Return the limit and the side of it, or None where none is given."""
        if self.above is not None:
            return self.above, "above"
        return None if self.below is None else (self.below, "below")

    def _count_limits(self, rule: str) -> None:
        if self.above is not None and self.below is not None:
            raise ValueError(f"It has both above and below. {rule}. Leave one of them out")

    def _require_limit(self, rule: str) -> None:
        self._count_limits(rule)
        if self.limit is None:
            raise ValueError(f"It has neither above nor below. {rule}. Add for example above = 0")


class DifferenceTest(_Limited):
    """A mean, or a difference of means, against a limit."""

    test: Literal["difference"]
    of: Asked
    minus: Minus | None = None
    measure: AnyMeasure = "accuracy"
    models: Models = Models()
    more_than: Further | None = None

    @model_validator(mode="after")
    def _check(self) -> DifferenceTest:
        self._require_limit("A difference is held against one limit")
        return self


class BoundTest(_Hypothesis):
    """Whether the bounds of the theory hold, for every task named at once."""

    test: Literal["bound"]
    of: Asked = Asked()
    measure: Literal["total_nats", "errors"] = "total_nats"
    predictor: Literal["ideal", "models"] = "ideal"
    models: Models = Models()
    tolerance: Annotated[float, Field(ge=0)] = 0.0


class RankTest(_Limited):
    """Whether larger description lengths go with more of what was measured."""

    test: Literal["rank"]
    of: Asked = Asked()
    measure: Literal["errors", "total_nats", "examples"] = "errors"
    unit: Literal["tasks", "choices"] = "tasks"
    predictor: Literal["ideal", "models"] = "models"
    models: Models = Models()

    @model_validator(mode="after")
    def _check(self) -> RankTest:
        self._require_limit("A rank correlation is held against one limit")
        if self.unit == "choices" and self.measure == "examples":
            raise ValueError(
                'measure = "examples" with unit = "choices": a choice of functions has too few prompts for its own '
                "accuracy. Measure errors or total_nats"
            )
        return self


class ThresholdTest(_Limited):
    """Whether, where, or later than another one a task emerges over a scale."""

    test: Literal["threshold"]
    of: Asked
    axis: AxisName
    measure: Literal["accuracy", "nats", "probability"] = "accuracy"
    level: float | None = None
    later_than: Asked | None = None
    models: Models = Models()

    @model_validator(mode="after")
    def _check(self) -> ThresholdTest:
        self._count_limits("A threshold is held against one limit at most")
        if self.later_than is not None and self.limit is not None:
            raise ValueError(
                "It has later_than and a limit. A test asks one thing. Make two hypotheses of it"
            )
        return self


class JumpTest(_Hypothesis):
    """Whether a task emerges in a jump, smoothly, or in a jump of the metric alone."""

    test: Literal["jump"]
    of: Asked
    axis: AxisName
    expected: Literal["jump", "no jump", "artefact of the metric"]
    models: Models = Models()


AspectName = Literal[
    "linear", "pinsker", "certain", "cloze", "slope", "guarantee", "conservative",
    "theorem", "sharper", "exact", "markov", "slingshot",
]  # fmt: skip
CURVES = frozenset({"theorem", "sharper", "exact", "markov"})
OF_TUPLES = CURVES | {"slingshot"}
OF_RUNS = frozenset({"slope", "slingshot"})
Ratio: TypeAlias = Annotated[float, Field(gt=1, le=1e6)]
Share: TypeAlias = Annotated[float, Field(gt=0, lt=1)]


class SkillsTest(_Limited):
    """One assumption of the theory of skills: what text-pieces show, less what the theory allows.

    `beta` are ratios of a skill's failure to the share of failing pieces, for curves; `levels` are failures, for the
    slingshot; `size` skills make a tuple.
    """

    test: Literal["skills"]
    aspect: AspectName
    tuples: Literal["concatenated", "within"] = "concatenated"
    size: Annotated[Whole, Field(ge=1, le=8)] | None = None
    beta: Several[Ratio] | None = None
    levels: Several[Share] | None = None
    over: Literal["largest", "mean"] = "largest"
    models: Models = Models()

    @model_validator(mode="after")
    def _check(self) -> SkillsTest:
        self._require_limit("What exceeds the theory is held against one limit")
        fits = {"size": OF_TUPLES, "beta": CURVES, "levels": {"slingshot"}}
        for name, aspects in fits.items():
            if getattr(self, name) is not None and self.aspect not in aspects:
                raise ValueError(
                    f'{name} with aspect = "{self.aspect}": it is for {", ".join(sorted(aspects))}. Leave it out'
                )
        if self.aspect == "slingshot" and self.size == 1:
            raise ValueError("size = 1: the slingshot is about tuples of two skills or more. Use 2")
        return self


Hypothesis: TypeAlias = Annotated[
    DifferenceTest | BoundTest | RankTest | ThresholdTest | JumpTest | SkillsTest,
    Field(discriminator="test"),
]
TESTS: dict[str, type[Spec]] = {
    "difference": DifferenceTest,
    "bound": BoundTest,
    "rank": RankTest,
    "threshold": ThresholdTest,
    "jump": JumpTest,
    "skills": SkillsTest,
}


def digest_of(hypothesis: Hypothesis) -> str:
    """Return the short name of all that a hypothesis says, its name and claim included."""
    return fingerprint(hypothesis.model_dump(mode="json", exclude_defaults=True))
