"""Files of training: the models read at milestones, and the state from which a run goes on.

Both are safetensors: arrays and a little JSON, nothing that could run code. Models are stored under the
names that Hugging Face's Llama uses.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from emergelab.errors import ArtifactError, DamagedArtifactError
from emergelab.model.spec import ModelSpec
from emergelab.model.transformer.parameters import Parameters, from_llama, to_llama
from emergelab.spec import canonical_json

_RESUME = "resume.safetensors"
_PREVIOUS = "resume.previous.safetensors"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One model (R = 1, float32) and where in its training it was read."""

    spec: ModelSpec
    parameters: Parameters
    step: int
    tokens: int  # counted target tokens seen


def milestone_path(directory: Path, milestone: int) -> Path:
    """Return where the model of a milestone lies."""
    return directory / f"tokens-{milestone}.safetensors"


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write one model atomically."""
    details = {
        "format": "pt",  # Hugging Face's loader asks for it
        "model": canonical_json(checkpoint.spec),
        "step": str(checkpoint.step),
        "tokens": str(checkpoint.tokens),
    }
    _write(path, {name: tensor.cpu() for name, tensor in to_llama(checkpoint.parameters).items()}, details)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one model.

    Raises ArtifactError when there is no such file and DamagedArtifactError when it is cut, changed, or not
    what its specification says.
    """
    tensors, details = _read(path)
    try:
        spec = ModelSpec.model_validate_json(details["model"])
        parameters = from_llama(tensors, spec)
        return Checkpoint(spec, parameters, int(details["step"]), int(details["tokens"]))
    except (KeyError, RuntimeError, ValueError, ValidationError) as error:
        raise DamagedArtifactError(
            f"{path} holds no model that fits its own description ({error}). Make it again."
        ) from error


def write_resume(directory: Path, tensors: Mapping[str, Tensor], identity: str) -> None:
    """Write the state of a run, keeping the one before it in case that this one turns out unreadable."""
    latest = directory / _RESUME
    fresh = _write_aside(latest, tensors, {"identity": identity})
    if latest.exists():
        latest.replace(directory / _PREVIOUS)
    fresh.replace(latest)


def read_resume(directory: Path, identity: str) -> dict[str, Tensor] | None:
    """Return the last good state of this run, None where there is none.

    Raises ArtifactError when the directory holds the state of another run.
    """
    for name in (_RESUME, _PREVIOUS):
        try:
            tensors, details = _read(directory / name)
        except ArtifactError:
            continue
        if details.get("identity") != identity:
            raise ArtifactError(
                f"{directory / name} belongs to a run with another specification or initialisation. A folder "
                "holds one run. Use another folder, or remove that file."
            )
        return tensors
    return None


def remove_resume(directory: Path) -> None:
    """Remove the state of a run that is done."""
    for name in (_RESUME, _PREVIOUS):
        (directory / name).unlink(missing_ok=True)


def _write(path: Path, tensors: Mapping[str, Tensor], details: Mapping[str, str]) -> None:
    _write_aside(path, tensors, details).replace(path)


def _write_aside(path: Path, tensors: Mapping[str, Tensor], details: Mapping[str, str]) -> Path:
    """Write a file beside `path` so that its bytes are on the disk, and return where."""
    stored = {name: tensor.contiguous() for name, tensor in tensors.items()}
    digest = _digest(stored, details)
    aside = path.with_name(f"{path.name}.writing")
    with aside.open("wb") as file:
        file.write(_sorted_header(save(stored, {**details, "digest": digest})))
        file.flush()
        os.fsync(file.fileno())
    return aside


def _sorted_header(content: bytes) -> bytes:
    """Return safetensors bytes with a sorted header: the library's own order of metadata is random.

    The tensors' offsets count from the header's end; its length must be a multiple of 8.
    """
    (size,) = struct.unpack_from("<Q", content)
    header = json.dumps(json.loads(content[8 : 8 + size]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + content[8 + size :]


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and details of a file after checking them against their digest."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ArtifactError(f"There is no file {path}. A model is read from one. Make it first.") from error
    try:
        tensors, details = load(content), _details(content)
        digest = details.pop("digest")
    except (SafetensorError, ValueError, KeyError, struct.error) as error:
        raise DamagedArtifactError(
            f"{path} is no whole safetensors file ({error}). Make it again."
        ) from error
    if digest != _digest(tensors, details):
        raise DamagedArtifactError(f"{path} does not match its digest. It was changed. Make it again.")
    return tensors, details


def _details(content: bytes) -> dict[str, str]:
    """Return the metadata of safetensors bytes: a length, then that much JSON."""
    (size,) = struct.unpack_from("<Q", content)
    return json.loads(content[8 : 8 + size])["__metadata__"]


def _digest(tensors: Mapping[str, Tensor], details: Mapping[str, str]) -> str:
    summary = hashlib.blake2b(canonical_json(dict(details)).encode(), digest_size=16)
    for name, tensor in sorted(tensors.items()):
        summary.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        summary.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return summary.hexdigest()
