"""A folder with a Hugging Face model: checked before anything of it is run, then loaded.

No code of the folder is ever run, no pickled weights are read, and nothing is fetched from anywhere.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import warnings
from collections.abc import Generator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from emergelab.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_GIVE_A_MODEL = (
    "Give a folder that `save_pretrained` made: config.json, the tokenizer's files and *.safetensors."
)
_PROBED = 4  # tokens; fewer than any model can read
# What a later token may change in the law behind an earlier one, as a share of what it changes behind itself:
# rounding, which is larger where few bits are kept.
_MOST_LOOK_AHEAD = {torch.float32: 1e-3, torch.bfloat16: 5e-2}


class ModelError(UserError):
    """A folder that holds no causal language model that may be loaded."""


@dataclass(frozen=True)
class Placement:
    """Where a model computes, and how its weights are kept: `float32` or `bfloat16`."""

    device: str
    precision: str


def choose_placement(device: str) -> Placement:
    """Return where to compute: `auto` is the GPU if there is one. bfloat16 on a GPU, float32 on the CPU.

    Raises ModelError for a GPU that is not there.
    """
    present = torch.cuda.is_available()
    if device == "cuda" and not present:
        raise ModelError(
            "Got --device cuda, and torch finds no GPU here. A device must be present. Use --device cpu."
        )
    chosen = device if device != "auto" else "cuda" if present else "cpu"
    return Placement(chosen, "float32" if chosen == "cpu" else "bfloat16")


@dataclass(frozen=True)
class ModelFolder:
    """A folder whose files say that it holds a causal language model with safe weights."""

    path: Path
    config: Any  # transformers' configuration, whose fields depend on the architecture

    @classmethod
    def open(cls, path: Path) -> ModelFolder:
        """Check the folder's files. Raises ModelError: value, rule, remedy."""
        _require_library()
        _require_folder(path)
        config = _read_config(path)
        _require_causal(path, config)
        _require_safe_weights(path)
        return cls(path, config)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.absolute().name

    @property
    def context(self) -> int | None:
        """How many tokens the model can read at once; None where nothing says so."""
        text = self.config.get_text_config()
        found = getattr(text, "max_position_embeddings", None)
        return found if isinstance(found, int) and found > 0 else None

    @property
    def layers(self) -> int | None:
        """The number of layers, where the configuration says it."""
        return _whole(self.config.get_text_config(), "num_hidden_layers")

    @property
    def width(self) -> int | None:
        """The width of the residual stream, where the configuration says it."""
        return _whole(self.config.get_text_config(), "hidden_size")

    @property
    def weight_bytes(self) -> int:
        """The size of the weights on the disk."""
        return sum(path.stat().st_size for path in self.path.glob("*.safetensors"))

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer. Raises ModelError where there is none that can be read."""
        from transformers import AutoTokenizer  # noqa: PLC0415 - an optional library, slow to import

        with _quiet(), _readable(self.path, "tokenizer"):
            tokenizer = AutoTokenizer.from_pretrained(
                self.path, local_files_only=True, trust_remote_code=False
            )
        if not tokenizer.get_vocab():
            raise ModelError(f"{self.path} has no tokenizer's vocabulary. {_GIVE_A_MODEL}")
        return tokenizer

    def load(self, placement: Placement) -> PreTrainedModel:
        """Return the model, ready to read. Raises ModelError, also for a model that looks ahead."""
        model = self._weights(placement)
        model.requires_grad_(requires_grad=False).eval()
        _exact_head(model)
        with out_of_memory(self.name, placement.device):
            model.to(placement.device)  # pyright: ignore[reportArgumentType] - transformers wraps torch's method
            _require_no_look_ahead(self.path, model)
        return model

    def _weights(self, placement: Placement) -> PreTrainedModel:
        from transformers import AutoModelForCausalLM  # noqa: PLC0415 - an optional library, slow to import

        with _quiet(), _readable(self.path, "model"):
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                self.path,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=DTYPES[placement.precision],
                output_loading_info=True,
            )
        model, found = loaded
        missing = sorted({*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])})
        if missing:
            raise ModelError(
                f"The weights in {self.path} lack {len(missing)} tensors or have them in another shape, for example "
                f"{missing[0]}. Without them the model would be partly random. Save the whole model with its "
                "head as `save_pretrained` does."
            )
        return model


@contextlib.contextmanager
def out_of_memory(name: str, device: str) -> Generator[None]:
    """Say in one message that a model does not fit into the GPU's memory."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"{name} does not fit into the memory of the device {device}. The weights and some prompts must. "
            "Free memory there, or use --device cpu."
        ) from error


def _require_library() -> None:
    if importlib.util.find_spec("transformers") is None:
        raise UserError(
            "Hugging Face's transformers are not installed. Evaluating a model of theirs needs them. "
            "Install them with: pip install 'emergelab[huggingface]'"
        )


def _require_folder(path: Path) -> None:
    if not path.is_dir():
        found = "is a file" if path.exists() else "does not exist"
        raise ModelError(f"{str(path)[:200]} {found}. A model is a folder on this disk. {_GIVE_A_MODEL}")
    if not (path / "config.json").is_file():
        raise ModelError(f"{path} has no config.json, so it is no model's folder. {_GIVE_A_MODEL}")


def _read_config(path: Path) -> Any:
    from transformers import AutoConfig  # noqa: PLC0415 - an optional library, slow to import

    _require_known(path, _read_json(path / "config.json"))
    with _quiet(), _readable(path, "configuration"):
        return AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read as JSON ({error}). {_GIVE_A_MODEL}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} is no JSON object. {_GIVE_A_MODEL}")
    return value  # pyright: ignore[reportUnknownVariableType]


def _require_known(path: Path, config: dict[str, Any]) -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING  # noqa: PLC0415 - optional, slow

    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        rule = (
            "It brings code of its own, which is never run"
            if "auto_map" in config
            else "transformers must know it"
        )
        raise ModelError(
            f"{path} is of the type {kind!r}. {rule}. Use a type that the installed version of transformers has, or "
            "install a newer version."
        )
    if "transformers_weights" in config:
        raise ModelError(
            f"{path} names its weights' file in config.json. Weights are {_WEIGHTS}, or the files that {_INDEX} "
            "lists. Save the model again with `save_pretrained`."
        )


def _require_causal(path: Path, config: Any) -> None:
    from transformers.models.auto import modeling_auto  # noqa: PLC0415 - an optional library

    known = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    classes = {
        name for value in known.values() for name in ([value] if isinstance(value, str) else list(value))
    }
    named = list(config.architectures or ())
    if config.model_type not in known or (named and not classes.intersection(named)):
        found = named[0] if named else config.model_type
        raise ModelError(
            f"{path} holds a model of the kind {found}, which does not predict the next token of a text. Examples "
            "in context are read by causal language models. Give one, such as a LlamaForCausalLM."
        )


def _require_safe_weights(path: Path) -> None:
    if (path / _INDEX).is_file() and not (path / _WEIGHTS).is_file():
        _require_safe_index(path)
    elif not (path / _WEIGHTS).is_file():
        pickled = sorted(file.name for pattern in _PICKLED for file in path.glob(pattern))
        if pickled:
            raise ModelError(
                f"{path} has its weights in {pickled[0]}, a format that can run code when it is read. Weights must "
                "be safetensors. Where you trust the file, load the model with transformers and save it again "
                "with `save_pretrained`, which writes safetensors."
            )
        raise ModelError(f"{path} has no {_WEIGHTS}. {_GIVE_A_MODEL}")


def _require_safe_index(path: Path) -> None:
    shards: Any = _read_json(path / _INDEX).get("weight_map")
    names = {str(name) for name in shards.values()} if isinstance(shards, dict) else {""}  # pyright: ignore[reportUnknownVariableType]
    for name in sorted(names):
        inside = Path(name).name == name and name.endswith(".safetensors")
        if not (inside and (path / name).is_file()):
            raise ModelError(
                f"{path / _INDEX} lists {name!r}. What it lists must be *.safetensors files of the same folder. "
                "Fetch the missing file, or save the model again with `save_pretrained`."
            )


@contextlib.contextmanager
def _readable(path: Path, part: str) -> Generator[None]:
    """Turn what transformers says of unreadable files into one message."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a library makes of broken files
        said = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(f"The {part} in {path} cannot be loaded: {said[:300]} {_GIVE_A_MODEL}") from error


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Keep transformers' bars and remarks from a terminal that shows progress of its own."""
    from transformers.utils import logging as remarks  # noqa: PLC0415 - an optional library

    level, bars = remarks.get_verbosity(), remarks.is_progress_bar_enabled()
    remarks.set_verbosity(logging.CRITICAL)
    remarks.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        remarks.set_verbosity(level)
        if bars:
            remarks.enable_progress_bar()


class _ExactHead(nn.Module):
    """The head in float32 over a body in fewer bits: logits rounded to 8 bits would tie, and a tie is wrong."""

    def __init__(self, head: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(head.weight.float(), requires_grad=False)
        bias: Tensor | None = getattr(head, "bias", None)
        self.bias = None if bias is None else nn.Parameter(bias.float(), requires_grad=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the logits in float32."""
        return nn.functional.linear(hidden.float(), self.weight, self.bias)


def _exact_head(model: PreTrainedModel) -> None:
    head = model.get_output_embeddings()
    if type(head) is nn.Linear and head.weight.dtype != torch.float32:
        model.set_output_embeddings(_ExactHead(head))


@torch.inference_mode()
def _require_no_look_ahead(path: Path, model: PreTrainedModel) -> None:
    """Refuse a model whose law behind a token depends on later ones, as that of an encoder does."""
    vocabulary = int(model.config.get_text_config().vocab_size)
    one = torch.arange(_PROBED, device=model.device)[None] % vocabulary
    other = one.clone()
    other[0, -1] = (one[0, -1] + 1) % vocabulary
    with _quiet():
        laws = [model(input_ids=ids, use_cache=False).logits.float() for ids in (one, other)]
    if not all(bool(law.isfinite().all()) for law in laws):
        raise ModelError(
            f"The model in {path} computes numbers that are not finite. A law needs finite ones. "
            "Fetch the model's weights again, or give another model."
        )
    changed = (laws[0] - laws[1]).abs().amax(-1)[0]
    if not bool(changed[:-1].max() <= _MOST_LOOK_AHEAD[model.dtype] * changed[-1]):
        raise ModelError(
            f"The model in {path} looks ahead: a later token changes what it predicts behind an earlier one. "
            "A causal language model reads from left to right. Give one, such as a LlamaForCausalLM."
        )


def _whole(config: Any, name: str) -> int | None:
    value = getattr(config, name, None)
    return value if isinstance(value, int) else None
