"""Folders of models: what is no safe causal model is refused with one message, before its weights are read."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM, BertLMHeadModel, GPT2Model, T5Config, T5Model

from emergelab.evaluate import pretrained
from emergelab.evaluate.pretrained import ModelError, ModelFolder, Placement, choose_placement
from tiny_models import byte_level_tokenizer, save, tiny_gpt2, tiny_llama

CPU = Placement("cpu", "float32")
# Weights of a size at which one word matters to another: at BERT's own, drawn anew, it may not.
BERT = BertConfig(
    vocab_size=300,
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    initializer_range=0.5,
)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = byte_level_tokenizer()
    return save(tmp_path_factory.mktemp("models") / "llama", tiny_llama(len(tokenizer)), tokenizer)


@pytest.fixture
def folder(llama: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(llama, tmp_path / "llama"))


def test_a_good_folder(llama: Path):
    opened = ModelFolder.open(llama)
    model = opened.load(CPU)
    assert (opened.name, opened.context, opened.layers, opened.width) == ("llama", 96, 2, 16)
    assert opened.weight_bytes == (llama / "model.safetensors").stat().st_size
    assert not model.training
    assert opened.tokenizer.get_vocab() == byte_level_tokenizer().get_vocab()


def change(name: str, entry: str, value: object) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**content, entry: value}))

    return do


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def index(name: str) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(b"")
        index = {"metadata": {}, "weight_map": {"lm_head.weight": name}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    return do


def drop(*names: str) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return do


def without_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def cut_short(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:1000])


def not_finite(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"][0, 0] = torch.nan
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def replaced(make: Callable[[], torch.nn.Module]) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        make().save_pretrained(folder)  # pyright: ignore[reportCallIssue]

    return do


# What is done to a good folder, and what the message must hold: the value, and the rule or the remedy.
BAD: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "no configuration": (drop("config.json"), ("no config.json", "save_pretrained")),
    "no weights": (drop("model.safetensors"), ("no model.safetensors", "save_pretrained")),
    "pickled weights": (pickled, ("pytorch_model.bin", "can run code", "save_pretrained")),
    "pickled shards": (index("pytorch_model.bin"), ("'pytorch_model.bin'", "same folder")),
    "shards elsewhere": (index("../model.safetensors"), ("'../model.safetensors'", "same folder")),
    "a shard that is missing": (index("model-2.safetensors"), ("'model-2.safetensors'", "Fetch")),
    "weights named elsewhere": (
        change("config.json", "transformers_weights", "pytorch_model.bin"),
        ("names its weights",),
    ),
    "code of its own": (
        lambda folder: [
            change("config.json", "model_type", "mine")(folder),
            change("config.json", "auto_map", {"AutoConfig": "mine.Mine"})(folder),
        ],  # pyright: ignore[reportAssignmentType]
        ("'mine'", "never run"),
    ),
    "an unknown type": (change("config.json", "model_type", "mine"), ("'mine'", "newer version")),
    "a broken configuration": (
        lambda folder: (folder / "config.json").write_text("{") and None,
        ("config.json cannot be read",),
    ),
    "no object": (lambda folder: (folder / "config.json").write_text("[]") and None, ("no JSON object",)),
    "a wrong entry": (change("config.json", "hidden_size", "wide"), ("configuration in", "cannot be loaded")),
    "no tokenizer": (drop("tokenizer.json", "tokenizer_config.json"), ("tokenizer in", "cannot be loaded")),
    "a missing tensor": (without_tensor, ("model.layers.1.mlp.up_proj.weight", "partly random")),
    "weights cut short": (cut_short, ("model in", "cannot be loaded")),
    "weights that are not finite": (not_finite, ("not finite",)),
    "a masked model": (replaced(lambda: BertForMaskedLM(BERT)), ("BertForMaskedLM", "next token")),
    "an encoder with a head": (replaced(lambda: BertLMHeadModel(BERT)), ("looks ahead",)),
    "a body without a head": (
        replaced(lambda: GPT2Model(tiny_gpt2(300).config)),
        ("GPT2Model", "next token"),
    ),
    "an encoder with a decoder": (
        replaced(lambda: T5Model(T5Config(vocab_size=300, d_model=16, d_kv=8, d_ff=16, num_layers=1))),
        ("T5Model", "next token"),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_folders_are_refused(name: str, folder: Path):
    spoil, parts = BAD[name]
    spoil(folder)
    with pytest.raises(ModelError) as refusal:
        _ = ModelFolder.open(folder).load(CPU), ModelFolder.open(folder).tokenizer
    assert str(folder) in str(refusal.value)
    for part in parts:
        assert part in str(refusal.value)


@pytest.mark.parametrize(("name", "found"), [("gone", "does not exist"), ("file", "is a file")])
def test_what_is_no_folder(name: str, found: str, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match=found):
        ModelFolder.open(tmp_path / name)


def test_without_the_library_there_is_one_message(llama: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pretrained.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(Exception, match=r"pip install 'emergelab\[huggingface\]'"):
        ModelFolder.open(llama)


def test_the_cpu_computes_in_float32(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_placement("auto") == choose_placement("cpu") == CPU
    with pytest.raises(ModelError, match="no GPU"):
        choose_placement("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_placement("auto") == Placement("cuda", "bfloat16")


@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
def test_the_head_keeps_all_bits_over_a_body_in_few(make: Callable[[int], torch.nn.Module], tmp_path: Path):
    """Logits in bfloat16 tie; the same hidden states under the head in float32 do not."""
    tokenizer = byte_level_tokenizer()
    opened = ModelFolder.open(save(tmp_path / "m", make(len(tokenizer)), tokenizer))  # pyright: ignore[reportArgumentType]
    model = opened.load(Placement("cpu", "bfloat16"))
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        output = model(input_ids=ids, output_hidden_states=True)
        hidden = output.hidden_states[-1].float()
        exact = hidden @ model.get_output_embeddings().weight.T
    assert model.dtype == torch.bfloat16
    assert output.logits.dtype == torch.float32
    torch.testing.assert_close(output.logits, exact)
    assert len(output.logits[0, 3].unique()) > len(output.logits[0, 3].bfloat16().unique())
