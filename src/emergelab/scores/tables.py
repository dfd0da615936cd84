"""The tables that a study leaves behind. Missing is null; every interval is 95 % and names its method."""

from __future__ import annotations

import polars as pl

_NAMES = {"cell": pl.String, "predictor": pl.String}
_TASK = {"task": pl.String, "form": pl.String, "split": pl.String, "decoding": pl.String}
_SIZE = {"layers": pl.Int32, "width": pl.Int32, "params": pl.Int64}
_ESTIMATES = {
    "accuracy": pl.Float64,
    "accuracy_lo": pl.Float64,
    "accuracy_hi": pl.Float64,
    "chance": pl.Float64,
    "nats": pl.Float64,
    "nats_lo": pl.Float64,
    "nats_hi": pl.Float64,
    "step_accuracy": pl.Float64,
    "step_accuracy_lo": pl.Float64,
    "step_accuracy_hi": pl.Float64,
}
_METHODS = {"accuracy_method": pl.String, "nats_method": pl.String, "loss_method": pl.String}
_DATA = {
    "train_tokens": pl.Int64,  # as the study asks; how many were counted stands in the table of cells
    "unique_documents": pl.Int64,  # in a finite corpus; null where every document is new
    "variant": pl.String,  # what else the study varies, see `scores.variants`; null where nothing else does
}
# Nats per token on documents of the training law that no run trained on.
_LOSS = dict.fromkeys(("loss", "loss_lo", "loss_hi"), pl.Float64)

# One row for each law, task, form, split and number of answers: what the theory says of the first `answers` answers of
# a prompt together. D, R and bounds are means over the split's choices of functions; slacks are means over prompts.
_OVER_CHOICES = ("D_nats", "R_nats", "bound_nats", "bound_errors")
BOUNDS = pl.Schema(
    {"variant": pl.String, "law": pl.String, "task": pl.String, "form": pl.String, "split": pl.String}
    | {"answers": pl.Int16, "choices": pl.Int32}
    | {f"{name}{end}": pl.Float64 for name in _OVER_CHOICES for end in ("", "_min", "_max")}
    | {"D_certified_lo": pl.Float64}  # the least that D may be, where not everything was enumerated
    | dict.fromkeys(("argument_slack_nats", "posterior_slack_nats"), pl.Float64)
    | {"n": pl.Int32, "reason": pl.String}
)

# One row for each prompt. `functions` are those that its choice draws, in order; D is null where no derivation prints
# the prompt as one loop, or where it is not known.
PROMPTS = pl.Schema(
    {"variant": pl.String, "task": pl.String, "form": pl.String, "split": pl.String}
    | {"prompt": pl.Int32, "functions": pl.List(pl.String)}
    | {"D_nats": pl.Float64, "D_nats_train": pl.Float64}
)

# One row for each hypothesis of a study. `effect` is in `unit`; the test holds its whole interval against `limit`, of
# which it must lie `side`. `n` counts what `of_what` names. `fixed` says how much had been scored when it was fixed.
VERDICTS = pl.Schema(
    dict.fromkeys(("name", "claim", "kind", "test", "unit"), pl.String)
    | dict.fromkeys(("effect", "lo", "hi", "limit"), pl.Float64)
    | {"side": pl.String, "n": pl.Int64, "of_what": pl.String, "seeds": pl.Int32}
    | dict.fromkeys(("method", "verdict", "reason", "fixed"), pl.String)
)

# One row for each scored answer (step 0) and each printed step of it (steps 1, 2, ...).
ITEMS = pl.Schema(
    _NAMES
    | _TASK
    | {
        "prompt": pl.Int32,
        "shot": pl.Int16,  # examples before the query
        "step": pl.Int16,
        "argument": pl.String,  # fresh | repeated
        "correct": pl.Boolean,
        "nats": pl.Float32,  # null in free generation
        "chance": pl.Float32,
    }
)

# One row for each cell, predictor, task, form, split, decoding, argument and number of shots.
SCORES = pl.Schema(
    _NAMES
    | _TASK
    | {"argument": pl.String, "shots": pl.Int16, "n": pl.Int32}
    | _ESTIMATES
    | _SIZE
    | _DATA
    | {"flops": pl.Float64, "seed": pl.Int32}
    | _LOSS
    | _METHODS
)

# The scores over seeds: one row for each seed (seed given) and one for all seeds (seed null, from 5 seeds).
CURVES = pl.Schema(
    {"predictor": pl.String}
    | _TASK
    | {"argument": pl.String, "shots": pl.Int16}
    | _SIZE
    | _DATA
    | {"flops": pl.Float64, "seed": pl.Int32, "seeds": pl.Int32, "n": pl.Int64}
    | _ESTIMATES
    | _LOSS
    | _METHODS
)

# One row for each text-piece of documents of the training law: a statement with its functions, in order, and its cloze
# questions, the answers and intermediate objects that it prints. `chance` is that of guessing all of its answers among
# the objects.
_PIECE = {
    "document": pl.Int32,
    "statement": pl.Int16,
    "skills": pl.List(pl.String),
    "questions": pl.Int16,
    "chance": pl.Float64,
}

# What a predictor makes of it. `right` counts questions; `nats` are those of all answers, `excess` those that the
# predictor is expected to pay more for each than the ideal predictor, the divergence of their laws. `cloze_loss` is the
# mean probability that is not given to the right answers, `distance` the mean total variation from the ideal predictor.
# `certain`: that one knows every answer. These are null, and `ideal_nats`, where it is out of reach.
_OF_PIECE = {
    "right": pl.Int16,
    "nats": pl.Float64,
    "cloze_loss": pl.Float64,
    "ideal_nats": pl.Float64,
    "excess": pl.Float64,
    "distance": pl.Float64,
    "certain": pl.Boolean,
}
PIECES = pl.Schema({"cell": pl.String} | _PIECE | _OF_PIECE)
