"""Somebody else's models as predictors, against the model's own logits, asked for one token after the other."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from emergelab.corpus.prompts import make_prompts
from emergelab.evaluate import causal
from emergelab.evaluate.causal import CausalPredictor
from emergelab.evaluate.generation import generate_answers
from emergelab.evaluate.shots import score_prompts
from emergelab.evaluate.trained import TrainedPredictor
from emergelab.evaluate.wording import Lexicon
from emergelab.grammar.language import END_TOKEN, START_TOKEN, Language
from emergelab.model.spec import ModelSpec
from emergelab.model.transformer.parameters import initialise, to_llama
from emergelab.rng import stream
from emergelab.scores.prompts import PromptSet
from small_languages import language_of
from tiny_models import byte_level_tokenizer, tiny_gpt2, tiny_llama, word_level_tokenizer

GRAMMAR = """
world { objects 3 family f 3 permutations predicate q 2 density 0.5 }
rule Document = each x ~ objects, stop 0.2 { x Value(x) ";" }
rule Value(x) = 0.4: let a ~ f, b ~ f { b(a(x)) } | 0.4: let a ~ f, b ~ f { a(x) b(a(x)) }
              | 0.2: let a ~ f, t ~ q { if t(x) { a(x) "." } else { ":" } }
task pair = let a ~ f, b ~ f  each x { x b(a(x)) ";" }  steps { x a(x) b(a(x)) ";" }
task mixed = let a ~ f, t ~ q  each x { x if t(x) { a(x) "." } else { ":" } ";" }
"""


@dataclass
class Case:
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    predictor: CausalPredictor
    texts: tuple[str, ...]
    prompts: list[PromptSet]


def sliding(vocabulary: int) -> MistralForCausalLM:
    torch.manual_seed(2)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = MistralConfig(
        vocab_size=vocabulary,
        **sizes,
        num_key_value_heads=1,
        max_position_embeddings=64,
        sliding_window=5,
        initializer_range=0.6,
    )
    return MistralForCausalLM(config).eval()


MODELS: dict[str, tuple[Callable[[int], PreTrainedModel], bool]] = {
    "llama with a start token": (tiny_llama, True),
    "llama without": (tiny_llama, False),
    "gpt2": (tiny_gpt2, False),
    "a sliding window": (sliding, True),
}


@pytest.fixture(scope="module")
def language() -> Language:
    return language_of(GRAMMAR)


@pytest.fixture(params=MODELS)
def case(request: pytest.FixtureRequest, language: Language) -> Case:
    make, bos = MODELS[request.param]
    tokenizer = byte_level_tokenizer(bos=bos)
    model = make(len(tokenizer))
    wording = Lexicon(tokenizer, "tiny").wording(language.vocabulary, stream(0, "words"))
    _prefer(model, wording.numbers[wording.numbers >= 0])
    predictor = CausalPredictor("tiny", model, wording)
    prompts = [
        prompts
        for task in ("pair", "mixed")
        for prompts in make_prompts(language, task, shots=3, prompts=8, stream=stream(1, "prompts"))
    ]
    return Case(model, tokenizer, predictor, wording.texts, prompts)


def _prefer(model: PreTrainedModel, words: np.ndarray) -> None:
    """Let the model say words of the grammar about as often as anything else."""
    head = torch.nn.Linear(16, model.config.vocab_size, bias=True)
    torch.manual_seed(0)
    torch.nn.init.normal_(head.weight, std=0.4)
    torch.nn.init.zeros_(head.bias)
    with torch.no_grad():
        head.bias[torch.from_numpy(words)] += 4
    model.set_output_embeddings(head.eval())


def tokens_of(case: Case, row: np.ndarray) -> list[int]:
    """Return what the tokenizer makes of a prompt as text."""
    assert row[0] == START_TOKEN
    return case.tokenizer(" " + " ".join(case.texts[token] for token in row[1:] if token != END_TOKEN))[
        "input_ids"
    ]


@torch.inference_mode()
def twin(case: Case, prompts: PromptSet, decoding: str) -> pl.DataFrame:
    """Score every answer by itself: the whole prefix is read again for every token."""
    rows: list[dict[str, object]] = []
    for p, s in np.ndindex(*prompts.argument.shape):
        ids = tokens_of(case, prompts.tokens[p])
        shift = len(ids) - int((prompts.tokens[p] != END_TOKEN).sum())
        first, stop = prompts.argument[p, s] + 1 + shift, prompts.stop[p, s] + shift
        read, right, nats = ids[:first], [], []
        for place in range(first, stop):
            logits = case.model(torch.tensor([read])).logits[0, -1].double()
            others = torch.cat([logits[: ids[place]], logits[ids[place] + 1 :]])
            right.append(bool(logits[ids[place]] > others.max()))
            nats.append(float(torch.logsumexp(logits, 0) - logits[ids[place]]))
            read = [*read, ids[place] if decoding == "teacher_forced" else int(logits.argmax())]
        steps = prompts.steps[p, s][prompts.steps[p, s] >= 0] + shift - first
        rows.append({"prompt": p, "shot": s, "step": 0, "correct": all(right), "nats": sum(nats)})
        rows += [
            {"prompt": p, "shot": s, "step": k + 1, "correct": right[step], "nats": nats[step]}
            for k, step in enumerate(steps)
        ]
    return pl.DataFrame(rows)


def test_answers_are_those_of_the_models_own_logits(case: Case):
    right = 0
    for prompts in case.prompts:
        forced, expected = (
            score_prompts(case.predictor, prompts, cell="c"),
            twin(case, prompts, "teacher_forced"),
        )
        assert forced["correct"].to_list() == expected["correct"].to_list()
        np.testing.assert_allclose(forced["nats"], expected["nats"], rtol=2e-4)
        free = generate_answers(case.predictor, prompts, cell="c")
        assert free["correct"].to_list() == twin(case, prompts, "free")["correct"].to_list()
        right += int(forced["correct"].sum())
    assert right > 2
    assert (case.prompts[-1].tokens[:, -1] == END_TOKEN).any()  # rows of several lengths


def test_memory_is_bounded_without_a_change(case: Case, monkeypatch: pytest.MonkeyPatch):
    whole = [
        answer(case.predictor, case.prompts[1], cell="c") for answer in (score_prompts, generate_answers)
    ]
    monkeypatch.setattr(causal, "_TOKENS_AT_ONCE", 40)  # two prompts
    parts = [
        answer(case.predictor, case.prompts[1], cell="c") for answer in (score_prompts, generate_answers)
    ]
    for one, other in zip(whole, parts, strict=True):
        assert one.drop("nats").equals(other.drop("nats"))
        np.testing.assert_allclose(
            one["nats"].to_numpy(), other["nats"].to_numpy(), rtol=1e-4, equal_nan=True
        )


def test_models_read_on_from_what_they_really_wrote(case: Case, language: Language):
    """In this data answers begin with anything else, and go on with a token that is right."""
    _, steps = make_prompts(language, "pair", shots=3, prompts=40, stream=stream(2))
    laws = case.predictor.log_probabilities(steps.tokens)
    first = np.take_along_axis(laws, steps.argument[..., None].astype(np.int64), axis=1).argmax(-1)
    assert (first == case.predictor.vocabulary_size - 1).any()
    free = generate_answers(case.predictor, steps, cell="c")
    wrong = free.filter((pl.col("step") == 1) & ~pl.col("correct"))
    assert (
        free.filter((pl.col("step") == 2) & pl.col("correct")).join(wrong, on=["prompt", "shot"]).height > 0
    )


def test_the_law_is_that_of_the_whole_vocabulary(case: Case):
    tokens = case.prompts[0].tokens[:3]
    law = case.predictor.log_probabilities(tokens)
    for row, found in zip(tokens, law, strict=True):
        ids = tokens_of(case, row)
        with torch.inference_mode():
            logits = torch.log_softmax(case.model(torch.tensor([ids])).logits[0].double(), -1).numpy()
        known = [number for number in case.predictor.numbers(np.arange(9)) if number >= 0]
        rest = np.delete(logits, known, axis=1).max(axis=1)
        shift = len(ids) - len(row)
        np.testing.assert_allclose(found[max(0, -shift) :, -1], rest[max(0, shift) :], rtol=1e-4)
        assert (np.exp(found.astype(np.float64)).sum(axis=1) <= 1 + 1e-5).all()


def test_a_continuation_nobody_asked_for_is_refused(case: Case):
    branches = case.predictor.branches(case.prompts[0].tokens)
    stops = np.full((8, 1), 4, dtype=np.int32)
    other = np.full((8, 1, 1), case.predictor.vocabulary_size - 1, dtype=np.uint16)
    with pytest.raises(ValueError, match="asked for last"):
        branches.log_probabilities(stops, other)
    branches.log_probabilities(stops, other[..., :0])
    assert branches.log_probabilities(stops, other).shape == (8, 1, case.predictor.vocabulary_size)
    with pytest.raises(ValueError, match="asked for last"):
        branches.log_probabilities(stops + 1, other)


def test_prefixes_of_several_lengths_at_once(case: Case):
    tokens = case.prompts[0].tokens
    stops = np.array([[2 + (p + b) % 5 for b in range(3)] for p in range(8)], dtype=np.int32)
    added = np.full((8, 3, 2), 3, dtype=np.uint16)
    found = case.predictor.branches(tokens).log_probabilities(stops, added)
    for p, b in np.ndindex(8, 3):
        prefix = np.concatenate([tokens[p, : stops[p, b]], added[p, b]])[None]
        expected = case.predictor.log_probabilities(prefix)[0, -1]
        np.testing.assert_allclose(found[p, b], expected, rtol=1e-4, atol=1e-4)


def test_a_trained_model_in_their_format_scores_as_in_ours(language: Language):
    """The grammar's own words: both predictors must give every item the same verdict and nats."""
    spec = ModelSpec(vocabulary=len(language.vocabulary), width=16, heads=2, layers=2, context=40)
    values = initialise(spec, [stream(3)])
    noise = torch.Generator().manual_seed(0)
    for name in values:
        values[name] = values[name] + 0.5 * torch.randn(values[name].shape, generator=noise)
    config = LlamaConfig(
        vocab_size=spec.vocabulary,
        hidden_size=16,
        intermediate_size=spec.hidden_width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=40,
        rms_norm_eps=spec.norm_epsilon,
        rope_parameters={"rope_type": "default", "rope_theta": spec.rotary_base},
        tie_word_embeddings=False,
    )
    llama = LlamaForCausalLM(config).eval()
    llama.load_state_dict(to_llama(values), strict=True)
    wording = Lexicon(word_level_tokenizer(language.vocabulary), "own").wording(
        language.vocabulary, stream(0)
    )
    assert wording.own
    theirs, ours = CausalPredictor("model", llama, wording), TrainedPredictor("model", spec, values)
    right = 0
    for prompts in make_prompts(language, "pair", shots=6, prompts=30, stream=stream(1, "prompts")):
        for answer in (score_prompts, generate_answers):
            one, other = (answer(predictor, prompts, cell="c") for predictor in (theirs, ours))
            assert one.drop("nats").equals(other.drop("nats"))
            np.testing.assert_allclose(
                one["nats"].to_numpy(), other["nats"].to_numpy(), rtol=1e-4, atol=1e-5, equal_nan=True
            )
            right += int(one["correct"].sum())
    assert right > 100
