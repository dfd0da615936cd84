"""What a study says: what to train on which corpus and how to score it.

Upper limits keep a slip of the keyboard from filling memory or a disk before the first message; they lie
far above what a study needs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise, product
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, get_origin

from pydantic import AfterValidator, BeforeValidator, Field, create_model, model_serializer, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticKnownError

from emergelab.recipes.entries import MOST_CONTEXT, Several, Shots, different, flattened
from emergelab.recipes.hypothesis_spec import Hypothesis
from emergelab.spec import Json, Spec, Whole
from emergelab.train.spec import TrainSettings

MOST_CELLS = 10_000  # each is a step of its own, with a folder on the disk
_MOST_KEY = 2**53

# How a run is made, not what it comes to.
_NO_AXES = frozenset({"compile"})
# Axes that every table has a column for.
SCALE_AXES = frozenset({"model.width", "model.layers", "train.documents"})


class Axis(NamedTuple):
    """An entry of a study, `train.batch` for example, with the values that the grid takes it through."""

    name: str
    values: tuple[Json, ...]


def _several_pairs(value: object) -> object:
    """Read a single pair as a list of one."""
    listed = isinstance(value, list | tuple) and any(isinstance(part, list | tuple) for part in value)  # pyright: ignore[reportUnknownVariableType]
    return tuple(value) if listed else (value,)  # pyright: ignore[reportUnknownVariableType,reportArgumentType,reportUnknownArgumentType]


def _listed(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]


def _rising(values: tuple[int, ...]) -> tuple[int, ...]:
    if any(a > b for a, b in pairwise(values)):
        raise ValueError(f"A run is read at rising token counts. Write them in order: {sorted(values)}")
    return values


Width: TypeAlias = Annotated[Whole, Field(ge=1, le=65_536)]
Layers: TypeAlias = Annotated[Whole, Field(ge=1, le=1_000)]
Heads: TypeAlias = Annotated[Whole, Field(ge=1, le=1_000)]
Context: TypeAlias = Annotated[Whole, Field(ge=1, le=MOST_CONTEXT)]
Tokens: TypeAlias = Annotated[Whole, Field(ge=1, le=10**15)]
DocumentCount: TypeAlias = Annotated[Whole, Field(ge=1, le=10**12)]
Seeds: TypeAlias = Annotated[Whole, Field(ge=1, le=MOST_CELLS)]
Sample: TypeAlias = Annotated[Whole, Field(ge=1, le=1_000_000)]
Key: TypeAlias = Annotated[Whole, Field(ge=0, le=_MOST_KEY - 1)]


class GrammarAxes(Spec):
    """Which grammar, and values for its parameters by name. Written `"functions"`, or as a table with a `name`.

    In the table every parameter is an entry, dotted names as they are: `pair.silent = [0.1, 0.9]`.
    """

    name: str
    parameters: dict[str, Several[float]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: object) -> object:
        """Read text as a name, and a table with its name apart from its parameters."""
        if isinstance(value, GrammarAxes):
            return value
        if isinstance(value, str):
            return {"name": value, "parameters": {}}
        if not isinstance(value, Mapping):
            raise PydanticKnownError("string_type")
        parameters = flattened(value)  # pyright: ignore[reportUnknownArgumentType]
        named = {"name": parameters.pop("name")} if "name" in parameters else {}
        return {**named, "parameters": parameters}

    @model_serializer
    def _write(self) -> str | dict[str, Any]:
        """Write it as a study does."""
        return {"name": self.name, **self.parameters} if self.parameters else self.name

    def settings(self) -> Iterator[dict[str, float]]:
        """Yield the values of the parameters at each point of their product."""
        for values in product(*self.parameters.values()):
            yield dict(zip(self.parameters, values, strict=True))


class ModelAxes(Spec):
    """Sizes of the models; those that may be lists span the grid."""

    width: Several[Width] = (64,)
    layers: Several[Layers] = (4,)
    heads: Several[Heads] = (4,)
    context: Context = 48
    hidden: Several[Width] | None = None


def _axis(name: str, field: FieldInfo) -> tuple[Any, Any]:
    """Return one setting of training as it is in a study: the type and the default of a list of its values."""
    kind: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    if name in _NO_AXES:
        return kind, field.default
    several: Any = Several[kind]
    if get_origin(field.annotation) is tuple:
        several = Annotated[
            tuple[kind, ...],
            BeforeValidator(_several_pairs),
            Field(min_length=1),
            AfterValidator(different),
        ]
    return several, (field.default,)


_SETTINGS: dict[str, Any] = {name: _axis(name, field) for name, field in TrainSettings.model_fields.items()}
# Every setting of `TrainSettings` with its limits, but with several values.
_SettingAxes = create_model("_SettingAxes", __base__=Spec, **_SETTINGS)


class TrainAxes(_SettingAxes):
    """How the models are trained: every setting of `TrainSettings`, and how long, how often, on how much.

    `tokens` are the counts at which a run is read, the last one decayed. `documents` gives the sizes of finite
    corpora, whose documents are read again and again; without it every document is new. `seeds` is the number
    of repetitions with their own initialisation and data.
    """

    tokens: Annotated[Several[Tokens], AfterValidator(_rising)]
    seeds: Seeds = 1
    documents: Several[DocumentCount] | None = None


class Evaluation(Spec):
    """What is asked of every model: tasks of the grammar, with 0 to `shots` examples.

    `loss_documents` documents that no run trains on measure the loss on the training law.
    """

    tasks: Several[str]
    shots: Shots = 10
    prompts: Sample = 512
    loss_documents: Sample = 512


class Skills(Spec):
    """Whether skills are measured on text-pieces: statements of so many documents that no run trains on, 0 for none."""

    documents: Annotated[Whole, Field(ge=0, le=1_000_000)] = 0


class Keys(Spec):
    """Keys of single sources of randomness, where they are to differ from the study's key."""

    world: Key | None = None
    data: Key | None = None
    initialisation: Key | None = None
    evaluation: Key | None = None


class Study(Spec):
    """A whole study. The grid is the product of the axes; a run trains one model and is read several times."""

    grammar: GrammarAxes
    key: Key = 0
    keys: Keys = Keys()
    model: ModelAxes = ModelAxes()
    train: TrainAxes
    evaluate: Evaluation
    skills: Skills = Skills()
    hypotheses: Annotated[tuple[Hypothesis, ...], BeforeValidator(_listed)] = ()

    @model_validator(mode="after")
    def _check(self) -> Study:
        twice = [name for name, times in Counter(one.name for one in self.hypotheses).items() if times > 1]
        if twice:
            raise ValueError(
                f"Several hypotheses are called {twice[0]!r}. Their verdicts are told apart by name. Name each "
                "otherwise."
            )
        if self.cells > MOST_CELLS:
            long = [axis.name for axis in self.axes if len(axis.values) > 1]
            raise ValueError(
                f"The grid has {self.cells:,} cells ({' x '.join([*long, 'seeds', 'tokens'])}). A study has "
                f"{MOST_CELLS:,} at most. Shorten a list, or take fewer seeds."
            )
        return self

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Return everything that may have several values, seeds and training tokens apart."""
        grammar = [Axis(f"grammar.{name}", values) for name, values in self.grammar.parameters.items()]
        model = [
            Axis("model.width", self.model.width),
            Axis("model.layers", self.model.layers),
            Axis("model.heads", self.model.heads),
            Axis("model.hidden", self.model.hidden or (None,)),
        ]
        training = [
            Axis(f"train.{name}", getattr(self.train, name))
            for name in TrainSettings.model_fields
            if name not in _NO_AXES
        ]
        return (*grammar, *model, Axis("train.documents", self.train.documents or (None,)), *training)

    @property
    def varied(self) -> tuple[str, ...]:
        """Return the names of the axes with several values that are no scale."""
        return tuple(axis.name for axis in self.axes if len(axis.values) > 1 and axis.name not in SCALE_AXES)

    @property
    def runs(self) -> int:
        """Return how many models the study trains."""
        return math.prod(len(axis.values) for axis in self.axes) * self.train.seeds

    @property
    def cells(self) -> int:
        """Return how many models the study scores: those of a run count as several."""
        return self.runs * len(self.train.tokens)

    def key_of(self, source: Literal["world", "data", "initialisation", "evaluation"]) -> int:
        """Return the key of one source of randomness."""
        own: int | None = getattr(self.keys, source)
        return self.key if own is None else own
