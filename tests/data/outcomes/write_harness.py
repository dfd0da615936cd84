"""Writes the samples and results of the lm-evaluation-harness that the tests read.

Run it with the Python of an environment that has lm_eval, torch (CPU) and transformers; nothing is downloaded:

    python tests/data/outcomes/write_harness.py

Written with lm_eval 0.4.13 (torch 2.13.0, transformers 5.23.0) and with lm_eval 0.4.4 (torch 2.15.0, transformers
4.46.3).
A model of random weights answers questions of every output type of the harness, at two revisions. What the harness
says about the machine (`pretty_env_info`) is left out of the files; nothing else is touched.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
MODEL = "models/tiny"
ANIMALS = [("cat", "cats"), ("dog", "dogs"), ("ox", "oxen"), ("fox", "foxes"), ("mouse", "mice")]
# Answers are chosen among four texts; by the number of the right one, by its text, with two right ones.
CHOICE = """
task: plural_choice
dataset_path: json
dataset_kwargs: {data_files: {test: data/plurals.jsonl, train: data/plurals.jsonl}}
test_split: test
fewshot_split: train
output_type: multiple_choice
doc_to_text: "Plural of {{word}}:"
doc_to_choice: "{{choices}}"
doc_to_target: gold
metric_list:
  - {metric: acc}
  - {metric: acc_norm}
metadata: {version: 1.0}
"""
BY_TEXT = (
    CHOICE.replace("plural_choice", "plural_by_text").replace("doc_to_target: gold", "doc_to_target: plural")
    + "num_fewshot: 2\n"
)
SEVERAL_RIGHT = CHOICE.replace("plural_choice", "plural_several").replace(
    "doc_to_target: gold", 'doc_to_target: "{{[gold, (gold + 1) % 4]}}"'
)
MUTUAL = CHOICE.replace("plural_choice", "plural_mutual").replace(
    "{metric: acc_norm}", "{metric: acc_mutual_info}"
)
# The choice stands in the question, and what follows is the same for all choices (as in WinoGrande).
INPUTS = """
task: which_is_plural
dataset_path: json
dataset_kwargs: {data_files: {test: data/plurals.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: gold
doc_to_choice: '{{["Many " ~ word, "Many " ~ plural]}}'
doc_to_target: "are here."
process_docs: !function inputs.second_is_right
metric_list:
  - {metric: acc}
metadata: {version: 1.0}
"""
PROCESS = '''"""The second choice is the right one in all of these questions."""


def second_is_right(docs):
    """Return the documents with gold 1."""
    return docs.map(lambda doc: {"gold": 1})
'''
LAST_WORD = """
task: last_word
dataset_path: json
dataset_kwargs: {data_files: {test: data/plurals.jsonl}}
test_split: test
output_type: loglikelihood
doc_to_text: "One {{word}}, two"
doc_to_target: " {{plural}}"
metric_list:
  - {metric: perplexity, aggregation: perplexity, higher_is_better: false}
  - {metric: acc, aggregation: mean, higher_is_better: true}
metadata: {version: 1.0}
"""
GENERATED = """
task: plural_written
dataset_path: json
dataset_kwargs: {data_files: {test: data/plurals.jsonl, train: data/plurals.jsonl}}
test_split: test
fewshot_split: train
num_fewshot: 2
output_type: generate_until
doc_to_text: "{{word}} ->"
doc_to_target: "{{plural}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 6, do_sample: false}
repeats: 2
filter_list:
  - name: strict
    filter: [{function: take_first}]
  - name: letters
    filter:
      - {function: regex, regex_pattern: "([a-z]+)"}
      - {function: take_first}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true, ignore_case: true}
metadata: {version: 1.0}
"""
WHOLE_TEXTS = """
task: whole_texts
dataset_path: json
dataset_kwargs: {data_files: {test: data/plurals.jsonl}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{word}} {{plural}}"
metric_list:
  - {metric: word_perplexity}
metadata: {version: 1.0}
"""
TASKS = (CHOICE, BY_TEXT, SEVERAL_RIGHT, MUTUAL, INPUTS, LAST_WORD, GENERATED, WHOLE_TEXTS)


def main() -> None:
    """Write `harness-VERSION` beside this file."""
    out = HERE / f"harness-{version('lm_eval')}"
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        _write_data(place)
        names = _write_tasks(place)
        for revision, seed in (("step1", 1), ("step2", 2)):
            _write_model(place / MODEL, seed)
            _run(place, revision, names)
        shutil.rmtree(out, ignore_errors=True)
        (written,) = (place / "out").iterdir()
        shutil.copytree(written, out)
    for path in out.glob("results_*.json"):
        results = json.loads(path.read_text(encoding="utf-8"))
        results["pretty_env_info"] = ""
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _write_data(place: Path) -> None:
    (place / "data").mkdir()
    rows = [
        {"word": word, "plural": plural, "choices": _choices(word, plural, at), "gold": at % 4}
        for at, (word, plural) in enumerate(ANIMALS)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (place / "data" / "plurals.jsonl").write_text(text, encoding="utf-8")


def _choices(word: str, plural: str, at: int) -> list[str]:
    wrong = [word, f"{word}i", f"{word}ren"]
    return [*wrong[: at % 4], plural, *wrong[at % 4 :]]


def _write_tasks(place: Path) -> list[str]:
    (place / "tasks").mkdir()
    (place / "tasks" / "inputs.py").write_text(PROCESS, encoding="utf-8")
    names = [text.split("task: ")[1].splitlines()[0] for text in TASKS]
    for name, text in zip(names, TASKS, strict=True):
        (place / "tasks" / f"{name}.yaml").write_text(text, encoding="utf-8")
    return names


def _write_model(folder: Path, seed: int) -> None:
    """Write a model of one layer over bytes, its weights random."""
    import torch  # noqa: PLC0415
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers  # noqa: PLC0415
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast  # noqa: PLC0415

    alphabet = ["<end>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({token: at for at, token in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **dict.fromkeys(("eos_token", "bos_token", "pad_token"), "<end>")
    ).save_pretrained(folder)
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=len(alphabet), n_positions=256, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0,
        initializer_range=0.2,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)


def _run(place: Path, revision: str, names: list[str]) -> None:
    command = [
        sys.executable, "-m", "lm_eval", "--model", "hf", "--tasks", ",".join(names),
        "--model_args", f"pretrained={MODEL},revision={revision},dtype=float32",
        "--include_path", "tasks", "--output_path", "out", "--log_samples", "--device", "cpu", "--batch_size", "8",
    ]  # fmt: skip
    quiet = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    quiet |= {"HF_HOME": str(place / "cache"), "HF_DATASETS_CACHE": str(place / "cache")}
    subprocess.run(command, cwd=place, check=True, env={**os.environ, **quiet})


if __name__ == "__main__":
    main()
