"""emergelab: when and why in-context learning and skills emerge, measured beside the theory.

    import emergelab as el

    run = el.run("quickstart")                                 # train, score, report; go on where it stopped
    run.scores                                                 # a Polars data frame
    el.score(run.model(layers=4), "functions", tasks="pair")   # any predictor, any grammar

What stands in `__all__` is the public interface. Each name is loaded when it is first used, so that importing
the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emergelab.api.exports import export_checkpoint
    from emergelab.api.grammars import Document, Grammar, load_grammar, parse_grammar
    from emergelab.api.outcomes import OutcomeAnalysis, open_outcomes
    from emergelab.api.runs import Comparison, Run, catalogue, compare, open_run, plan, run, score_pretrained
    from emergelab.api.scoring import Evaluation, measure_losses, score, score_prompts
    from emergelab.api.stores import RunStore, open_store
    from emergelab.api.theory import curve, fit_law, fit_link, forecast, slingshot
    from emergelab.errors import ArtifactError, EmergelabError, GrammarError, StudyError, UserError
    from emergelab.scores.predictor import Predictor
    from emergelab.scores.prompts import PromptSet

__version__ = "0.1.0"

__all__ = [
    "ArtifactError",
    "Comparison",
    "Document",
    "EmergelabError",
    "Evaluation",
    "Grammar",
    "GrammarError",
    "OutcomeAnalysis",
    "Predictor",
    "PromptSet",
    "Run",
    "RunStore",
    "StudyError",
    "UserError",
    "__version__",
    "catalogue",
    "compare",
    "curve",
    "export_checkpoint",
    "fit_law",
    "fit_link",
    "forecast",
    "load_grammar",
    "measure_losses",
    "open_outcomes",
    "open_run",
    "open_store",
    "parse_grammar",
    "plan",
    "run",
    "score",
    "score_pretrained",
    "score_prompts",
    "slingshot",
]

_PLACES = {
    "emergelab.api.exports": ("export_checkpoint",),
    "emergelab.api.grammars": ("Document", "Grammar", "load_grammar", "parse_grammar"),
    "emergelab.api.outcomes": ("OutcomeAnalysis", "open_outcomes"),
    "emergelab.api.runs": (
        "Comparison",
        "Run",
        "catalogue",
        "compare",
        "open_run",
        "plan",
        "run",
        "score_pretrained",
    ),
    "emergelab.api.scoring": ("Evaluation", "measure_losses", "score", "score_prompts"),
    "emergelab.api.stores": ("RunStore", "open_store"),
    "emergelab.api.theory": ("curve", "fit_law", "fit_link", "forecast", "slingshot"),
    "emergelab.errors": ("ArtifactError", "EmergelabError", "GrammarError", "StudyError", "UserError"),
    "emergelab.scores.predictor": ("Predictor",),
    "emergelab.scores.prompts": ("PromptSet",),
}


def __getattr__(name: str) -> Any:
    for module, names in _PLACES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'emergelab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
