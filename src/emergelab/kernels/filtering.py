"""Exact forward filtering: the grammar's own law of the next token after every prefix of a document.

A hypothesis says what the tokens read so far are: which statement is being printed, by which body, since when,
in which row. Each carries a weight, its share of the probability of what has been read. Hypotheses about the
first row of a statement share a trie, since most bodies begin alike; those about later rows are kept one by
one, and only while they agree with the tokens. All weights are divided by their sum at every token, so that
nothing underflows.

What was not enumerated, the remainder, begins where a statement begins. Its weight is an upper bound: it is
carried along undiminished while the pattern of its first row does not contradict the tokens. What is predicted
takes it for something that prints its pattern and then any token whatever, each as likely as the others: a law
that sums to one, gives every token that may come a probability, and lies within the certified limits.
"""

# Numba infers the types of kernels.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportReturnType=false

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64, UInt16

from emergelab.kernels.compiling import entry, kernel

ANY_OBJECT = -1
NO_ROW, SEVERAL_ROWS = -1, -2


class FilterProgram(NamedTuple):
    """What documents are made of, as arrays.

    Tries: node 0 and those after it; the children of a node, and the rows that end at it, stand one after the
    other. `child_mass` is the probability of all rows below a child. Node `state_root[s]` begins statements
    of document state s, node `body_root[b]` the body b behind another one (-1: nothing leads there).
    """

    tokens: Int32[np.ndarray, " tokens"]
    row_first: Int64[np.ndarray, " rows_and_one"]
    row_objects: Float64[np.ndarray, " rows"]
    row_weight: Float64[np.ndarray, " rows"]
    body_first: Int64[np.ndarray, " bodies_and_one"]
    body_loop: Int32[np.ndarray, " bodies"]
    body_next: Int32[np.ndarray, " bodies"]
    body_root: Int32[np.ndarray, " bodies"]
    # Which row of a body begins with a token: NO_ROW, or SEVERAL_ROWS for who has to look.
    row_of_token: Int32[np.ndarray, "bodies vocabulary"]
    # With replacement: the laws of the token that begins a row, and which of them is a body's.
    first_laws: Float64[np.ndarray, "laws vocabulary"]
    body_law: Int32[np.ndarray, " bodies"]
    go_on: Float64[np.ndarray, "loops rows_done"]  # probability of one more row
    distinct: Bool[np.ndarray, " loops"]
    weighted: Bool[np.ndarray, " loops"]
    child_first: Int64[np.ndarray, " nodes_and_one"]
    child_token: Int32[np.ndarray, " children"]
    child_node: Int32[np.ndarray, " children"]
    child_mass: Float64[np.ndarray, " children"]
    end_first: Int64[np.ndarray, " nodes_and_one"]
    end_body: Int32[np.ndarray, " ends"]
    end_row: Int32[np.ndarray, " ends"]
    end_probability: Float64[np.ndarray, " ends"]
    state_root: Int32[np.ndarray, " states"]
    initial: Float64[np.ndarray, " states"]
    transition: Float64[np.ndarray, "states states_and_end"]
    remainder_state: Int32[np.ndarray, " remainders"]
    remainder_probability: Float64[np.ndarray, " remainders"]
    pattern_first: Int64[np.ndarray, " remainders_and_one"]
    pattern: Int32[np.ndarray, " pattern"]
    first_object: Int32[np.ndarray, " one"]
    objects: Int32[np.ndarray, " one"]


class Hypotheses(NamedTuple):
    """Room for hypotheses of one sort: integers, weights, and how often each row of the body was used.

    Whole numbers of a hypothesis in a trie: node, document state, start. Of one in a loop: body, document
    state, start, rows done, row, tokens of it read.
    """

    whole: Int32[np.ndarray, "places fields"]
    weight: Float64[np.ndarray, " places"]
    used: UInt16[np.ndarray, "places rows"]


class Memory(NamedTuple):
    """Room for the hypotheses after a token and after the next one, and for sums over document states."""

    trie: Hypotheses
    next_trie: Hypotheses
    loop: Hypotheses
    next_loop: Hypotheses
    rest_whole: Int32[np.ndarray, "places two"]  # remainder, tokens read since it began
    rest_weight: Float64[np.ndarray, " places"]  # the bound
    rest_share: Float64[np.ndarray, " places"]  # if any token may follow
    ended: Float64[np.ndarray, " states"]
    begun: Float64[np.ndarray, " states"]
    law: Float64[np.ndarray, " vocabulary"]
    by_law: Float64[np.ndarray, " laws"]


class Filtered(NamedTuple):
    """Where results go. An array without documents is left alone; all are in nats or shares.

    `laws` holds ln P(next token) behind every token; `nats` what each token cost, the first one nothing;
    `nats_lo` and `nats_hi` what it cost for certain; `watched` the share of those hypotheses by which the
    document is in its first statement, at the end of a row of one of the bodies that are watched.
    """

    laws: np.ndarray
    nats: Float64[np.ndarray, "documents length"]
    nats_lo: Float64[np.ndarray, "documents length"]
    nats_hi: Float64[np.ndarray, "documents length"]
    watched: Float64[np.ndarray, "documents length"]


_NODE, _STATE, _START = range(3)
_BODY, _DONE, _ROW, _READ = 0, 3, 4, 5
TRIE_FIELDS, LOOP_FIELDS = 3, 6
_AT_A_ROW = -1  # the next row has not been chosen yet


@entry
def filter_documents(program, memory, tokens, lengths, watch, end_token, first, out):
    """Filter documents from number `first` on; return how many are done. Fewer than all: memory ran out.

    tokens uint16[documents, length] begin with the start token. watch bool[documents, bodies] or of no
    documents.
    """
    for document in range(first, len(tokens)):
        if not _filter(program, memory, tokens, lengths, watch, end_token, document, out):
            return document
    return len(tokens)


@kernel
def _filter(program, memory, tokens, lengths, watch, end_token, document, out):
    """Filter one document; return False where memory ran out."""
    vocabulary = len(memory.law)
    objects = program.objects[0]
    tries, loops, rests = 0, 0, 0
    for state in range(len(program.initial)):
        memory.begun[state] = program.initial[state]
    ending, total, unknown = 0.0, 0.0, 0.0
    alive = True
    for place in range(lengths[document]):
        # `begun` and `ending` hold what the token at `place` has left at the border of statements.
        if alive:
            for state in range(len(program.initial)):
                if memory.begun[state] > 0.0:
                    if tries == len(memory.trie.weight):
                        return False
                    memory.trie.whole[tries, _NODE] = program.state_root[state]
                    memory.trie.whole[tries, _STATE] = state
                    memory.trie.whole[tries, _START] = place + 1
                    memory.trie.weight[tries] = memory.begun[state]
                    tries += 1
            for number in range(len(program.remainder_state)):
                weight = memory.begun[program.remainder_state[number]] * program.remainder_probability[number]
                if weight > 0.0:
                    if rests == len(memory.rest_weight):
                        return False
                    memory.rest_whole[rests, 0] = number
                    memory.rest_whole[rests, 1] = 0
                    memory.rest_weight[rests] = weight
                    memory.rest_share[rests] = weight
                    rests += 1
            total = _predict(program, memory, tries, loops, ending, end_token, objects)
            unknown = 0.0
            for rest in range(rests):
                unknown += memory.rest_share[rest]
            alive = total + unknown > 0.0
        if len(out.laws):
            for token in range(vocabulary):
                share = 1.0 / vocabulary
                if alive:
                    share = (memory.law[token] + _unknown(program, memory, rests, token)) / (total + unknown)
                out.laws[document, place, token] = np.log(share)
        if place + 1 == lengths[document]:
            break
        token = np.int64(tokens[document, place + 1])
        if not alive:
            out.nats[document, place + 1] = np.log(vocabulary)
            out.nats_lo[document, place + 1] = 0.0
            out.nats_hi[document, place + 1] = np.inf
            continue
        upper = 0.0
        for rest in range(rests):
            upper += memory.rest_weight[rest]
        seen = memory.law[token]
        guessed = seen + _unknown(program, memory, rests, token)
        rests = _carry_rests(program, memory, rests, token)
        behind = 0.0
        for rest in range(rests):
            behind += memory.rest_weight[rest]
        out.nats[document, place + 1] = -np.log(guessed / (total + unknown))
        # A bound that is carried on undiminished may grow past all numbers: then nothing is certain.
        out.nats_lo[document, place + 1] = (
            0.0 if total + behind == 0.0 or np.isinf(behind) else -np.log((seen + behind) / (total + behind))
        )
        out.nats_hi[document, place + 1] = -np.log(seen / (total + upper))
        if guessed <= 0.0 or token == end_token:
            alive = False
            continue
        scale = 1.0 / guessed
        for rest in range(rests):
            memory.rest_weight[rest] *= scale
            memory.rest_share[rest] *= scale
        new_tries, new_loops = _read_tries(program, memory, tries, token, scale)
        if new_loops < 0:
            return False
        new_loops = _read_loops(program, memory, loops, new_loops, token, scale)
        if new_loops < 0:
            return False
        if len(watch):
            watched = 0.0
            for number in range(new_loops):
                if (
                    memory.next_loop.whole[number, _ROW] == _AT_A_ROW
                    and memory.next_loop.whole[number, _START] == 1
                    and watch[document, memory.next_loop.whole[number, _BODY]]
                ):
                    watched += memory.next_loop.weight[number]
            out.watched[document, place + 1] = watched
        tries, loops = _settle(program, memory, new_tries, new_loops, place + 1)
        if tries < 0:
            return False
        ending = _begin(program, memory)
    return True


@kernel
def _predict(program, memory, tries, loops, ending, end_token, objects):
    """Add up the law of the next token, unnormalised, and return its sum."""
    law = memory.law
    for token in range(len(law)):
        law[token] = 0.0
    law[end_token] = ending
    for number in range(tries):
        node, weight = memory.trie.whole[number, _NODE], memory.trie.weight[number]
        for child in range(program.child_first[node], program.child_first[node + 1]):
            law[program.child_token[child]] += weight * program.child_mass[child]
    for number in range(len(memory.by_law)):
        memory.by_law[number] = 0.0
    for number in range(loops):
        weight, row = memory.loop.weight[number], memory.loop.whole[number, _ROW]
        if row != _AT_A_ROW:
            place = program.row_first[row] + memory.loop.whole[number, _READ]
            law[program.tokens[place]] += weight
            continue
        body = memory.loop.whole[number, _BODY]
        if not program.distinct[program.body_loop[body]]:
            memory.by_law[program.body_law[body]] += weight
            continue
        left = _left(program, memory.loop, number, body, objects)
        for row in range(program.body_first[body], program.body_first[body + 1]):
            share = _row_share(program, memory.loop, number, body, row, left)
            law[program.tokens[program.row_first[row]]] += weight * share
    for number in range(len(memory.by_law)):
        if memory.by_law[number] > 0.0:
            for token in range(len(law)):
                law[token] += memory.by_law[number] * program.first_laws[number, token]
    total = 0.0
    for token in range(len(law)):
        total += law[token]
    return total


@kernel
def _left(program, loop, number, body, objects):
    """Return by what the weights of unused rows are divided: 1 with replacement."""
    kind = program.body_loop[body]
    if not program.distinct[kind]:
        return 1.0
    if not program.weighted[kind]:
        return np.float64(objects - loop.whole[number, _DONE])
    left = 0.0
    first = program.body_first[body]
    for row in range(first, program.body_first[body + 1]):
        if loop.used[number, row - first] == 0:
            left += program.row_weight[row]
    return left


@kernel
def _row_share(program, loop, number, body, row, left):
    """Return the probability of a row as the next one of a loop that goes on."""
    kind = program.body_loop[body]
    if not program.distinct[kind]:
        return program.row_weight[row]
    used = loop.used[number, row - program.body_first[body]]
    if program.weighted[kind]:
        return program.row_weight[row] / left if used == 0 else 0.0
    return (program.row_objects[row] - used) / left


@kernel
def _printed(program, memory, rest, token):
    """Return the probability that a remainder prints the token next, if it knows nothing but its pattern."""
    place = program.pattern_first[memory.rest_whole[rest, 0]] + memory.rest_whole[rest, 1]
    if place >= program.pattern_first[memory.rest_whole[rest, 0] + 1]:
        return 1.0 / len(memory.law)
    if program.pattern[place] == ANY_OBJECT:
        return 1.0 / program.objects[0] if token >= program.first_object[0] else 0.0
    return 1.0 if program.pattern[place] == token else 0.0


@kernel
def _unknown(program, memory, rests, token):
    """Return the share of the remainders that print the token next."""
    share = 0.0
    for rest in range(rests):
        share += memory.rest_share[rest] * _printed(program, memory, rest, token)
    return share


@kernel
def _carry_rests(program, memory, rests, token):
    """Keep the remainders whose pattern the token does not contradict; return how many there are."""
    kept = 0
    for rest in range(rests):
        printed = _printed(program, memory, rest, token)
        if printed > 0.0:
            memory.rest_whole[kept, 0] = memory.rest_whole[rest, 0]
            memory.rest_whole[kept, 1] = memory.rest_whole[rest, 1] + 1
            memory.rest_weight[kept] = memory.rest_weight[rest]
            memory.rest_share[kept] = memory.rest_share[rest] * printed
            kept += 1
    return kept


@kernel
def _read_tries(program, memory, tries, token, scale):
    """Follow the token in all tries; rows that end become loops. Return (tries, loops), loops -1: no room."""
    kept, loops = 0, 0
    for number in range(tries):
        node = memory.trie.whole[number, _NODE]
        behind = -1
        for child in range(program.child_first[node], program.child_first[node + 1]):
            if program.child_token[child] == token:
                behind = program.child_node[child]
        if behind < 0:
            continue
        weight = memory.trie.weight[number] * scale
        for end in range(program.end_first[behind], program.end_first[behind + 1]):
            if loops == len(memory.next_loop.weight):
                return kept, -1
            body = program.end_body[end]
            memory.next_loop.whole[loops, _BODY] = body
            memory.next_loop.whole[loops, _STATE] = memory.trie.whole[number, _STATE]
            memory.next_loop.whole[loops, _START] = memory.trie.whole[number, _START]
            memory.next_loop.whole[loops, _DONE] = 1
            memory.next_loop.whole[loops, _ROW] = _AT_A_ROW
            memory.next_loop.whole[loops, _READ] = 0
            memory.next_loop.weight[loops] = weight * program.end_probability[end]
            if program.distinct[program.body_loop[body]]:
                first = program.body_first[body]
                for row in range(program.body_first[body + 1] - first):
                    memory.next_loop.used[loops, row] = 0
                memory.next_loop.used[loops, program.end_row[end] - first] = 1
            loops += 1
        if program.child_first[behind] < program.child_first[behind + 1]:
            memory.next_trie.whole[kept, _NODE] = behind
            memory.next_trie.whole[kept, _STATE] = memory.trie.whole[number, _STATE]
            memory.next_trie.whole[kept, _START] = memory.trie.whole[number, _START]
            memory.next_trie.weight[kept] = weight
            kept += 1
    return kept, loops


@kernel
def _read_loops(program, memory, loops, new, token, scale):
    """Follow the token in all loops, new ones behind the first `new`; return how many, -1: no room."""
    objects = program.objects[0]
    for number in range(loops):
        row = memory.loop.whole[number, _ROW]
        weight = memory.loop.weight[number] * scale
        if row != _AT_A_ROW:
            place = program.row_first[row] + memory.loop.whole[number, _READ]
            if program.tokens[place] == token:
                new = _into_row(program, memory, number, row, weight, new)
                if new < 0:
                    return -1
            continue
        body = memory.loop.whole[number, _BODY]
        only = program.row_of_token[body, token]
        if only == NO_ROW:
            continue
        left = -1.0
        first = np.int64(only) if only >= 0 else program.body_first[body]
        behind = first + 1 if only >= 0 else program.body_first[body + 1]
        for candidate in range(first, behind):
            if program.tokens[program.row_first[candidate]] == token:
                if left < 0.0:
                    left = _left(program, memory.loop, number, body, objects)
                share = _row_share(program, memory.loop, number, body, candidate, left)
                if share > 0.0:
                    new = _into_row(program, memory, number, candidate, weight * share, new)
                    if new < 0:
                        return -1
    return new


@kernel
def _into_row(program, memory, number, row, weight, new):
    """Copy a hypothesis with one more token of `row` read; return the number of hypotheses, -1: no room."""
    if new == len(memory.next_loop.weight):
        return -1
    body = memory.loop.whole[number, _BODY]
    read = memory.loop.whole[number, _READ] + 1
    done = memory.loop.whole[number, _DONE]
    ends = program.row_first[row] + read == program.row_first[row + 1]
    memory.next_loop.whole[new, _BODY] = body
    memory.next_loop.whole[new, _STATE] = memory.loop.whole[number, _STATE]
    memory.next_loop.whole[new, _START] = memory.loop.whole[number, _START]
    memory.next_loop.whole[new, _DONE] = done + 1 if ends else done
    memory.next_loop.whole[new, _ROW] = _AT_A_ROW if ends else row
    memory.next_loop.whole[new, _READ] = 0 if ends else read
    memory.next_loop.weight[new] = weight
    if program.distinct[program.body_loop[body]]:
        first = program.body_first[body]
        for other in range(program.body_first[body + 1] - first):
            memory.next_loop.used[new, other] = memory.loop.used[number, other]
        if ends:
            memory.next_loop.used[new, row - first] += 1
    return new + 1


@kernel
def _settle(program, memory, tries, loops, place):
    """Let loops at the end of a row go on or end; make what was next current. Return (tries, loops).

    Tries -1: no room. What ends is added up in `ended`, by document state.
    """
    for state in range(len(memory.ended)):
        memory.ended[state] = 0.0
    for number in range(tries):
        for field in range(TRIE_FIELDS):
            memory.trie.whole[number, field] = memory.next_trie.whole[number, field]
        memory.trie.weight[number] = memory.next_trie.weight[number]
    kept = 0
    for number in range(loops):
        weight = memory.next_loop.weight[number]
        body = memory.next_loop.whole[number, _BODY]
        kind = program.body_loop[body]
        if memory.next_loop.whole[number, _ROW] == _AT_A_ROW:
            more = program.go_on[kind, memory.next_loop.whole[number, _DONE]]
            state = memory.next_loop.whole[number, _STATE]
            over = weight * (1.0 - more)
            weight *= more
            if over > 0.0:
                behind = program.body_next[body]
                if behind < 0:
                    memory.ended[state] += over
                elif tries == len(memory.trie.weight):
                    return -1, 0
                else:
                    memory.trie.whole[tries, _NODE] = program.body_root[behind]
                    memory.trie.whole[tries, _STATE] = state
                    memory.trie.whole[tries, _START] = place + 1
                    memory.trie.weight[tries] = over
                    tries += 1
        if weight > 0.0:
            for field in range(LOOP_FIELDS):
                memory.loop.whole[kept, field] = memory.next_loop.whole[number, field]
            memory.loop.weight[kept] = weight
            if program.distinct[kind]:
                for row in range(program.body_first[body + 1] - program.body_first[body]):
                    memory.loop.used[kept, row] = memory.next_loop.used[number, row]
            kept += 1
    return tries, kept


@kernel
def _begin(program, memory):
    """Draw the next document state wherever a statement has ended; return the weight of the document's end."""
    states = len(memory.ended)
    for state in range(states):
        memory.begun[state] = 0.0
    ending = 0.0
    for state in range(states):
        weight = memory.ended[state]
        if weight > 0.0:
            for following in range(states):
                memory.begun[following] += weight * program.transition[state, following]
            ending += weight * program.transition[state, states]
    return ending
