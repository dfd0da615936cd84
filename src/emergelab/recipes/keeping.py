"""Which checkpoints of a study's training runs are kept: all of them, the last, or the best.

A checkpoint is a file of a training run's artifact. It may go once its cell is scored; what was measured
stays. The steps of a study read no more of a training run than `files_read` says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping

from emergelab.pipeline.keeping import Keeping
from emergelab.pipeline.step import Step
from emergelab.pipeline.store import Store
from emergelab.recipes.keep import Keep

_CHECKPOINT = re.compile(r"tokens-(\d+)\.safetensors")


def keeping(keep: Keep) -> Keeping:
    """Return what the pipeline must know of a policy."""
    spare = {Keep.all: _spare_none, Keep.last: _spare_all_but_last, Keep.best: _spare_all_but_best}[keep]
    return Keeping(policy=str(keep), reads=files_read, spare=spare)


def files_read(step: Step, source: Step) -> Collection[str] | None:
    """Return which files of the training run `source` the step reads; None: perhaps all of what it reads."""
    if source.kind != "train":
        return None
    if step.kind in {"cell", "pieces"}:
        return {checkpoint_name(_tokens(step))}
    return {"log.parquet", "run.json"} if step.kind == "tables" else None


def checkpoint_name(tokens: int) -> str:
    """Return the name of the file that holds the model of a milestone."""
    return f"tokens-{tokens}.safetensors"


def _spare_none(_step: Step, _readers: Mapping[Step, bool], _store: Store) -> Collection[str]:
    return ()


def _spare_all_but_last(step: Step, _readers: Mapping[Step, bool], store: Store) -> Collection[str]:
    return _others(step, store, max(_milestones(step, store), default=None))


def _spare_all_but_best(step: Step, readers: Mapping[Step, bool], store: Store) -> Collection[str]:
    """Let go what has a higher loss on documents that no run trains on; of equals the longest trained stays."""
    cells = [reader for reader in readers if reader.kind == "cell"]
    scored = {_tokens(cell) for cell in cells if readers[cell]}
    if not scored or scored != {*_milestones(step, store)} or not all(readers[cell] for cell in cells):
        return ()
    losses = {_tokens(cell): _loss(cell, store) for cell in cells}
    return _others(step, store, min(losses, key=lambda tokens: (losses[tokens], -tokens)))


def _others(step: Step, store: Store, kept: int | None) -> list[str]:
    """Return all checkpoints but one. Where that one has gone by another policy, the others stay."""
    if kept is not None and checkpoint_name(kept) in store.dropped(step):
        return []
    return [checkpoint_name(tokens) for tokens in _milestones(step, store) if tokens != kept]


def _milestones(step: Step, store: Store) -> list[int]:
    """Return the milestones of a finished training run; none for another kind of step."""
    if step.kind != "train":
        return []
    found = map(_CHECKPOINT.fullmatch, store.manifest(step)["files"])
    return [int(match[1]) for match in found if match is not None]


def _tokens(cell: Step) -> int:
    tokens = cell.spec["tokens"]
    assert isinstance(tokens, int)  # noqa: S101 - the grid wrote it
    return tokens


def _loss(cell: Step, store: Store) -> float:
    """Return the cell's loss in nats; infinite where it has none."""
    loss = json.loads((store.path(cell) / "cell.json").read_text(encoding="utf-8"))["loss"]
    return float("inf") if loss is None else float(loss)
