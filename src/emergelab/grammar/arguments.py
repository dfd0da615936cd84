"""By which law the arguments of prompts are drawn: as the grammar's loops draw theirs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from emergelab.errors import UserError
from emergelab.grammar.language import Language, power_law
from emergelab.grammar.syntax import Each, walk


@dataclass(frozen=True, order=True)
class ArgumentLaw:
    """How objects are drawn one after the other: with or without replacement, the j-th with weight j^-power."""

    distinct: bool = False
    power: float = 0.0

    def weights(self, objects: int) -> Float64[np.ndarray, " objects"]:
        """Return the probabilities of the first draw."""
        return power_law(objects, self.power)


def loop_arguments(loop: Each) -> ArgumentLaw:
    """Return the law by which a loop draws its objects."""
    power = loop.weights.numbers[0] if loop.weights.numbers else 0.0
    return ArgumentLaw(loop.distinct or loop.law.name == "all", power)


def prompt_arguments(language: Language) -> ArgumentLaw:
    """Return the law of the arguments of prompts, so that training could print the prompts.

    Where loops differ in their law it is uniform with replacement if one of them draws so. Raises UserError
    where none does.
    """
    laws = _laws(language)
    if not laws or ArgumentLaw() in laws:
        return ArgumentLaw()
    if len(laws) > 1:
        raise UserError(
            "The loops of this grammar draw their objects by different laws, none of them uniform with replacement, "
            "and prompts need one law. Give the loops the same law, or write a grammar for each."
        )
    return laws.pop()


def _laws(language: Language) -> set[ArgumentLaw]:
    productions = (production for rule in language.syntax.rules for production in rule.productions)
    return {
        loop_arguments(item)
        for production in productions
        for item in walk(production.items)
        if isinstance(item, Each)
    }
