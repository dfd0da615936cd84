"""Muon and AdamW over stacks against torch's own on single matrices; the schedule in closed form."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from emergelab.model.spec import ModelSpec
from emergelab.model.transformer.parameters import MATRICES, Parameters, initialise
from emergelab.rng import stream
from emergelab.train.optimiser import REFERENCE_WIDTH, fresh_moments, newton_schulz, update
from emergelab.train.spec import TrainSpec, learning_rate_factor, milestone_steps

# At the reference width the head takes the plain rate, so torch's AdamW can be its twin.
SPEC = ModelSpec(vocabulary=5, width=REFERENCE_WIDTH, heads=2, layers=2, hidden=24)
TRAIN = TrainSpec(milestones=(1000,), weight_decay=0.1)


def gradients(values: Parameters, seed: int):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(tensor.shape, generator=generator) for name, tensor in values.items()}


def ours(steps: int, dtype: torch.dtype):
    values = initialise(SPEC, [stream(0, "a"), stream(0, "b")])
    moments = fresh_moments(values)
    for k in range(steps):
        values, moments = update(TRAIN, (0.5, k + 1), (values, gradients(values, k)), moments, dtype)
    return values


def leaves(values: Parameters):
    """Cut the stacks into the single tensors that torch's optimisers take."""
    matrices = {n: [torch.nn.Parameter(m.clone()) for m in values[n].flatten(0, -3)] for n in MATRICES}
    others = {n: torch.nn.Parameter(t.clone()) for n, t in values.items() if n not in MATRICES}
    return matrices, others


def theirs(steps: int):
    values = initialise(SPEC, [stream(0, "a"), stream(0, "b")])
    matrices, others = leaves(values)
    every = [m for stack in matrices.values() for m in stack]
    muon = torch.optim.Muon(every, lr=0.5 * TRAIN.matrix_learning_rate, weight_decay=0.1)
    adam = torch.optim.AdamW(
        others.values(), lr=0.5 * TRAIN.other_learning_rate, betas=TRAIN.betas, weight_decay=0.0
    )
    for k in range(steps):
        for name, gradient in gradients(values, k).items():
            if name in MATRICES:
                for matrix, part in zip(matrices[name], gradient.flatten(0, -3), strict=True):
                    matrix.grad = part
            else:
                others[name].grad = gradient
        muon.step()
        adam.step()
    return {n: torch.stack([m.detach() for m in stack]) for n, stack in matrices.items()} | {
        n: t.detach() for n, t in others.items()
    }


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.02), (torch.float32, 0.02)])
def test_three_steps_equal_torch(dtype: torch.dtype, tolerance: float):
    start = initialise(SPEC, [stream(0, "a"), stream(0, "b")])
    seen, expected = ours(3, dtype), theirs(3)
    for name, tensor in seen.items():
        moved = (tensor - start[name]).norm()
        # torch iterates in bfloat16: equal up to its rounding in matrices, and exactly elsewhere
        allowed = tolerance * moved if name in MATRICES else 1e-5 * moved
        assert (tensor.reshape(expected[name].shape) - expected[name]).norm() <= allowed, name


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 6, 20)])
def test_newton_schulz_moves_singular_values_near_one_and_keeps_the_vectors(shape: tuple[int, ...]):
    batch = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, values, right = torch.linalg.svd(batch, full_matrices=False)
    moved = left.mT @ newton_schulz(batch) @ right.mT
    spectrum = moved.diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(moved, torch.diag_embed(spectrum), rtol=0, atol=2e-5)
    # The iteration's polynomial, five times, on every singular value of the scaled matrix.
    expected = values / values.square().sum(1, keepdim=True).sqrt()
    for _ in range(5):
        expected = 3.4445 * expected - 4.775 * expected**3 + 2.0315 * expected**5
    torch.testing.assert_close(spectrum, expected, rtol=1e-3, atol=1e-4)


def test_the_rate_of_the_head_falls_with_the_width():
    moved = {}
    for width in (32, 64, 128):
        spec = ModelSpec(vocabulary=5, width=width, heads=2, layers=1)
        values = initialise(spec, [stream(0)])
        ones = {name: torch.ones_like(tensor) for name, tensor in values.items()}
        new, _ = update(TRAIN, (1.0, 1), (values, ones), fresh_moments(values), torch.float32)
        moved[width] = {n: float((values[n] - new[n]).abs().mean()) for n in ("head", "embedding")}
    # Adam's first step has the length of its rate.
    assert [moved[w]["head"] for w in moved] == pytest.approx([0.004, 0.002, 0.001], rel=1e-3)
    assert [moved[w]["embedding"] for w in moved] == pytest.approx([0.002] * 3, rel=1e-3)


def test_a_step_changes_nothing_in_place():
    values = initialise(SPEC, [stream(0)])
    moments = fresh_moments(values)
    before = {name: tensor.clone() for name, tensor in values.items()}
    update(TRAIN, (1.0, 1), (values, gradients(values, 0)), moments, torch.float32)
    assert all(torch.equal(before[name], tensor) for name, tensor in values.items())
    assert not any(tensor.any() for tensor in (moments.first, moments.second, *moments.momentum.values()))


def test_the_schedule_rises_stays_and_falls():
    spec = TrainSpec(milestones=(100,), warmup_steps=4, decay_share=0.3)
    factors = [learning_rate_factor(spec, k, 10) for k in range(10)]
    assert factors == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 2 / 3, 1 / 3])


@given(st.integers(1, 500), st.integers(0, 100), st.floats(0.01, 1))
def test_the_rate_is_never_zero_nor_above_one(steps: int, warmup: int, share: float):
    spec = TrainSpec(milestones=(100,), warmup_steps=warmup, decay_share=share)
    factors = [learning_rate_factor(spec, k, steps) for k in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)


@given(st.lists(st.integers(1, 10**7), min_size=1, max_size=5, unique=True), st.floats(1, 1e4))
def test_a_milestone_is_reached_by_the_first_step_with_as_many_tokens(
    marks: list[int], tokens_per_step: float
):
    spec = TrainSpec(milestones=(*sorted(marks), 10**8))
    for mark, reached in zip(spec.milestones, milestone_steps(spec, tokens_per_step), strict=True):
        assert reached * tokens_per_step >= mark * (1 - 1e-12)
        assert (reached - 1) * tokens_per_step < mark


def test_a_share_that_floats_round_down_still_admits_its_milestone():
    # 10^6 · (1 - 0.9) is 99999.99… in floating point.
    assert TrainSpec(milestones=(100_000, 1_000_000), decay_share=0.9).milestones[0] == 100_000


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"milestones": ()}, "no milestones"),
        ({"milestones": (5, 5)}, "that rise"),
        ({"milestones": (0, 5)}, "above 0"),
        ({"milestones": (90, 100)}, "Use 80 at most"),
        ({"batch": 0}, "batch\n.*greater than or equal to 1"),
        ({"decay_share": 0.0}, "decay_share\n.*greater than 0"),
        ({"betas": (0.9, 1.0)}, "betas.1\n.*less than 1"),
        ({"matrix_learning_rate": 0.0}, "matrix_learning_rate\n.*greater than 0"),
        ({"weight_decay": -0.1}, "weight_decay\n.*greater than or equal to 0"),
        ({"warmup_steps": -1}, "warmup_steps\n.*greater than or equal to 0"),
    ],
)
def test_a_wrong_specification_is_refused(values: dict[str, object], message: str):
    with pytest.raises(ValidationError, match=message):
        TrainSpec(**({"milestones": (100,)} | values))
