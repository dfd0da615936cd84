"""A grammar whose words are hard on tokenizers, page builders and file formats."""

ODD_WORDS = (
    *(
        '"',
        "'",
        "`",
        "```",
        "\\",
        "\\n",
        "|",
        "#",
        "##b",
        "<",
        ">",
        "<unknown>",
        "<s>",
        "[CLS]",
        "{",
        "}",
        "[x]",
    ),
    *(
        "ü",
        "u\u0308",
        "\u00e9",
        "日本",
        "\U0001f600",
        "—",
        "a.b",
        ".",
        ",",
        "n't",
        "Ġ",
        "▁",
        "---",
        "$",
        "%s",
    ),
)


def _quoted(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


ODD_GRAMMAR = f"""
world {{ objects 4  family f 3 permutations  family g 2 maps }}
hold out 0.3 of f * g
rule Document  = Statement* stop 0.3
rule Statement = 0.8: each x ~ objects, stop 0.2 {{ x Value(x) ";" }} | 0.2: Word* stop 0.1
rule Value(x)  = 0.5: let a ~ f {{ a(x) }}
               | 0.3: let a ~ f, b ~ g {{ b(a(x)) }}
               | 0.2: let a ~ f, b ~ g {{ a(x) b(a(x)) }}
rule Word      = {" | ".join(f"1/{len(ODD_WORDS)}: {_quoted(word)}" for word in ODD_WORDS)}
task pair = let a ~ f, b ~ g  each x {{ x b(a(x)) ";" }}  steps {{ x a(x) b(a(x)) ";" }}  splits seen, held out
"""
