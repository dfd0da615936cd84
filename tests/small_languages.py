"""Grammars for tests of the sampler, each for one construct, and their languages."""

from __future__ import annotations

from functools import cache

from emergelab.grammar.checks import require_valid
from emergelab.grammar.holdout import draw_language
from emergelab.grammar.language import Language
from emergelab.grammar.notation import parse
from emergelab.rng import stream


def language_of(text: str, key: int = 0) -> Language:
    """Return the language of a grammar that has been checked."""
    syntax = parse(text, name="small")
    require_valid(syntax, "small", text)
    return draw_language(syntax, stream(key, "world"))


@cache
def small_language(name: str) -> Language:
    """Return the language of one of `SMALL`."""
    return language_of(SMALL[name])


_F = "world { objects 3 family f 2 permutations }"
_F3 = "world { objects 3 family f 3 permutations }"
_FP = "world { objects 3 family f 2 maps predicate p 3 density 0.5 }"

SMALL = {
    "stop": f"""{_F3}
        rule Document = each x ~ objects, stop 0.4 {{ let a ~ f {{ x a(x) }} ";" }}""",
    "power": f"""{_F3}
        rule Document = each x ~ objects, power 1.5 {{ let a ~ f {{ x a(x) }} ";" }}""",
    "uniform": f"""{_F3}
        rule Document = each x ~ objects, uniform 2 3 {{ let a ~ f {{ x a(x) }} ";" }}""",
    "all": f"""{_F3}
        rule Document = each x ~ objects, all {{ let a ~ f {{ x a(x) }} }}""",
    "distinct": f"""{_F3}
        rule Document = each x ~ objects distinct, stop 0.2 {{ let a ~ f {{ x a(x) }} }} "." """,
    "distinct uniform": f"""{_F3}
        rule Document = each x ~ objects distinct, uniform 2 9 {{ let a ~ f {{ x a(x) }} }}""",
    "weighted": f"""{_F3}
        rule Document = each x ~ objects power 1, stop 0.5 {{ let a ~ f {{ x a(x) }} ";" }}""",
    "weighted distinct": f"""{_F3}
        rule Document = each x ~ objects distinct power 2, stop 0.3 {{ let a ~ f {{ x a(x) }} }}""",
    "steep": f"""{_F}
        rule Document = each x ~ objects distinct power 8, uniform 3 9 {{ x let a ~ f {{ a(x) }} }}""",
    "weighted families": """world { objects 3 family f 3 permutations power 1 family g 2 maps power 2 }
        rule Document = some x ~ objects { let a ~ f, b ~ g { x a(x) b(a(x)) } }""",
    "some": f"""{_F}
        rule Document = Line* stop 0.5
        rule Line = 0.3: some x ~ objects power 1 {{ let a ~ f {{ a(x) x }} "." }} | 0.7: "-" """,
    "productions": f"""{_F}
        rule Document = Line* uniform 1 3
        rule Line = 0.2: "a" | 0.5: "b" "c" | 0.3: some x ~ objects {{ let a ~ f {{ a(x) }} }}""",
    "repeat power": """world { objects 3 }
        rule Document = Line* power 2 "!"
        rule Line = 0.5: "+" | 0.5: "-" """,
    "if and else": f"""{_FP}
        rule Document = each x ~ objects, stop 0.4 {{
          let a ~ f, q ~ p {{ x if q(a(x)) {{ "yes" a(x) }} else {{ "no" }} ";" }} }}""",
    "if alone": """world { objects 3 predicate p 2 density 0.5 }
        rule Document = each x ~ objects, stop 0.4 { let q ~ p { x if q(x) { "yes" } } ";" }""",
    "nested ifs": f"""{_FP}
        rule Document = each x ~ objects, stop 0.5 {{
          let a ~ f, q ~ p, r ~ p {{
            x if q(x) {{ if r(x) {{ a(x) }} else {{ "n" }} "k" }} else {{ if r(a(x)) {{ "m" }} else {{ a(x) }} }} ";"
          }} }}""",
    "nested loops": f"""{_F}
        rule Document = each x ~ objects, stop 0.5 {{
          x ":" each y ~ objects distinct, stop 0.5 {{ let a ~ f {{ y a(y) x }} "," }} ";" }}""",
    "loop in some": f"""{_F3}
        rule Document = some y ~ objects {{
          let a ~ f {{ y each x ~ objects, stop 0.4 {{ x a(y) a(x) }} }} "." }}""",
    "some in loop": f"""{_F}
        rule Document = each x ~ objects, stop 0.4 {{ x some y ~ objects {{ let a ~ f {{ y a(y) "," }} }} Last(x) }}
        rule Last(x) = let a ~ f {{ a(x) }}""",
    "nested calls": f"""{_F}
        rule Document = each x ~ objects, stop 0.5 {{ x One(x) ";" }}
        rule One(x) = 0.6: let a ~ f {{ Two(a(x), x) }} | 0.4: "?"
        rule Two(y, z) = 0.5: let b ~ f {{ b(y) z }} | 0.5: y""",
    "recursion": f"""{_F}
        rule Document = each x ~ objects, stop 0.5 {{ x Chain(x) ";" }}
        rule Chain(x) = 0.5: x | 0.5: let a ~ f {{ a(x) Chain(a(x)) }}""",
    "repeat in loop": f"""{_F}
        rule Document = each x ~ objects, stop 0.5 {{ x Value(x)* uniform 1 2 ";" }}
        rule Value(x) = let a ~ f {{ a(x) }}""",
    "two repeats": f"""{_F}
        rule Document = Line* stop 0.5 "=" Line* uniform 1 2 some x ~ objects {{ x Tail(x)* uniform 1 2 }}
        rule Line = 0.5: "+" | 0.5: "-"
        rule Tail(x) = 0.5: x | 0.5: let a ~ f {{ a(x) }}""",
    "scope": f"""{_F}
        rule Document = some y ~ objects {{ "of" y Line(y)* stop 0.5 "!" }}
        rule Line(y) = 0.4: y let a ~ f {{ a(y) }} "." | 0.2: each x ~ objects, stop 0.6 {{ x Value(x) ";" }}
                     | 0.4: Value(y) each x ~ objects, stop 0.6 {{ x y }} "," y
        rule Value(x) = let a ~ f {{ a(x) }}""",
    "scopes in turn": """world { objects 2 }
        rule Document = some y ~ objects power 1 { Part(y) Line(y)* uniform 1 2 } some z ~ objects { Line(z)* stop 1 }
        rule Part(y) = 0.5: Line(y)* uniform 1 2 | 0.5: some z ~ objects { Line(z)* stop 1 } "/"
        rule Line(y) = 0.5: y "." y | 0.5: some x ~ objects { x Word* uniform 1 2 }
        rule Word = "+" """,
    "asked of the scope": """world { objects 2 predicate p 2 density 0.5 }
        rule Document = some y ~ objects { let q ~ p { Line(y)* uniform 1 2 if q(y) { Line(y) "/" y } } }
        rule Line(y) = let q ~ p { y if q(y) { y "." } else { "," y } }""",
    "repeats behind": """world { objects 3 }
        rule Document = Line* uniform 1 2 Tail
        rule Tail = "=" Line* uniform 1 2
        rule Line = 0.5: "+" | 0.5: "-" """,
    "draws that coincide": f"""{_F}
        rule Document = each x ~ objects, stop 0.4 {{ x let a ~ f, b ~ f {{ a(x) b(x) }} ";" }}""",
    "plain with families": """world { objects 3 family f 2 permutations family g 2 maps power 1 }
        rule Document = Line* stop 0.6
        rule Line = 0.5: let c ~ g { each x ~ objects, stop 0.4 { "(" x Value(c(x)) c(x) ")" } }
                  | 0.5: some x ~ objects power 1 { Value(x) x "." }
        rule Value(y) = 0.6: let a ~ f { a(y) } | 0.4: let a ~ f, b ~ g { a(y) b(a(y)) }""",
    "fresh permutations": """world { objects 3 family f 2 permutations per document }
        rule Document = each x ~ objects, stop 0.4 { let a ~ f { x a(x) } ";" }""",
    "fresh maps": """world { objects 2 family f 2 maps per document }
        rule Document = Line* stop 0.5
        rule Line = each x ~ objects, stop 0.4 { let a ~ f { x a(x) } ";" }""",
    "fresh predicates": """world { objects 3 predicate p 2 per document density 0.3 }
        rule Document = each x ~ objects, stop 0.4 { let q ~ p { x if q(x) { "+" } else { "-" } } }""",
    "argument behind": f"""{_F3}
        rule Document = each x ~ objects, stop 0.4 {{ let a ~ f {{ a(x) "of" x ";" }} }}""",
    "held out": """world { objects 3 family f 3 permutations power 1 }
        hold out 0.5 of f * f
        rule Document = each x ~ objects, stop 0.4 { x Value(x) ";" }
        rule Value(x) = 0.5: let a ~ f { More(a(x)) } | 0.5: let a ~ f, b ~ f { a(x) b(a(x)) }
        rule More(y) = 0.5: let b ~ f { b(y) } | 0.5: y""",
}
