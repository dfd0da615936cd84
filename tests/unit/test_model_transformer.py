"""The network: causality, rotary positions, replicas, hooks, cached branches, gradients, counts."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.utils.flop_counter import FlopCounterMode

from emergelab.model.spec import ModelSpec
from emergelab.model.transformer import cpu, operations
from emergelab.model.transformer.cache import branch, read
from emergelab.model.transformer.network import Probe, logits, network, rotary_table, sites
from emergelab.model.transformer.parameters import from_llama, initialise, to_llama
from emergelab.rng import stream

SPEC = ModelSpec(vocabulary=11, width=24, heads=2, layers=2, context=16)


def parameters(spec: ModelSpec = SPEC, replicas: int = 1, dtype: torch.dtype = torch.float32):
    values = initialise(spec, [stream(3, "model", r) for r in range(replicas)])
    # Gains other than 1, or folding them into matrices would go untested.
    noise = torch.Generator().manual_seed(1)
    for name in ("attention_norm", "feed_forward_norm", "final_norm"):
        values[name] = values[name] + 0.3 * torch.randn(values[name].shape, generator=noise)
    return {name: tensor.to(dtype) for name, tensor in values.items()}


def tokens(*shape: int, spec: ModelSpec = SPEC, seed: int = 0):
    return torch.randint(spec.vocabulary, shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=20)
@given(
    st.integers(1, 3),
    st.integers(1, 40),
    st.integers(1, 3),
    st.integers(1, 6),
    st.none() | st.integers(1, 50),
)
def test_counts_are_those_of_the_tensors(
    heads: int, vocabulary: int, layers: int, pairs: int, hidden: int | None
):
    spec = ModelSpec(
        vocabulary=vocabulary + 1, width=2 * heads * pairs, heads=heads, layers=layers, hidden=hidden
    )
    values = initialise(spec, [stream(0)])
    counted = {name: tensor.numel() for name, tensor in values.items()}
    assert spec.parameters() == sum(counted.values())
    assert spec.non_embedding_parameters() == sum(counted.values()) - counted["embedding"]


def test_training_cost_is_that_of_the_matrix_products_of_a_step():
    spec = ModelSpec(vocabulary=11, width=24, heads=2, layers=2, context=16)
    values = {n: t.requires_grad_() for n, t in parameters(spec, dtype=torch.float64).items()}
    with FlopCounterMode(display=False) as counter:
        logits(network(spec, values, torch.float64), tokens(1, 3, 16)).sum().backward()
    gains = (2 * spec.layers + 1) * spec.width  # counted in N, but multiplied outside matrix products
    # Products in attention are computed in full, with half of them masked: T + 1 becomes 2 T.
    masked = 6 * spec.layers * spec.width * (spec.context - 1)
    assert counter.get_total_flops() == spec.training_flops(48) - 48 * (6 * gains - masked)


@pytest.mark.parametrize(("width", "hidden"), [(64, 176), (128, 344), (96, 256), (32, 88)])
def test_hidden_width_is_eight_thirds_rounded_up_to_eights(width: int, hidden: int):
    spec = ModelSpec(vocabulary=4, width=width)
    assert spec.hidden_width == hidden == math.ceil(8 / 3 * width / 8) * 8


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 30}, "multiple of the heads. Use width = 32"),
        ({"width": 12}, "must be even. Use width = 16"),
        ({"vocabulary": 1}, "2 to 65536"),
        ({"layers": 0}, "layers = 0"),
        ({"hidden": -8}, "hidden = -8"),
        ({"rotary_base": 1.0}, "above 1"),
        ({"norm_epsilon": 0.0}, "above 0"),
    ],
)
def test_a_wrong_specification_says_value_rule_and_remedy(values: dict[str, object], message: str):
    with pytest.raises(ValidationError, match=message):
        ModelSpec(**({"vocabulary": 8} | values))


@settings(max_examples=15)
@given(st.integers(0, 14), st.integers(0, 10))
def test_a_position_does_not_see_later_ones(place: int, token: int):
    net = network(SPEC, parameters())
    before = tokens(1, 2, 16)
    after = before.clone()
    after[0, :, place + 1] = token
    expected, seen = logits(net, before), logits(net, after)
    torch.testing.assert_close(seen[:, :, : place + 1], expected[:, :, : place + 1], rtol=0, atol=1e-6)


def test_scores_depend_on_the_distance_of_positions_only():
    # Su et al. 2021: <R_m q, R_n k> is a function of n - m.
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 1, 12, generator=generator, dtype=torch.float64)
    table = rotary_table(SPEC, 16, q)
    projected = torch.cat([q, q, k, k, q, q], -1).expand(1, 16, -1).reshape(1, 16, 72).contiguous()
    query, key, _ = operations.split_heads(projected, table, 1)
    scores = (query @ key.mT)[0, 0]
    for distance in range(-15, 16):
        diagonal = scores.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))
    assert scores.diagonal(1)[0] != pytest.approx(float(scores.diagonal(2)[0]))
    torch.testing.assert_close(scores[0, 0], (q * k).sum() * SPEC.head_width**-0.5)


def test_replicas_are_separate_models():
    spec, values = SPEC, parameters(replicas=3)
    words = tokens(3, 4, 16)
    together = logits(network(spec, values), words)
    for r in range(3):
        alone = {name: tensor[r : r + 1] for name, tensor in values.items()}
        torch.testing.assert_close(
            together[r], logits(network(spec, alone), words[r : r + 1])[0], rtol=1e-5, atol=1e-5
        )


def test_a_replica_depends_on_its_own_stream_only():
    one, two = (initialise(SPEC, [stream(0, "a", other), stream(0, "b")]) for other in range(2))
    for name in ("embedding", "query_key_value", "down", "head"):
        assert torch.equal(one[name][1], two[name][1])
        assert not torch.equal(one[name][0], two[name][0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_operations_by_hand_equal_plain_ones_with_gradients(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
):
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    words = tokens(2, 3, 16)

    def run() -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        values = {n: t.requires_grad_() for n, t in parameters(replicas=2, dtype=wide).items()}
        scores = logits(network(SPEC, values, dtype), words)
        weight = torch.randn(scores.shape, generator=torch.Generator().manual_seed(2)).to(wide)
        return scores, torch.autograd.grad((scores * weight).sum(), list(values.values()))

    scores, gradients = run()
    monkeypatch.setattr(operations, "_by_hand", lambda _x: False)
    expected, expected_gradients = run()
    tolerance = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 0.05}[dtype]
    for value, reference in zip((scores, *gradients), (expected, *expected_gradients), strict=True):
        assert (value - reference).norm() <= tolerance * reference.norm()


def test_operations_by_hand_pass_finite_differences():
    def draw(*shape: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(sum(shape))
        return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()

    table = rotary_table(SPEC, 3, draw(1))
    check = torch.autograd.gradcheck
    assert check(lambda x: cpu.normalise(x, 1e-6, torch.float64), [draw(1, 4, 6)])
    assert check(lambda x: cpu.split_heads(x, table, 2), [draw(2, 3, 72)])
    assert check(cpu.attend, [draw(2, 2, 3, 4), draw(2, 2, 3, 4) * 2, draw(2, 2, 3, 4) * 3])


def test_pieces_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch):
    # In float64, since torch's own attention serves float32.
    net, words = network(SPEC, parameters(dtype=torch.float64), torch.float64), tokens(1, 5, 16)
    whole = logits(net, words)
    monkeypatch.setattr(cpu, "_PIECE", 600)
    torch.testing.assert_close(logits(net, words), whole, rtol=1e-12, atol=1e-12)


@settings(max_examples=15)
@given(st.integers(0, 4), st.integers(1, 3), st.integers(0, 1000))
def test_branches_equal_reading_everything_again(count: int, branches: int, seed: int):
    net, prompts = network(SPEC, parameters()), tokens(3, 10, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    stops = torch.randint(1, 11, (3, branches), generator=generator)
    added = torch.randint(SPEC.vocabulary, (3, branches, count), generator=generator)
    seen = branch(net, read(net, prompts), stops, added)
    for b in range(3):
        for s in range(branches):
            full = torch.cat([prompts[b, : stops[b, s]], added[b, s]])
            torch.testing.assert_close(
                seen[b, s], logits(net, full[None, None])[0, 0, -1], rtol=1e-5, atol=1e-5
            )


def test_hooks_visit_every_site_with_its_shape_and_change_nothing():
    net, words = network(SPEC, parameters(replicas=2)), tokens(2, 3, 16)
    size = {"R": 2, "B": 3, "T": 16, "H": 2, "d": 24, "h": SPEC.hidden_width}
    probe = Probe(SPEC, sites(SPEC), dict.fromkeys(sites(SPEC), torch.clone))
    torch.testing.assert_close(logits(net, words, probe), logits(net, words), rtol=1e-5, atol=1e-5)
    assert list(probe.values) == list(sites(SPEC))
    for site, shape in sites(SPEC).items():
        assert probe.values[site].shape == tuple(size[letter] for letter in shape.split())


def test_the_residual_stream_is_the_sum_of_what_was_added():
    net, words = network(SPEC, parameters()), tokens(1, 3, 16)
    probe = Probe(SPEC, sites(SPEC))
    logits(net, words, probe)
    seen = probe.values
    total = seen["embedding"]
    for layer in range(SPEC.layers):
        total = total + seen[f"block.{layer}.attention"] + seen[f"block.{layer}.feed_forward"]
    torch.testing.assert_close(seen[f"block.{SPEC.layers - 1}.residual"], total)
    pattern = seen["block.1.attention.pattern"]
    torch.testing.assert_close(pattern.sum(-1), torch.ones(pattern.shape[:-1]))
    assert pattern.triu(1).count_nonzero() == 0


def test_a_patch_of_the_last_residual_decides_the_logits():
    net, words = network(SPEC, parameters()), tokens(1, 3, 16)
    site, donor = "block.1.residual", Probe(SPEC, ["block.1.residual"])
    other = logits(net, tokens(1, 3, 16, seed=9), donor)
    patch = Probe(SPEC, (), {site: lambda _value: donor.values[site]})
    assert torch.equal(logits(net, words, patch), other)


@pytest.mark.parametrize("site", list(sites(SPEC)))
def test_zeros_at_any_site_change_the_logits(site: str):
    net, words = network(SPEC, parameters()), tokens(1, 3, 16)
    patch = Probe(SPEC, (), {site: torch.zeros_like})
    assert (logits(net, words, patch) - logits(net, words)).abs().max() > 1e-3


def test_an_unknown_site_is_named():
    with pytest.raises(ValueError, match=r"block\.7\.residual"):
        Probe(SPEC, ["block.7.residual"])


def test_llama_names_lead_there_and_back():
    values = parameters(replicas=2)
    back = from_llama(to_llama(values, 1), SPEC)
    for name, tensor in values.items():
        assert torch.equal(back[name][0], tensor[1])


def test_a_tensor_of_another_shape_is_refused():
    named = to_llama(parameters())
    named["model.norm.weight"] = torch.ones(1)
    with pytest.raises(ValueError, match=r"model\.norm\.weight"):
        from_llama(named, SPEC)
