"""The sampler: documents of a compiled grammar, each a pure function of (key, number of the document).

A document is made statement by statement in two stages. *Deriving* draws productions and functions and
leaves a list of resolved operations, in which every term is an object variable with the functions to
apply; *printing* draws the objects and loop counts and writes the tokens with their labels. A loop's body is
derived once and printed once for each object, which is what makes it fast and what the theory rests on.

Two kinds of blocks are spared the detour. A *plain* block prints in a form that is known but for its choices of
productions, so that its columns are laid out beforehand (`corpus.templates`). A *scope*, a `some` around
repeated statements, is no row: it draws its object, and what follows is derived statement by statement.

Everything lies in a few plain arrays with named columns, since handing tuples of arrays to a function costs
more than most of these functions do:

- `whole`, int32[...]: all whole numbers of the program, `weights`, float64[...]: all real ones. The first
  entries of `whole` say where each part begins (`WHOLE_PARTS`, then `WEIGHT_PARTS`).
- `frames`, `attributes`, `drawn`: the stack of the machine that derives; `ops`, `skills`, `applied`: the
  derivation; `tops`: how much of each is in use.
"""

# Numba infers the types of kernels.
# pyright: reportMissingParameterType=false

from __future__ import annotations

import numpy as np

from emergelab.kernels.compiling import entry, kernel, subroutine
from emergelab.kernels.random import STATE_WORDS, aliased, below, fill_below, start, unit

# Instructions of a production's code and operations of a derivation.
TERMINAL, PRINT, CALL, REPEAT, SOME, EACH, IF, ELSE, END_IF, END, RETURN, SCOPE = range(12)
# Laws of loop counts.
STOP, POWER, ALL, BETWEEN = range(4)
# Roles of tokens.
START_ROLE, ARGUMENT, INTERMEDIATE, ANSWER, SEPARATOR, OTHER = range(6)
# How functions that are drawn for each document are drawn.
PERMUTATION, MAP, PREDICATE = range(3)

START_TOKEN = 0
END_TOKEN = 1
SKILL_FIELDS = 4
MORE_SKILLS = 0xFFFF
MOST_FUNCTIONS = MORE_SKILLS - 1
NO_ROW = -1
# Columns of a block in the code, behind the instruction and its local: the law of its turns (-1: one), of its
# objects (-1: uniform), whether they are distinct, its plain tree (-1: none), where the code goes on behind it.
_BLOCK_LAW, _BLOCK_OBJECTS, _BLOCK_DISTINCT, BLOCK_PLAIN, _BLOCK_BEHIND, _BLOCK_SIZE = range(2, 8)
# Columns of a plain block: token (-1: an object), role, numbers of functions applied and needed, then the places
# of those applied and of those needed among the draws.
PLAIN_FUNCTIONS = 4
PLAIN_COLUMN = 4 + PLAIN_FUNCTIONS + SKILL_FIELDS
LEAF = -1

# The parts of a program. Indices that point into another part count from that part's beginning.
WHOLE_PARTS = (
    "site_first",  # [sites] its first production
    "site_count",  # [sites] its productions
    "production_alias",  # [productions] Walker's table within the site
    "production_code",  # [productions] where its code begins
    "production_locals",  # [productions] attributes and variables
    "production_draw",  # [productions] its first draw
    "production_draws",  # [productions] its draws
    "production_choice",  # [productions] where in `choice` its joint draws begin, -1 where all are allowed
    "production_choices",  # [productions] how many of them are allowed
    "production_block",  # [productions] the code of a plain block that is all of it, -1 for none
    "production_choice_table",  # [productions] where in `choice_alias` their table begins, -1 where uniform
    "draw_first",  # [draws] first function of the family
    "draw_count",  # [draws] functions of the family
    "draw_weighted",  # [draws] 0 where uniform
    "draw_stride",  # [draws] in the number of the joint draw; 0 where nothing depends on that
    "choice",  # [...] numbers of the joint draws that are allowed
    "choice_alias",  # [...] Walker's tables of `choice`
    "function_alias",  # [functions] Walker's table within the family
    "call_site",  # [...] where calls lead, by joint draw where they depend on it
    "code",  # [...]
    "law_kind",  # [laws]
    "object_alias",  # [object laws * objects]
    "fresh_function",  # [n] functions drawn for each document
    "fresh_kind",  # [n]
    "plain",  # [...] forks (site, then a node for each production) and leaves (LEAF, width, columns)
)
WEIGHT_PARTS = (
    "production_cut",
    "function_cut",
    "choice_cut",
    "law_a",
    "law_b",
    "object_cut",
    "object_weight",
    "fresh_density",
)
(
    _SITE_FIRST, _SITE_COUNT, _PRODUCTION_ALIAS, _PRODUCTION_CODE, _PRODUCTION_LOCALS, _PRODUCTION_DRAW,
    _PRODUCTION_DRAWS, _PRODUCTION_CHOICE, _PRODUCTION_CHOICES, _PRODUCTION_BLOCK, _PRODUCTION_CHOICE_TABLE,
    _DRAW_FIRST, _DRAW_COUNT, _DRAW_WEIGHTED, _DRAW_STRIDE, _CHOICE, _CHOICE_ALIAS, _FUNCTION_ALIAS, _CALL_SITE, _CODE,
    _LAW_KIND, _OBJECT_ALIAS, _FRESH_FUNCTION, _FRESH_KIND, _PLAIN, _PRODUCTION_CUT, _FUNCTION_CUT, _CHOICE_CUT,
    _LAW_A, _LAW_B, _OBJECT_CUT, _OBJECT_WEIGHT, _FRESH_DENSITY, _FRESH_COUNT, _FIRST_OBJECT, _STEP,
) = range(len(WHOLE_PARTS) + len(WEIGHT_PARTS) + 3)  # fmt: skip
HEADER = len(WHOLE_PARTS) + len(WEIGHT_PARTS) + 3

# Columns of a frame; -1 in _LEFT: the repetition at the frame's code has not begun.
_PC, _DRAWN, _LOCAL, _JOINT, _LEFT, _APPLIED = range(6)
# Columns of an attribute or variable.
_VARIABLE, _CHAIN, _LENGTH = range(3)
# Columns of an operation. _A: a terminal's token, a print's or choice's variable, a loop's law, an end's
# opening. _B: a loop's object law, or where a choice goes on. _FLAT: a block without loops or choices inside.
_KIND, _A, _B, _FIRST, _COUNT, _ROLE, _LEVEL, _BRANCH, _PREDICATE, _DISTINCT, _FLAT = range(11)
_COLUMNS = 11
# What is in use: frames, functions drawn, attributes, operations, functions applied, variables, branches,
# the frame whose repetition counts statements (-1 for none), the statement and the longest chain of functions;
# the scopes that are open; the code and the leaf of a plain block (-1 for none) and where its draws begin.
_FRAMES_TOP, _DRAWN_TOP, _LOCALS_TOP, _OPS_TOP, _APPLIED_TOP, _VARIABLES_TOP, _BRANCHES_TOP = range(7)
_REPEATING, _STATEMENT, _LONGEST, _SCOPES, _PLAIN_CODE, _PLAIN_LEAF, _PLAIN_BASE, _TOPS = range(7, 15)
# Columns of a running loop.
_LOOP_OP, _LOOP_TURNS, _LOOP_TURN = range(3)

# Memory for one document; documents that need more are sampled again with a multiple of it.
_FRAMES = 256
_LOCALS = 4096
_NESTING = 32  # blocks within blocks
_TRIES = 16
_MAX_COUNT = float(1 << 40)


@entry
def sample_documents(
    whole,
    weights,
    tables,
    key,
    numbers,
    tokens,
    lengths,
    roles,
    statements,
    rows,
    token_skills,
    first,
    memory,
):
    """Write document `numbers[i]` into row i of `tokens`, cut at its width, from i = `first` on.

    Returns the number of documents done: fewer than there are if one needs more than `memory` units of
    memory. What is written does not depend on `memory`.

    Shapes: tables uint16[functions, objects], key uint64[2], numbers int64[documents], tokens
    uint16[documents, length], lengths int32[documents]. A length counts the start token and, if it is
    not cut off, the end token; beyond it stand end tokens. The labels are [documents, length], or have no rows
    when they are not wanted: roles uint8; statements int16, the turn of the outermost repetition from 0; rows
    int16, the turn of the innermost loop from 0, NO_ROW outside loops; token_skills uint64, the functions
    that the token needs, each number + 1 in 16 bits, MORE_SKILLS in the last field if there are more.
    """
    length = tokens.shape[1]
    labelled = roles.shape[0] > 0
    # Two lanes of random numbers: what is printed does not depend on how far a long row has been derived.
    state = np.zeros(STATE_WORDS, np.uint64)
    printing_state = np.zeros(STATE_WORDS, np.uint64)
    # A row's derivation is followed up to `enough` operations if only its beginning can be printed.
    enough = 4 * length + 256
    size = enough * memory
    nesting = _NESTING * memory
    frames = np.empty((_FRAMES * memory, 6), np.int64)
    attributes = np.empty((_LOCALS * memory, 3), np.int32)
    drawn = np.empty(_LOCALS * memory, np.int32)
    ops = np.empty((size + nesting + 2, _COLUMNS), np.int32)
    skills = np.empty(size + nesting + 2, np.uint64)
    applied = np.empty(_LOCALS * memory, np.int32)
    tops = np.zeros(_TOPS, np.int64)
    branches = np.zeros((nesting, 2), np.int64)
    branch_skills = np.zeros(nesting, np.uint64)
    blocks = np.zeros(nesting, np.int64)
    values = np.empty(size + nesting + 2, np.int64)
    objects_drawn = np.empty(length + 1, np.int32)
    order = np.empty((nesting, tables.shape[1]), np.int32)
    loops = np.zeros((nesting, 3), np.int64)
    own_tables = tables.copy() if whole[_FRESH_COUNT] > 0 else tables
    for i in range(first, numbers.shape[0]):
        start(state, key, numbers[i], 0)
        start(printing_state, key, numbers[i], 1)
        _draw_fresh_functions(whole, weights, own_tables, state)
        tokens[i, 0] = START_TOKEN
        if labelled:
            roles[i, 0], statements[i, 0], rows[i, 0], token_skills[i, 0] = START_ROLE, 0, NO_ROW, 0
        position = np.int64(1)
        tops[:] = 0
        tops[_REPEATING] = -1
        tops[_STATEMENT] = -1
        production = _choose(whole, weights, state, np.int64(0))
        joint = _draw_functions(whole, weights, state, drawn, np.int64(0), production)
        _enter(whole, frames, tops, production, joint)
        while position < length and tops[_FRAMES_TOP] > 0:
            tops[_OPS_TOP] = 0
            tops[_APPLIED_TOP] = frames[tops[_FRAMES_TOP] - 1, _APPLIED]
            tops[_VARIABLES_TOP] = tops[_SCOPES]
            tops[_BRANCHES_TOP] = 0
            tops[_PLAIN_LEAF] = -1
            if not _derive_next(
                whole, weights, tables.shape[1], state, frames, attributes, drawn, ops, skills, applied, tops,
                branches, branch_skills, blocks, length - position, enough,
            ):  # fmt: skip
                return i
            if tops[_PLAIN_LEAF] >= 0:
                position = _print_plain(
                    whole, weights, own_tables, printing_state, drawn, tops, objects_drawn, order,
                    tokens, roles, statements, rows, token_skills, i, position,
                )  # fmt: skip
            else:
                position = _print(
                    whole, weights, own_tables, printing_state, ops, skills, applied, tops, values, objects_drawn,
                    order, loops, tokens, roles, statements, rows, token_skills, i, position,
                )  # fmt: skip
        lengths[i] = min(position + 1, length)
        for at in range(position, length):
            tokens[i, at] = END_TOKEN
            if labelled:
                roles[i, at] = OTHER
                statements[i, at] = max(tops[_STATEMENT], 0)
                rows[i, at] = NO_ROW
                token_skills[i, at] = 0
    return numbers.shape[0]


@kernel
def _draw_fresh_functions(whole, weights, tables, state):
    """Draw the functions whose scope is the document."""
    objects = tables.shape[1]
    for n in range(whole[_FRESH_COUNT]):
        function = whole[whole[_FRESH_FUNCTION] + n]
        kind = whole[whole[_FRESH_KIND] + n]
        density = weights[whole[_FRESH_DENSITY] + n]
        for x in range(objects):
            if kind == PERMUTATION:
                other = below(state, x + 1)
                tables[function, x] = tables[function, other]
                tables[function, other] = x
            elif kind == MAP:
                tables[function, x] = below(state, objects)
            else:
                tables[function, x] = 1 if unit(state) <= density else 0


@kernel
def _choose(whole, weights, state, site):
    """Choose a production of `site`."""
    first = np.int64(whole[whole[_SITE_FIRST] + site])
    choices = whole[whole[_SITE_COUNT] + site]
    if choices == 1:
        return first
    cut, alias = whole[_PRODUCTION_CUT] + first, whole[_PRODUCTION_ALIAS] + first
    return first + aliased(state, weights, whole, cut, alias, choices)


@kernel
def _enter(whole, frames, tops, production, joint):
    """Push the frame of a production whose functions have been drawn; attributes stand ready."""
    frame = tops[_FRAMES_TOP]
    frames[frame, _PC] = whole[_CODE] + whole[whole[_PRODUCTION_CODE] + production]
    frames[frame, _DRAWN] = tops[_DRAWN_TOP]
    frames[frame, _LOCAL] = tops[_LOCALS_TOP]
    frames[frame, _LEFT] = -1
    frames[frame, _APPLIED] = tops[_APPLIED_TOP]
    frames[frame, _JOINT] = joint
    tops[_FRAMES_TOP] += 1
    tops[_DRAWN_TOP] += whole[whole[_PRODUCTION_DRAWS] + production]
    tops[_LOCALS_TOP] += whole[whole[_PRODUCTION_LOCALS] + production]


@kernel
def _draw_functions(whole, weights, state, drawn, base, production):
    """Draw a production's functions and return the number of the joint draw."""
    first = np.int64(whole[whole[_PRODUCTION_DRAW] + production])
    count = whole[whole[_PRODUCTION_DRAWS] + production]
    choice = np.int64(whole[whole[_PRODUCTION_CHOICE] + production])
    if choice >= 0:
        return _draw_jointly(whole, weights, state, drawn, base, production, first, choice)
    joint = np.int64(0)
    for draw in range(first, first + count):
        family = np.int64(whole[whole[_DRAW_FIRST] + draw])
        functions = np.int64(whole[whole[_DRAW_COUNT] + draw])
        if whole[whole[_DRAW_WEIGHTED] + draw] != 0:
            cut, alias = whole[_FUNCTION_CUT] + family, whole[_FUNCTION_ALIAS] + family
            number = aliased(state, weights, whole, cut, alias, functions)
        else:
            number = below(state, functions)
        drawn[base + draw - first] = family + number
        joint += number * whole[whole[_DRAW_STRIDE] + draw]
    return joint


@kernel
def _draw_jointly(whole, weights, state, drawn, base, production, first, choice):
    """Draw among the joint draws that are allowed, by their probabilities."""
    choices = np.int64(whole[whole[_PRODUCTION_CHOICES] + production])
    table = np.int64(whole[whole[_PRODUCTION_CHOICE_TABLE] + production])
    if table >= 0:
        cut, alias = whole[_CHOICE_CUT] + table, whole[_CHOICE_ALIAS] + table
        number = aliased(state, weights, whole, cut, alias, choices)
    else:
        number = below(state, choices)
    joint = np.int64(whole[whole[_CHOICE] + choice + number])
    left = np.uint64(joint)
    last = whole[whole[_PRODUCTION_DRAWS] + production] - 1
    for d in range(last):
        stride = np.uint64(whole[whole[_DRAW_STRIDE] + first + d])
        number = left // stride
        drawn[base + d] = whole[whole[_DRAW_FIRST] + first + d] + np.int64(number)
        left -= number * stride
    drawn[base + last] = whole[whole[_DRAW_FIRST] + first + last] + np.int64(left)  # its stride is 1
    return joint


@kernel
def _count(whole, weights, state, law, objects):
    """Draw how often a loop or repetition runs."""
    kind = whole[whole[_LAW_KIND] + law]
    a = weights[whole[_LAW_A] + law]
    if kind == ALL:
        return np.int64(objects)
    if kind == BETWEEN:
        return np.int64(a) + below(state, np.int64(weights[whole[_LAW_B] + law] - a) + 1)
    if kind == STOP:
        if a >= 1.0:
            return np.int64(1)
        turns = 1.0 + np.floor(np.log(unit(state)) * weights[whole[_LAW_B] + law])
    else:
        turns = np.floor(unit(state) ** weights[whole[_LAW_B] + law])
    return np.int64(min(turns, _MAX_COUNT))


@kernel
def _resolve(whole, frames, attributes, drawn, applied, tops, frame, pc, out):
    """Resolve the term of the code at `pc` into row `out` of `attributes`; return the next pc."""
    local = frames[frame, _LOCAL] + whole[pc]
    added = whole[pc + 1]
    variable, chain, length = attributes[local, 0], attributes[local, 1], attributes[local, 2]
    if added > 0:
        begin = tops[_APPLIED_TOP]
        end = begin
        for n in range(length):
            applied[end] = applied[chain + n]
            end += 1
        for n in range(added):
            applied[end] = drawn[frames[frame, _DRAWN] + whole[pc + 2 + n]]
            end += 1
        tops[_APPLIED_TOP] = end
        chain, length = np.int32(begin), np.int32(end - begin)
    attributes[out, _VARIABLE] = variable
    attributes[out, _CHAIN] = chain
    attributes[out, _LENGTH] = length
    tops[_LONGEST] = max(tops[_LONGEST], np.int64(length))
    return pc + 2 + added


@kernel
def _add(ops, tops, kind, a, level, branch):
    """Append an operation and return its number."""
    n = tops[_OPS_TOP]
    for column in range(_COLUMNS):
        ops[n, column] = 0
    ops[n, _KIND] = kind
    ops[n, _A] = a
    ops[n, _ROLE] = OTHER
    ops[n, _LEVEL] = level
    ops[n, _BRANCH] = branch
    tops[_OPS_TOP] = n + 1
    return n


@kernel
def _path(ops, applied, operations, branches, open_branches, variable, chain, length):
    """Return the functions between a term and the nearest one already printed of its variable, packed.

    The second result tells whether any term of the variable has been printed where this one can see it.
    """
    best = np.int64(1) << 30
    packed = np.uint64(0)
    seen = False
    for n in range(operations - 1, -1, -1):
        if ops[n, _KIND] != PRINT or ops[n, _A] != variable:
            continue
        visible = ops[n, _BRANCH] == 0
        for depth in range(open_branches):
            visible = visible or branches[depth, 0] == ops[n, _BRANCH]
        if not visible:
            continue
        seen = True
        other, other_length = ops[n, _FIRST], ops[n, _COUNT]
        shared = 0
        while (
            shared < length and shared < other_length and applied[chain + shared] == applied[other + shared]
        ):
            shared += 1
        steps = (length - shared) + (other_length - shared)
        if steps < best:
            best = steps
            packed = np.uint64(0)
            for k in range(other_length - 1, shared - 1, -1):
                packed = with_skill(packed, applied[other + k])
            for k in range(shared, length):
                packed = with_skill(packed, applied[chain + k])
    return packed, seen


@kernel
def with_skill(packed, function):
    """Put a function into the first empty field of `packed`, or mark that there are more."""
    for field in range(SKILL_FIELDS):
        shift = np.uint64(16 * field)
        if (packed >> shift) & np.uint64(MORE_SKILLS) == np.uint64(0):
            return packed | (np.uint64(function + 1) << shift)
    return packed | (np.uint64(MORE_SKILLS) << np.uint64(16 * (SKILL_FIELDS - 1)))


@kernel
def _joined(packed, more):
    """Return the skills of both."""
    for field in range(SKILL_FIELDS):
        function = (more >> np.uint64(16 * field)) & np.uint64(MORE_SKILLS)
        if function != np.uint64(0):
            packed = with_skill(packed, np.int64(function) - 1)
    return packed


@kernel
def _derive_next(  # noqa: PLR0911 - one way out for each way to be done
    whole, weights, objects, state, frames, attributes, drawn, ops, skills, applied, tops,
    branches, branch_skills, blocks, room, enough,
):  # fmt: skip
    """Derive the next outermost item, inside scopes the next statement; return whether there was memory for it.

    A derivation of more than `enough` operations ends there if its first row alone is sure to fill the
    `room` left in the document. What would follow counts as objects then, none of which is printed.
    """
    depth = np.int64(0)  # open blocks
    open_branches = np.int64(0)
    sure = 0  # tokens that the first row is sure to print
    is_row = False  # whether what is derived is a statement inside a scope
    nesting = branches.shape[0]
    step = whole[_STEP]
    while tops[_FRAMES_TOP] > 0:
        if tops[_OPS_TOP] >= enough and sure >= room:
            while depth > 0:
                depth -= 1
                _close(ops, tops, blocks[depth], depth, np.bool_(True))  # noqa: FBT003 - Numba takes no names
            if is_row:
                _label_row(ops, np.int64(-1), tops[_OPS_TOP], np.int64(0), np.bool_(True))  # noqa: FBT003
            return True
        if (
            tops[_OPS_TOP] + nesting + 2 >= ops.shape[0]
            or tops[_FRAMES_TOP] >= frames.shape[0]
            or max(tops[_LOCALS_TOP], tops[_DRAWN_TOP]) + step > drawn.shape[0]
            or tops[_APPLIED_TOP] + step * (tops[_LONGEST] + step) > applied.shape[0]
            or max(depth, open_branches) >= nesting
        ):
            return False
        frame = tops[_FRAMES_TOP] - 1
        in_statement = tops[_REPEATING] >= 0 and frame > tops[_REPEATING]
        outside = depth == 0 and open_branches == 0
        if frame == tops[_REPEATING] and frames[frame, _LEFT] < 0:
            tops[_REPEATING] = -1
        if tops[_OPS_TOP] == 0:
            is_row = in_statement and tops[_SCOPES] > 0
        elif outside and not (is_row and in_statement):
            if is_row:
                _label_row(ops, np.int64(-1), tops[_OPS_TOP], np.int64(0), np.bool_(False))  # noqa: FBT003
            return True
        pc = frames[frame, _PC]
        op = np.int64(whole[pc])
        branch = branches[open_branches - 1, 0] if open_branches > 0 else 0
        scratch = tops[_LOCALS_TOP]
        if op == RETURN:
            tops[_DRAWN_TOP] = frames[frame, _DRAWN]
            tops[_LOCALS_TOP] = frames[frame, _LOCAL]
            tops[_FRAMES_TOP] -= 1
            continue
        if op == TERMINAL:
            n = _add(ops, tops, op, np.int64(whole[pc + 1]), depth, branch)
            skills[n] = branch_skills[open_branches - 1] if open_branches > 0 else np.uint64(0)
            sure += 1 if open_branches == 0 else 0
            frames[frame, _PC] = pc + 2
        elif op == PRINT:
            frames[frame, _PC] = _resolve(
                whole, frames, attributes, drawn, applied, tops, frame, pc + 1, scratch
            )
            variable, chain, length = attributes[scratch, 0], attributes[scratch, 1], attributes[scratch, 2]
            needed, seen = _path(
                ops, applied, tops[_OPS_TOP], branches, open_branches, variable, chain, length
            )
            n = _add(ops, tops, op, np.int64(variable), depth, branch)
            ops[n, _FIRST] = chain
            ops[n, _COUNT] = length
            ops[n, _ROLE] = INTERMEDIATE if seen else ARGUMENT
            skills[n] = _joined(needed, branch_skills[open_branches - 1]) if open_branches > 0 else needed
            sure += 1 if open_branches == 0 else 0
        elif op == CALL or op == REPEAT:
            at = pc + 1
            if op == REPEAT:
                if frames[frame, _LEFT] < 0:
                    frames[frame, _LEFT] = _count(whole, weights, state, whole[at], objects)
                    if tops[_REPEATING] < 0 and outside:
                        tops[_REPEATING] = frame
                at += 1
                frames[frame, _LEFT] -= 1
                if tops[_REPEATING] == frame and outside:
                    tops[_STATEMENT] += 1
            site = np.int64(whole[whole[_CALL_SITE] + whole[at] + frames[frame, _JOINT] * whole[at + 1]])
            arguments = whole[at + 2]
            at += 3
            for n in range(arguments):
                at = _resolve(whole, frames, attributes, drawn, applied, tops, frame, at, scratch + n)
            if op == CALL or frames[frame, _LEFT] == 0:
                frames[frame, _PC] = at
                frames[frame, _LEFT] = -1
            production = _choose(whole, weights, state, site)
            joint = _draw_functions(whole, weights, state, drawn, tops[_DRAWN_TOP], production)
            block = np.int64(whole[whole[_PRODUCTION_BLOCK] + production])
            if block >= 0 and outside and tops[_OPS_TOP] == 0:
                behind = tops[_DRAWN_TOP] + whole[whole[_PRODUCTION_DRAWS] + production]
                tops[_PLAIN_BASE] = tops[_DRAWN_TOP]
                _choose_leaf(whole, weights, state, drawn, tops, whole[_CODE] + block, behind)
                return True
            _enter(whole, frames, tops, production, joint)
            continue
        elif op == SOME or op == EACH or op == SCOPE:
            if outside and tops[_OPS_TOP] == 0 and whole[pc + BLOCK_PLAIN] >= 0:
                tops[_PLAIN_BASE] = frames[frame, _DRAWN]
                _choose_leaf(whole, weights, state, drawn, tops, pc, tops[_DRAWN_TOP])
                frames[frame, _PC] = whole[_CODE] + whole[pc + _BLOCK_BEHIND]
                return True
            is_scope = op == SCOPE and outside and not in_statement
            variable = tops[_VARIABLES_TOP]
            tops[_VARIABLES_TOP] += 1
            local = frames[frame, _LOCAL] + whole[pc + 1]
            attributes[local, _VARIABLE] = variable
            attributes[local, _LENGTH] = 0
            kind = np.int64(SOME) if op == SCOPE and not is_scope else op
            n = _add(ops, tops, kind, np.int64(whole[pc + _BLOCK_LAW]), depth, branch)
            ops[n, _B] = whole[pc + _BLOCK_OBJECTS]
            ops[n, _DISTINCT] = whole[pc + _BLOCK_DISTINCT]
            ops[n, _FIRST] = variable
            frames[frame, _PC] = pc + _BLOCK_SIZE
            if is_scope:
                tops[_SCOPES] += 1
                return True
            blocks[depth] = n
            depth += 1
            continue
        elif op == END and depth == 0:
            tops[_SCOPES] -= 1
            frames[frame, _PC] = pc + 1
            continue
        elif op == END:
            depth -= 1
            _close(ops, tops, blocks[depth], depth, np.bool_(False))  # noqa: FBT003
            frames[frame, _PC] = pc + 1
        elif op == IF:
            predicate = drawn[frames[frame, _DRAWN] + whole[pc + 1]]
            frames[frame, _PC] = _resolve(
                whole, frames, attributes, drawn, applied, tops, frame, pc + 2, scratch
            )
            variable, chain, length = attributes[scratch, 0], attributes[scratch, 1], attributes[scratch, 2]
            needed, _ = _path(ops, applied, tops[_OPS_TOP], branches, open_branches, variable, chain, length)
            needed = with_skill(needed, predicate)
            n = _add(ops, tops, op, np.int64(variable), depth, branch)
            ops[n, _FIRST] = chain
            ops[n, _COUNT] = length
            ops[n, _PREDICATE] = predicate
            tops[_BRANCHES_TOP] += 1
            branches[open_branches, 0] = tops[_BRANCHES_TOP]
            branches[open_branches, 1] = n
            branch_skills[open_branches] = (
                _joined(branch_skills[open_branches - 1], needed) if open_branches > 0 else needed
            )
            open_branches += 1
            continue
        elif op == ELSE:
            n = _add(ops, tops, op, np.int64(0), depth, branch)
            ops[branches[open_branches - 1, 1], _B] = n + 1
            tops[_BRANCHES_TOP] += 1
            branches[open_branches - 1, 0] = tops[_BRANCHES_TOP]
            branches[open_branches - 1, 1] = n
            frames[frame, _PC] = pc + 1
            continue
        else:  # END_IF
            n = _add(ops, tops, op, np.int64(0), depth, branch)
            ops[branches[open_branches - 1, 1], _B] = n
            open_branches -= 1
            frames[frame, _PC] = pc + 1
    return True


@kernel
def _choose_leaf(whole, weights, state, drawn, tops, code, base):
    """Choose the productions inside the plain block at `code` and draw their functions from `base` on."""
    node = whole[_PLAIN] + whole[code + BLOCK_PLAIN]
    while whole[node] != LEAF:
        site = np.int64(whole[node])
        production = _choose(whole, weights, state, site)
        _draw_functions(whole, weights, state, drawn, base, production)
        base += whole[whole[_PRODUCTION_DRAWS] + production]
        node = whole[_PLAIN] + whole[node + 1 + production - whole[whole[_SITE_FIRST] + site]]
    tops[_PLAIN_CODE] = code
    tops[_PLAIN_LEAF] = node


@kernel
def _close(ops, tops, opening, depth, cut):
    """End the block that `opening` began; `cut` tells that its row goes on behind what has been derived."""
    end = _add(ops, tops, np.int64(END), opening, depth, np.int64(ops[opening, _BRANCH]))
    ops[opening, _FLAT] = _label_row(ops, opening, end, depth + 1, cut)


@subroutine
def _label_row(ops, opening, end, level, cut):
    """Say which tokens of the row between two operations answer and which separate; return whether it is flat."""
    flat = True
    # Two facts are carried backwards through the row: an object stands later, an answer stands later.
    # Behind a branch stands what stands behind its `if`; what the other branch holds is kept in its end.
    object_later, answer_later = cut, cut
    for n in range(end - 1, opening, -1):
        kind = ops[n, _KIND]
        flat = flat and (kind == PRINT or kind == TERMINAL)
        if ops[n, _LEVEL] != level:
            object_later = object_later or kind == PRINT
        elif kind == END_IF:
            ops[n, _FIRST], ops[n, _COUNT] = object_later, answer_later
        elif kind == ELSE:
            ops[n, _FIRST], ops[n, _COUNT] = object_later, answer_later
            if ops[n, _B] > 0:
                object_later, answer_later = ops[ops[n, _B], _FIRST] != 0, ops[ops[n, _B], _COUNT] != 0
            else:
                object_later, answer_later = cut, cut
        elif kind == IF:
            if ops[n, _B] > 0:
                object_later = object_later or ops[ops[n, _B] - 1, _FIRST] != 0
                answer_later = answer_later or ops[ops[n, _B] - 1, _COUNT] != 0
        elif kind == TERMINAL:
            ops[n, _ROLE] = OTHER if object_later else SEPARATOR
        elif kind == PRINT:
            if ops[n, _ROLE] == INTERMEDIATE and not answer_later:
                ops[n, _ROLE] = ANSWER
                answer_later = True
            object_later = True
    return flat


@kernel
def _value(ops, applied, tables, n, x):
    """Apply the functions of operation n to object x."""
    first = ops[n, _FIRST]
    for k in range(ops[n, _COUNT]):
        x = np.int64(tables[applied[first + k], x])
    return x


@kernel
def _turns(whole, weights, state, law, distinct, order, depth):
    """Draw how often a block runs (once without a law); make ready to draw without replacement."""
    if law < 0:
        return np.int64(1)
    objects = order.shape[1]
    turns = _count(whole, weights, state, law, objects)
    if distinct:
        turns = min(turns, objects)
        for x in range(objects):
            order[depth, x] = x
    return turns


@kernel
def _next_object(whole, weights, state, law, distinct, order, depth, turn):
    """Draw the object of a block's turn by an object law."""
    objects = order.shape[1]
    if distinct and law < 0:
        other = turn + below(state, objects - turn)
        x = order[depth, other]
        order[depth, other] = order[depth, turn]
        return np.int64(x)
    if law < 0:
        return below(state, objects)
    cut, alias = whole[_OBJECT_CUT] + law * objects, whole[_OBJECT_ALIAS] + law * objects
    if not distinct:
        return aliased(state, weights, whole, cut, alias, objects)
    for _ in range(_TRIES):
        x = aliased(state, weights, whole, cut, alias, objects)
        if order[depth, x] >= 0:
            order[depth, x] = -1
            return x
    return _next_of_few(weights, state, order, depth, whole[_OBJECT_WEIGHT] + law * objects)


@kernel
def _draw_objects(whole, weights, state, law, distinct, order, depth, out, turns):
    """Draw the objects of a block's turns into `out`."""
    if law < 0 and not distinct:
        fill_below(state, order.shape[1], out, turns)
    else:
        for turn in range(turns):
            out[turn] = _next_object(whole, weights, state, law, distinct, order, depth, turn)


@subroutine
def _next_of_few(weights, state, order, depth, first):
    """Draw by weight among the objects that are left, one after the other."""
    objects = order.shape[1]
    total = 0.0
    for x in range(objects):
        if order[depth, x] >= 0:
            total += weights[first + x]
    aim = unit(state) * total
    last = np.int64(-1)
    below_last = 0.0
    for x in range(objects):
        if order[depth, x] >= 0 and below_last < aim:
            last = x
            below_last += weights[first + x]
    order[depth, last] = -1
    return last


@kernel
def _print(
    whole, weights, tables, state, ops, skills, applied, tops, values, objects_drawn, order, loops,
    tokens, roles, statements, rows, token_skills, i, position,
):  # fmt: skip
    """Print the derivation from `position` on and return the position behind it."""
    length = tokens.shape[1]
    labelled = roles.shape[0] > 0
    first_object = whole[_FIRST_OBJECT]
    statement = max(tops[_STATEMENT], 0)
    operations = tops[_OPS_TOP]
    depth = np.int64(0)
    row = np.int64(NO_ROW)
    n = np.int64(0)
    while n < operations and position < length:
        kind = ops[n, _KIND]
        if kind == TERMINAL or kind == PRINT:
            if kind == TERMINAL:
                tokens[i, position] = ops[n, _A]
            else:
                tokens[i, position] = first_object + _value(ops, applied, tables, n, values[ops[n, _A]])
            if labelled:
                roles[i, position] = ops[n, _ROLE]
                statements[i, position] = statement
                rows[i, position] = row
                token_skills[i, position] = skills[n]
            position += 1
            n += 1
        elif kind == SOME or kind == EACH:
            distinct = ops[n, _DISTINCT] != 0
            loops[depth, _LOOP_OP] = n
            loops[depth, _LOOP_TURNS] = _turns(
                whole, weights, state, np.int64(ops[n, _A]), distinct, order, depth
            )
            loops[depth, _LOOP_TURN] = 0
            if ops[n, _FLAT] != 0:
                end = n + 1
                while ops[end, _KIND] != END:
                    end += 1
                position = _print_flat(
                    whole, weights, tables, state, ops, skills, applied, values, objects_drawn, order, loops,
                    depth, end,
                    tokens, roles, statements, rows, token_skills, i, position, statement, row,
                )  # fmt: skip
                n = end + 1
            else:
                values[ops[n, _FIRST]] = _next_object(
                    whole, weights, state, np.int64(ops[n, _B]), distinct, order, depth, np.int64(0)
                )
                depth += 1
                row = _row(ops, loops, depth)
                n += 1
        elif kind == END:
            opening = ops[n, _A]
            turn = loops[depth - 1, _LOOP_TURN] + 1
            loops[depth - 1, _LOOP_TURN] = turn
            if turn < loops[depth - 1, _LOOP_TURNS]:
                values[ops[opening, _FIRST]] = _next_object(
                    whole, weights, state, np.int64(ops[opening, _B]), ops[opening, _DISTINCT] != 0, order,
                    depth - 1, turn,
                )  # fmt: skip
                n = opening + 1
            else:
                depth -= 1
                n += 1
            row = _row(ops, loops, depth)
        elif kind == SCOPE:
            values[ops[n, _FIRST]] = _next_object(
                whole,
                weights,
                state,
                np.int64(ops[n, _B]),
                np.bool_(False),  # noqa: FBT003
                order,
                depth,
                np.int64(0),
            )
            n += 1
        elif kind == IF:
            x = _value(ops, applied, tables, n, values[ops[n, _A]])
            n = n + 1 if tables[ops[n, _PREDICATE], x] != 0 else np.int64(ops[n, _B])
        elif kind == ELSE:
            n = np.int64(ops[n, _B])
        else:
            n += 1
    return position


@kernel
def _row(ops, loops, depth):
    """Return the turn of the innermost `each` around, NO_ROW without one."""
    for d in range(depth - 1, -1, -1):
        if ops[loops[d, _LOOP_OP], _KIND] == EACH:
            return loops[d, _LOOP_TURN]
    return np.int64(NO_ROW)


@kernel
def _print_flat(
    whole, weights, tables, state, ops, skills, applied, values, objects_drawn, order, loops, depth, end,
    tokens, roles, statements, rows, token_skills, i, position, statement, row,
):  # fmt: skip
    """Print a block whose body only prints: the hot path, column by column."""
    length = tokens.shape[1]
    opening = loops[depth, _LOOP_OP]
    own = ops[opening, _FIRST]
    width = end - opening - 1
    if width == 0:
        return position
    turns = min(loops[depth, _LOOP_TURNS], (length - position + width - 1) // width)
    _draw_objects(
        whole, weights, state, np.int64(ops[opening, _B]), ops[opening, _DISTINCT] != 0, order, depth,
        objects_drawn, turns,
    )  # fmt: skip
    for column in range(width):
        n = opening + 1 + column
        first = position + column
        printed = min(turns, (length - first + width - 1) // width)
        if ops[n, _KIND] == TERMINAL:
            token = np.uint16(ops[n, _A])
            for turn in range(printed):
                tokens[i, first + turn * width] = token
        elif ops[n, _A] == own:
            _print_column(
                tables, applied, ops[n, _FIRST], ops[n, _COUNT], whole[_FIRST_OBJECT], objects_drawn, tokens, i,
                first, width, printed,
            )  # fmt: skip
        else:
            token = whole[_FIRST_OBJECT] + _value(ops, applied, tables, n, values[ops[n, _A]])
            for turn in range(printed):
                tokens[i, first + turn * width] = token
        if roles.shape[0] > 0:
            is_loop = ops[opening, _KIND] == EACH
            _label_column(
                roles, statements, rows, token_skills, i, first, width, printed,
                ops[n, _ROLE], statement, row, is_loop, skills[n],
            )  # fmt: skip
    return min(position + turns * width, length)


@kernel
def _label_column(
    roles, statements, rows, token_skills, i, first, width, printed, role, statement, row, is_loop, skill
):
    """Label one token of all rows of a block; `row` is that around a block that is no loop."""
    for turn in range(printed):
        at = first + turn * width
        roles[i, at] = role
        statements[i, at] = statement
        rows[i, at] = turn if is_loop else row
        token_skills[i, at] = skill


@kernel
def _print_plain(
    whole, weights, tables, state, drawn, tops, objects_drawn, order,
    tokens, roles, statements, rows, token_skills, i, position,
):  # fmt: skip
    """Print a plain block from `position` on and return the position behind it."""
    length = tokens.shape[1]
    code, leaf = tops[_PLAIN_CODE], tops[_PLAIN_LEAF]
    base = tops[_PLAIN_BASE]
    width = np.int64(whole[leaf + 1])
    law, objects = np.int64(whole[code + _BLOCK_LAW]), np.int64(whole[code + _BLOCK_OBJECTS])
    distinct = whole[code + _BLOCK_DISTINCT] != 0
    turns = _turns(whole, weights, state, law, distinct, order, np.int64(0))
    turns = min(turns, (length - position + width - 1) // width)
    _draw_objects(whole, weights, state, objects, distinct, order, np.int64(0), objects_drawn, turns)
    first_object = whole[_FIRST_OBJECT]
    labelled = roles.shape[0] > 0
    statement = max(tops[_STATEMENT], 0)
    if turns == 1:
        return _print_plain_row(
            whole, tables, drawn, base, leaf, min(width, length - position), np.int64(objects_drawn[0]),
            tokens, roles, statements, rows, token_skills, i, position,
            statement, np.int64(0) if law >= 0 else np.int64(NO_ROW),
        )  # fmt: skip
    for n in range(min(width, length - position)):
        column = leaf + 2 + n * PLAIN_COLUMN
        first = position + n
        printed = min(turns, (length - first + width - 1) // width)
        token = whole[column]
        chain = column + 4
        if token >= 0:
            for turn in range(printed):
                tokens[i, first + turn * width] = token
        else:
            _print_plain_column(
                whole, tables, drawn, base, chain, whole[column + 2], first_object, objects_drawn, tokens, i,
                first, width, printed,
            )  # fmt: skip
        if labelled:
            skill = _plain_skills(whole, drawn, base, column)
            _label_column(
                roles, statements, rows, token_skills, i, first, width, printed,
                whole[column + 1], statement, np.int64(NO_ROW), law >= 0, skill,
            )  # fmt: skip
    return min(position + turns * width, length)


@kernel
def _print_plain_row(
    whole, tables, drawn, base, leaf, width, x, tokens, roles, statements, rows, token_skills, i, position,
    statement, row,
):  # fmt: skip
    """Print the only row of a plain block, `width` columns of it, and return the position behind it."""
    labelled = roles.shape[0] > 0
    first_object = whole[_FIRST_OBJECT]
    column = leaf + 2
    for at in range(position, position + width):
        token = np.int64(whole[column])
        if token < 0:
            value = x
            for n in range(column + 4, column + 4 + whole[column + 2]):
                value = np.int64(tables[drawn[base + whole[n]], value])
            token = first_object + value
        tokens[i, at] = token
        if labelled:
            roles[i, at] = whole[column + 1]
            statements[i, at] = statement
            rows[i, at] = row
            token_skills[i, at] = _plain_skills(whole, drawn, base, column)
        column += PLAIN_COLUMN
    return position + width


@kernel
def _plain_skills(whole, drawn, base, column):
    """Return the functions that a column of a plain block needs, packed."""
    packed = np.uint64(0)
    first = column + 4 + PLAIN_FUNCTIONS
    for field in range(whole[column + 3]):
        packed |= np.uint64(drawn[base + whole[first + field]] + 1) << np.uint64(16 * field)
    return packed


@kernel
def _print_plain_column(
    whole,
    tables,
    drawn,
    base,
    chain,
    functions,
    first_object,
    objects_drawn,
    tokens,
    i,
    first,
    width,
    printed,
):
    """Print one term of a plain block for all its rows."""
    if functions == 0:
        for turn in range(printed):
            tokens[i, first + turn * width] = first_object + objects_drawn[turn]
    elif functions == 1:
        function = drawn[base + whole[chain]]
        for turn in range(printed):
            tokens[i, first + turn * width] = first_object + np.int64(tables[function, objects_drawn[turn]])
    else:
        for turn in range(printed):
            x = np.int64(objects_drawn[turn])
            for n in range(functions):
                x = np.int64(tables[drawn[base + whole[chain + n]], x])
            tokens[i, first + turn * width] = first_object + x


@kernel
def _print_column(tables, applied, chain, functions, first_object, drawn, tokens, i, first, width, printed):
    """Print one term for all rows of a loop."""
    if functions == 0:
        for turn in range(printed):
            tokens[i, first + turn * width] = first_object + drawn[turn]
    elif functions == 1:
        function = applied[chain]
        for turn in range(printed):
            tokens[i, first + turn * width] = first_object + np.int64(tables[function, drawn[turn]])
    else:
        for turn in range(printed):
            x = np.int64(drawn[turn])
            for n in range(chain, chain + functions):
                x = np.int64(tables[applied[n], x])
            tokens[i, first + turn * width] = first_object + x
