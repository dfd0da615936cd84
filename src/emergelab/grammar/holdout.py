"""Choosing what is held out of training, and proving that training does not show it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from emergelab.errors import GrammarError
from emergelab.grammar.language import Language, draw_tables, vocabulary_of
from emergelab.grammar.sites import Sites, compositions, explore, printed_tables, shorter_compositions
from emergelab.grammar.syntax import GrammarSyntax, HoldOut
from emergelab.rng import Stream


@dataclass(frozen=True)
class OverlapProof:
    """The outcome of comparing all function tables that training can print with those held out.

    `training_tables` is None where nothing is held out: they are not enumerated then.
    """

    training_tables: int | None
    held_out_tables: int
    overlap: int


def draw_language(syntax: GrammarSyntax, stream: Stream) -> Language:
    """Draw the world of a checked grammar and choose what is held out, each from its own stream.

    Raises GrammarError for a hold-out that the drawn world cannot satisfy.
    """
    tables = draw_tables(syntax, stream.child("functions"))
    language = Language(syntax, tables, vocabulary_of(syntax))
    held_out: set[bytes] = set()
    for number, hold_out in enumerate(syntax.hold_outs):
        held_out |= _choose(language, hold_out, stream.child("hold out", number))
    return replace(language, held_out=frozenset(held_out))


def prove_no_overlap(language: Language, sites: Sites | None = None) -> OverlapProof:
    """Enumerate the function tables that training can print and compare them with what is held out.

    `sites` are those that the corpus is sampled from, by default those of the training law. Raises
    AssertionError if they overlap, for then the sampler's conditioning is wrong.
    """
    if not language.held_out:
        return OverlapProof(None, 0, 0)
    training = printed_tables(sites or explore(language, "train"))
    overlap = len(training & language.held_out)
    if overlap:
        raise AssertionError(f"{overlap} held-out function tables can be printed in training")
    return OverlapProof(len(training), len(language.held_out), overlap)


def _choose(language: Language, hold_out: HoldOut, stream: Stream) -> set[bytes]:
    """Choose among the function tables that no composition of fewer functions has."""
    kept = shorter_compositions(language, hold_out.families)
    tables = dict.fromkeys(table.tobytes() for table in compositions(language, hold_out.families))
    candidates = [table for table in tables if table not in kept]
    number = round(hold_out.share * len(candidates))
    if number == 0:
        names = " * ".join(hold_out.families)
        raise GrammarError(
            f"`hold out {hold_out.share:g} of {names}` (line {hold_out.at.line}) holds out nothing: in this world "
            f"{len(candidates)} function tables of {names} differ from all shorter compositions. "
            "Use a larger share, more functions, or more objects."
        )
    chosen = stream.generator().permutation(len(candidates))[:number]
    return {candidates[index] for index in np.sort(chosen)}
