"""What a study says: what to train on which corpus and how to score it.

Upper limits keep a slip of the keyboard from filling memory or a disk before the first message; they lie
far above what a study needs.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, TypeAlias, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from emergelab.spec import Spec, Whole
from emergelab.train.spec import TrainSettings

MOST_CELLS = 10_000  # each is a step of its own, with a folder on the disk
_MOST_CONTEXT = 32_000  # labels number a document's statements and rows in 16 bits
_MOST_KEY = 2**53

Item = TypeVar("Item")


def _several(value: object) -> object:
    """Read a single value as a list of one."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)  # pyright: ignore[reportUnknownVariableType]


def _different(values: tuple[Item, ...]) -> tuple[Item, ...]:
    once = tuple(dict.fromkeys(values))
    if once != values:
        raise ValueError(f"The values must differ. Write each once: {list(once)}")
    return values


def _rising(values: tuple[int, ...]) -> tuple[int, ...]:
    if any(a > b for a, b in pairwise(values)):
        raise ValueError(f"A run is read at rising token counts. Write them in order: {sorted(values)}")
    return values


Several: TypeAlias = Annotated[
    tuple[Item, ...], BeforeValidator(_several), Field(min_length=1), AfterValidator(_different)
]
Width: TypeAlias = Annotated[Whole, Field(ge=1, le=65_536)]
Layers: TypeAlias = Annotated[Whole, Field(ge=1, le=1_000)]
Heads: TypeAlias = Annotated[Whole, Field(ge=1, le=1_000)]
Context: TypeAlias = Annotated[Whole, Field(ge=1, le=_MOST_CONTEXT)]
Tokens: TypeAlias = Annotated[Whole, Field(ge=1, le=10**15)]
DocumentCount: TypeAlias = Annotated[Whole, Field(ge=1, le=10**12)]
Seeds: TypeAlias = Annotated[Whole, Field(ge=1, le=MOST_CELLS)]
Shots: TypeAlias = Annotated[Whole, Field(ge=1, le=_MOST_CONTEXT)]
Sample: TypeAlias = Annotated[Whole, Field(ge=1, le=1_000_000)]
Key: TypeAlias = Annotated[Whole, Field(ge=0, le=_MOST_KEY - 1)]


class ModelAxes(Spec):
    """Sizes of the models; those that may be lists span the grid."""

    width: Several[Width] = (64,)
    layers: Several[Layers] = (4,)
    heads: Heads = 4
    context: Context = 48
    hidden: Width | None = None


class TrainAxes(TrainSettings):
    """How the models are trained. `tokens` are the counts at which a run is read, the last one decayed.

    `documents` gives the sizes of finite corpora; without it every document is new. `seeds` is the number of
    repetitions with their own initialisation and data.
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


class Keys(Spec):
    """Keys of single sources of randomness, where they are to differ from the study's key."""

    world: Key | None = None
    data: Key | None = None
    initialisation: Key | None = None
    evaluation: Key | None = None


class Study(Spec):
    """A whole study. The grid is the product of the axes; a run trains one model and is read several times."""

    grammar: str
    key: Key = 0
    keys: Keys = Keys()
    model: ModelAxes = ModelAxes()
    train: TrainAxes
    evaluate: Evaluation

    @model_validator(mode="after")
    def _check(self) -> Study:
        if self.cells > MOST_CELLS:
            raise ValueError(
                f"The grid has {self.cells:,} cells (width x layers x documents x seeds x tokens). A study has "
                f"{MOST_CELLS:,} at most. Shorten a list, or take fewer seeds."
            )
        return self

    @property
    def cells(self) -> int:
        """Return how many models the study scores."""
        models = len(self.model.width) * len(self.model.layers) * self.train.seeds
        return models * len(self.train.documents or (None,)) * len(self.train.tokens)

    def key_of(self, source: Literal["world", "data", "initialisation", "evaluation"]) -> int:
        """Return the key of one source of randomness."""
        own: int | None = getattr(self.keys, source)
        return self.key if own is None else own
