"""What a study says: what to train on which corpus and how to score it.

Upper limits keep a slip of the keyboard from filling memory or a disk before the first message; they lie
far above what a study needs.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, TypeAlias, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from emergelab.spec import Spec

MOST_CELLS = 10_000  # each is a step of its own, with a folder on the disk
_MOST_CONTEXT = 32_000  # labels number a document's statements and rows in 16 bits
_MOST_KEY = 2**53

Item = TypeVar("Item")


def _whole(value: object) -> object:
    """Read 1.5e6 as the whole number that it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


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


def _whole_number(least: int, most: int) -> tuple[BeforeValidator, object]:
    return BeforeValidator(_whole), Field(ge=least, le=most)


Several: TypeAlias = Annotated[
    tuple[Item, ...], BeforeValidator(_several), Field(min_length=1), AfterValidator(_different)
]
Width: TypeAlias = Annotated[int, *_whole_number(1, 65_536)]
Layers: TypeAlias = Annotated[int, *_whole_number(1, 1_000)]
Heads: TypeAlias = Annotated[int, *_whole_number(1, 1_000)]
Context: TypeAlias = Annotated[int, *_whole_number(1, _MOST_CONTEXT)]
Tokens: TypeAlias = Annotated[int, *_whole_number(1, 10**15)]
DocumentCount: TypeAlias = Annotated[int, *_whole_number(1, 10**12)]
Seeds: TypeAlias = Annotated[int, *_whole_number(1, MOST_CELLS)]
Batch: TypeAlias = Annotated[int, *_whole_number(1, 65_536)]
Steps: TypeAlias = Annotated[int, *_whole_number(0, 10**9)]
Shots: TypeAlias = Annotated[int, *_whole_number(1, _MOST_CONTEXT)]
Sample: TypeAlias = Annotated[int, *_whole_number(1, 1_000_000)]
Key: TypeAlias = Annotated[int, *_whole_number(0, _MOST_KEY - 1)]


class ModelAxes(Spec):
    """Sizes of the models; those that may be lists span the grid."""

    width: Several[Width] = (64,)
    layers: Several[Layers] = (4,)
    heads: Heads = 4
    context: Context = 48
    hidden: Width | None = None


class TrainAxes(Spec):
    """How the models are trained. `tokens` are the counts at which a run is read, the last one decayed.

    `documents` gives the sizes of finite corpora; without it every document is new. `seeds` is the number of
    repetitions with their own initialisation and data.
    """

    tokens: Annotated[Several[Tokens], AfterValidator(_rising)]
    seeds: Seeds = 1
    documents: Several[DocumentCount] | None = None
    batch: Batch = 64
    matrix_learning_rate: float = Field(default=0.02, gt=0)
    other_learning_rate: float = Field(default=2e-3, gt=0)
    warmup_steps: Steps = 100
    decay_share: float = Field(default=0.2, gt=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: Literal["auto", "yes", "no"] = "auto"


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
