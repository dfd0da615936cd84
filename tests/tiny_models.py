"""Tiny Hugging Face models and tokenizers, made on the spot."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from emergelab.grammar.language import Vocabulary

# Words that the tokenizer is to learn whole: they stand often enough in its text.
WORDS = [
    "dax",
    "wug",
    "zop",
    "fep",
    "blick",
    "tove",
    "kiki",
    "bouba",
    "mib",
    "nad",
    "gorp",
    "lun",
    "pim",
    "rax",
]
WORDS += ["sul", "tam", "vek", "yin", "cat", "dog", "house"]
START, END, BOTH = "<start>", "<end>", "<|endoftext|>"


def byte_level_tokenizer(*, bos: bool = False, words: list[str] = WORDS) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer that knows `words`, ";" and "." with the space before them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        special_tokens=[BOTH],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f" {word} ; ." for word in words] * 3, trainer)
    if bos:
        special = [(BOTH, 0)]
        tokenizer.post_processor = processors.TemplateProcessing(f"{BOTH} $A", None, special)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOTH, eos_token=BOTH)


def word_level_tokenizer(vocabulary: Vocabulary) -> PreTrainedTokenizerFast:
    """Return a tokenizer that knows the grammar's tokens by their own names, in their own order."""
    numbers = {text: number for number, text in enumerate(vocabulary.texts)}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token=END))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=START, eos_token=END)


def tiny_llama(vocabulary: int, *, context: int = 96) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=context,
        initializer_range=0.6,
    )
    return LlamaForCausalLM(config).eval()


def tiny_gpt2(vocabulary: int, *, context: int = 96) -> GPT2LMHeadModel:
    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=vocabulary,
        n_embd=16,
        n_layer=2,
        n_head=2,
        n_positions=context,
        initializer_range=0.6,
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPT2LMHeadModel(config).eval()


def save(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Path:
    """Write a model's folder as its makers do."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
