"""Studies: what to train on which corpus and how to score it, read from TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, ValidationError

from emergelab.errors import StudyError
from emergelab.grammar.problems import suggestion
from emergelab.spec import Spec

SUFFIX = ".toml"
_MOST_BYTES = 1_000_000
_MOST_KEY = 2**53


def _whole(value: object) -> object:
    """Read 1.5e6 as the whole number that it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _several(value: object) -> object:
    """Read a single value as a list of one."""
    values: list[object] = list(value) if isinstance(value, list | tuple) else [value]  # pyright: ignore[reportUnknownArgumentType]
    return tuple(_whole(item) for item in values)


Count: TypeAlias = Annotated[int, BeforeValidator(_whole), Field(ge=1)]
Axis: TypeAlias = Annotated[
    tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(_several), Field(min_length=1)
]
Names: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_several), Field(min_length=1)]
Key: TypeAlias = Annotated[int, BeforeValidator(_whole), Field(ge=0, lt=_MOST_KEY)]


class ModelAxes(Spec):
    """Sizes of the models; those that may be lists span the grid."""

    width: Axis = (64,)
    layers: Axis = (4,)
    heads: Count = 4
    context: Count = 48
    hidden: Count | None = None


class TrainAxes(Spec):
    """How the models are trained. `tokens` are the counts at which a run is read, the last one decayed.

    `documents` gives the sizes of finite corpora; without it every document is new. `seeds` is the number of
    repetitions with their own initialisation and data.
    """

    tokens: Axis
    seeds: Count = 1
    documents: Axis | None = None
    batch: Count = 64
    matrix_learning_rate: float = Field(default=0.02, gt=0)
    other_learning_rate: float = Field(default=2e-3, gt=0)
    warmup_steps: int = Field(default=100, ge=0)
    decay_share: float = Field(default=0.2, gt=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: Literal["auto", "yes", "no"] = "auto"


class Evaluation(Spec):
    """What is asked of every model: tasks of the grammar, with 0 to `shots` examples.

    `loss_documents` documents that no run trains on measure the loss on the training law.
    """

    tasks: Names
    shots: Count = 10
    prompts: Count = 512
    loss_documents: Count = 512


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

    def key_of(self, source: Literal["world", "data", "initialisation", "evaluation"]) -> int:
        """Return the key of one source of randomness."""
        own: int | None = getattr(self.keys, source)
        return self.key if own is None else own


@dataclass(frozen=True)
class StudyFile:
    """A study as written: its name, where it came from, its folder (None for a shipped one) and text."""

    name: str
    source: str
    folder: Path | None
    text: str


def shipped_studies() -> list[str]:
    """Return the names of the studies that come with emergelab."""
    folder = resources.files("emergelab") / "studies"
    return sorted(
        entry.name.removesuffix(SUFFIX) for entry in folder.iterdir() if entry.name.endswith(SUFFIX)
    )


def find_study(name_or_path: str) -> StudyFile:
    """Read a study by the name of a shipped one or by the path of a TOML file. Raises StudyError."""
    if name_or_path in shipped_studies():
        resource = resources.files("emergelab") / "studies" / f"{name_or_path}{SUFFIX}"
        source = f"{name_or_path}{SUFFIX}"
        return StudyFile(name_or_path, source, None, resource.read_text(encoding="utf-8"))
    path = Path(name_or_path)
    if not path.exists():
        raise StudyError(
            f"There is no study {name_or_path!r}. Give a shipped study's name or the path of a .toml file. "
            f"{suggestion(name_or_path, shipped_studies())}"
        )
    return StudyFile(path.stem, str(path), path.absolute().parent, _read(path))


def read_study(file: StudyFile, settings: Sequence[str] = ()) -> Study:
    """Parse and validate a study, with `settings` such as `train.tokens=[1e6,2e6]` put in place.

    Raises StudyError that lists everything that is wrong.
    """
    try:
        document = tomllib.loads(file.text)
    except tomllib.TOMLDecodeError as error:
        raise StudyError(
            f"{file.source} is not TOML: {error}. Mend that line; strings need quotes, lists brackets."
        ) from error
    for setting in settings:
        _apply(document, setting)
    try:
        return Study.model_validate(document)
    except ValidationError as error:
        raise StudyError(_explain(error, file.source)) from error


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise StudyError(
                f"{path} is larger than a study can be, {_MOST_BYTES:,} bytes. Give the path of a .toml file."
            )
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(
            f"{path} cannot be read as a study: {error}. Give the path of a TOML file in UTF-8."
        ) from error


def _apply(document: dict[str, Any], setting: str) -> None:
    """Put `path.to.entry=value` into the document; the value is TOML, or text where it is none."""
    path, equals, value = setting.partition("=")
    names = path.strip().split(".")
    if not equals or not all(names):
        raise StudyError(
            f"Got --set {setting!r}. A setting is written name=value. Write for example --set train.tokens=[1e6,2e6]"
        )
    place = document
    for name in names[:-1]:
        inner = place.setdefault(name, {})
        if not isinstance(inner, dict):
            raise StudyError(
                f"Got --set {setting!r}, but {name} holds a value, not a table. Set one of the study's own entries."
            )
        place = inner  # pyright: ignore[reportUnknownVariableType]
    place[names[-1]] = _toml_value(value.strip())


def _toml_value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _explain(error: ValidationError, source: str) -> str:
    """Say of each fault which entry it is, what was found, the rule and the remedy."""
    return "\n".join(f"{source}: {_explain_one(detail)}" for detail in error.errors(include_url=False))


def _explain_one(detail: Mapping[str, Any]) -> str:
    place = [part for part in detail["loc"] if isinstance(part, str) and not part.startswith("function-")]
    name = ".".join(place) or "the study"
    kind = detail["type"]
    if kind == "missing":
        return f"{name} is missing. {_purpose(place)} Add it."
    if kind == "extra_forbidden":
        near = suggestion(place[-1], _known_entries(place[:-1]))
        return f"{name} is no entry of a study. Remove it or mend its name. {near}"
    rule = str(detail["msg"]).removeprefix("Value error, ").rstrip(".")
    return f"{name} = {detail['input']!r}: {rule}. Change the entry."


def _purpose(place: list[str]) -> str:
    purposes = {
        "grammar": 'It names the grammar, such as "functions", or the path of one.',
        "train": "It says how long to train: tokens = [1e6, 2e6].",
        "evaluate": 'It says what to ask: tasks = ["single"].',
    }
    return purposes.get(place[-1] if place else "", "It has no default.")


def _known_entries(place: list[str]) -> list[str]:
    tables: dict[str, type[Spec]] = {
        "model": ModelAxes,
        "train": TrainAxes,
        "evaluate": Evaluation,
        "keys": Keys,
    }
    spec = tables.get(place[-1], Study) if place else Study
    return list(spec.model_fields)
