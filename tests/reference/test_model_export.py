"""Exported models, read by Hugging Face's own classes: the same logits, the same words."""

from pathlib import Path

import numpy as np
import pytest
import torch

from emergelab.corpus.documents import Corpus
from emergelab.corpus.tokenizer import document_text
from emergelab.evaluate.trained import TrainedPredictor
from emergelab.grammar.holdout import draw_language
from emergelab.grammar.notation import parse
from emergelab.model.spec import ModelSpec
from emergelab.model.transformer.parameters import initialise
from emergelab.recipes.exporting_models import export_model, find_model
from emergelab.rng import stream
from emergelab.train.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from odd_words import ODD_GRAMMAR

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

LANGUAGE = draw_language(parse(ODD_GRAMMAR, name="odd"), stream(3, "world"))
VOCABULARY = len(LANGUAGE.vocabulary)
SHAPES = [
    ModelSpec(vocabulary=VOCABULARY, width=64, heads=4, layers=3, context=40),
    ModelSpec(vocabulary=VOCABULARY, width=12, heads=1, layers=1, context=17, hidden=20),
    ModelSpec(vocabulary=VOCABULARY, width=24, heads=6, layers=2, context=33, rotary_base=500.0),
    ModelSpec(vocabulary=VOCABULARY, width=32, heads=2, layers=4, context=8, norm_epsilon=1e-3, hidden=96),
]


def export(folder: Path, spec: ModelSpec) -> Path:
    """Export a model whose every parameter, gains included, is random."""
    grammar, checkpoint = folder / "odd.cag", folder / "model.safetensors"
    grammar.write_text(ODD_GRAMMAR, encoding="utf-8")
    noise = torch.Generator().manual_seed(0)
    values = initialise(spec, [stream(5)])
    for name in values:
        values[name] = values[name] + 0.2 * torch.randn(values[name].shape, generator=noise)
    write_checkpoint(checkpoint, Checkpoint(spec, values, 7, 800))
    model = find_model(checkpoint, {}, grammar=str(grammar), key=3)
    assert export_model(model, folder / "out", command="model export") == spec
    return folder / "out"


@pytest.fixture(scope="module", params=SHAPES, ids=lambda spec: f"{spec.layers}x{spec.width}")
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tmp_path_factory.mktemp("model"), request.param)


def test_logits_equal_ours(exported: Path):
    spec = read_checkpoint(exported / "model.safetensors").spec
    llama = transformers.AutoModelForCausalLM.from_pretrained(exported, dtype=torch.float32).eval()
    assert type(llama) is transformers.LlamaForCausalLM
    assert llama.num_parameters() == spec.parameters()
    tokens = stream(1).generator().integers(0, spec.vocabulary, (6, spec.context)).astype(np.uint16)
    ours = TrainedPredictor.load(exported / "model.safetensors").log_probabilities(tokens)
    with torch.no_grad():
        theirs = torch.log_softmax(llama(input_ids=torch.from_numpy(tokens.astype(np.int64))).logits, -1)
    assert np.abs(ours - theirs.numpy()).max() < 1e-4


def test_documents_survive_the_tokenizer(exported: Path):
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported)
    context = read_checkpoint(exported / "model.safetensors").spec.context
    documents = Corpus(LANGUAGE, stream(3, "data", 0), context=context - 1).sample(np.arange(60))
    words = LANGUAGE.vocabulary.texts
    seen: set[int] = set()
    for tokens, length in zip(documents.tokens.tolist(), documents.lengths.tolist(), strict=True):
        text = document_text(words, tokens[:length])
        assert tokenizer(text).input_ids == tokens[:length]
        assert tokenizer.decode(tokens[1:length]) == text
        assert tokenizer.decode(tokens[:length]) == f"<start> {text}"
        seen.update(tokens[:length])
    assert seen == set(range(VOCABULARY)) or context < 20


def test_the_tokenizer_knows_every_word_and_no_other(exported: Path):
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported)
    words = LANGUAGE.vocabulary.texts
    assert tokenizer.get_vocab() == {word: token for token, word in enumerate(words)}
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (0, 1, 1)
    assert tokenizer.convert_ids_to_tokens(list(range(VOCABULARY))) == list(words)
    with pytest.raises(Exception, match="vocabulary"):
        tokenizer("o1 wrong")


def test_text_is_generated_to_the_end_or_the_context(exported: Path):
    llama = transformers.AutoModelForCausalLM.from_pretrained(exported, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported)
    context = read_checkpoint(exported / "model.safetensors").spec.context
    torch.random.manual_seed(0)
    tokens = llama.generate(**tokenizer("o1 o2 ;", return_tensors="pt"))[0].tolist()
    assert tokens[:4] == tokenizer("o1 o2 ;").input_ids
    assert len(tokens) == context or tokens[-1] == 1
