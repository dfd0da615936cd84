"""The tests' import hook checks shapes and dtypes, and leaves kernels to Numba."""

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from emergelab.evaluate.shots import next_token_law
from emergelab.rng import stream
from emergelab.scores.prompts import PromptSet


def prompt_set(**changes: object) -> PromptSet:
    """Return one prompt of two rows, with `changes`."""
    fields = {
        "task": "single",
        "form": "direct",
        "split": "seen",
        "tokens": np.zeros((1, 7), np.uint16),
        "argument": np.array([[1, 4]], np.int32),
        "stop": np.array([[3, 6]], np.int32),
        "steps": np.array([[[2], [5]]], np.int32),
        "fresh": np.ones((1, 2), np.bool_),
        "chance": np.full((1, 2), 0.5),
        "step_chance": np.full((1, 2, 1), 0.5),
        "instance": np.zeros(1, np.int32),
    }
    return PromptSet(**(fields | changes))  # pyright: ignore[reportArgumentType]


def test_right_shapes_and_dtypes_pass():
    assert prompt_set().tokens.shape == (1, 7)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"tokens": np.zeros((1, 7), np.int64)}, id="dtype"),
        pytest.param({"tokens": np.zeros(7, np.uint16)}, id="number-of-axes"),
        pytest.param({"instance": np.zeros(2, np.int32)}, id="axes-that-disagree"),
        pytest.param({"form": "sideways"}, id="literal"),
    ],
)
def test_a_wrong_array_in_a_dataclass_is_refused(changes: dict[str, object]):
    with pytest.raises(TypeCheckError):
        prompt_set(**changes)


def test_a_wrong_argument_of_a_function_is_refused():
    with pytest.raises(TypeCheckError):
        stream("0")  # pyright: ignore[reportArgumentType]


def test_an_object_without_a_protocols_members_is_refused():
    with pytest.raises(TypeCheckError):
        next_token_law(object(), np.zeros((1, 2), np.uint16))  # pyright: ignore[reportArgumentType]
