"""The ideal predictor: tokens a second on one core, by grammar and context, exact laws of every next token.

`thousand` is a grammar of 1,001 distinct bodies; the others are those shipped whose statements can be enumerated.
Tokens are those of sampled documents, which end or are cut at the context. The law of the whole vocabulary is
worked out at every token; `nats` alone are the same work but for writing it down.
"""

import time
from collections.abc import Callable

import numpy as np

from emergelab.corpus.documents import Corpus
from emergelab.grammar.checks import require_valid
from emergelab.grammar.holdout import draw_language
from emergelab.grammar.language import Language
from emergelab.grammar.library import find_grammar, load_grammar, shipped_grammars
from emergelab.grammar.notation import parse
from emergelab.rng import stream
from emergelab.theory.ideal import Ideal
from emergelab.theory.refusals import ExactnessError
from emergelab.theory.statements import enumerate_statements
from ratios import spread

DOCUMENTS = 1_000
CONTEXTS = (48, 256)
CALLS = 5
THOUSAND = """
world { objects 12 family f 13 permutations family g 76 permutations }
rule Document  = Statement* stop 0.1
rule Statement = each x ~ objects, stop 0.08 { x Value(x) ";" }
rule Value(x)  = 0.5: let a ~ f { a(x) }
               | 0.5: let a ~ f, b ~ g { b(a(x)) }
"""


def main() -> dict[str, object]:
    """Return tokens a second with their laws, by grammar and context, and how many distinct bodies there are."""
    languages = {"thousand": thousand()} | {name: shipped(name) for name in shipped_grammars()}
    found = {name: measure(language) for name, language in languages.items()}
    return {"target": {"tokens per second": 200_000, "bodies": 1_000}, "grammars": found}


def thousand() -> Language:
    """Return a language of about a thousand distinct bodies."""
    syntax = parse(THOUSAND, name="thousand")
    require_valid(syntax, "thousand", THOUSAND)
    return draw_language(syntax, stream(0, "world"))


def shipped(name: str) -> Language:
    """Return the language of a shipped grammar."""
    return draw_language(load_grammar(find_grammar(name)), stream(0, "world"))


def measure(language: Language) -> dict[str, object]:
    """Measure one grammar; a reason where its ideal predictor is out of reach."""
    begin = time.perf_counter()
    try:
        ideal = Ideal(enumerate_statements(language, "train"))
    except ExactnessError as error:
        return {"out of reach": str(error)}
    seconds = time.perf_counter() - begin
    rates = {f"context {context}": rate(ideal, context) for context in CONTEXTS}
    return {"bodies": len(ideal.statements.body_loop), "enumeration_seconds": seconds, **rates}


def rate(ideal: Ideal, context: int) -> dict[str, object]:
    """Return tokens a second with all laws, over several calls, and the best for nats alone."""
    corpus = Corpus(ideal.statements.language, stream(0, "measured"), context=context)
    tokens, lengths = corpus.tokens(np.arange(DOCUMENTS, dtype=np.int64))
    counted = int((lengths - 1).sum())
    laws = [counted / seconds(lambda: ideal.log_probabilities(tokens)) for _ in range(CALLS)]
    nats = [counted / seconds(lambda: ideal.filtered(tokens, lengths)) for _ in range(CALLS)]
    return {**spread(laws), "nats alone": max(nats)}


def seconds(call: Callable[[], object]) -> float:
    """Return what a call takes."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin
