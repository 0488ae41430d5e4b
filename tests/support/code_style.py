"""Counts what the ratchets of the architecture test bound: names that name nothing, and density.

A past participle alone says what happened to a value, not what it is. Irregular ones are listed; those in `-ed` are
found by their ending.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

PARTICIPLES = frozenset(
    re.findall(
        r"\w+",
        """
        asked begun bent bitten blown born bound broken brought built burnt bought caught chosen come cut dealt done
        drawn driven eaten fallen felt fought flown forgotten forgiven found frozen given gone got gotten grown heard
        held hidden hit hung hurt kept known laid lain led left lent lit lost made meant met paid put ridden risen
        said seen sent set shown shut slept sold sought spent spoken stolen stood struck sung sunk sworn swept taken
        taught thought thrown told torn understood withheld withdrawn woken won worn written
        """,
    )
)
PRONOUNS = frozenset(
    re.findall(r"\w+", "anybody everybody here nobody somebody something there whatever whoever others theirs ours")
)
# Words that are nouns, verbs or adjectives of the field as well, or end in -ed by chance.
OTHER_WORDS = frozenset(
    re.findall(r"\w+", "cut feed hit indeed need put red seed set shed shut speed exceed proceed embed")
)


def bound_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every name that a module binds, with its line: functions, classes, parameters, variables, attributes, aliases."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node.lineno
            case ast.arg(arg=name):
                yield name, node.lineno
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name, node.lineno
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name, node.lineno


def alias_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """The names that imports give to something else."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((alias.asname, node.lineno) for alias in node.names if alias.asname)


def says_nothing(name: str) -> bool:
    """Whether a name is as a whole a participle or a pronoun: `found`, `_told`, `Denied`."""
    word = name.strip("_")
    if not word.isalpha() or re.search(r"[a-z][A-Z]", word):
        return False  # several words
    word = word.lower()
    if word in OTHER_WORDS:
        return False
    return word in PARTICIPLES or word in PRONOUNS or word.endswith("ed")


def conditional_expressions(tree: ast.AST) -> list[int]:
    """The lines with `a if condition else b`."""
    return [node.lineno for node in ast.walk(tree) if isinstance(node, ast.IfExp)]


def and_or_values(tree: ast.AST) -> list[int]:
    """The lines where `condition and a or b` stands for a conditional expression: `b` is no condition."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.BoolOp)
        and isinstance(node.op, ast.Or)
        and any(isinstance(value, ast.BoolOp) and isinstance(value.op, ast.And) for value in node.values)
        and isinstance(node.values[-1], ast.Constant | ast.JoinedStr | ast.List | ast.Tuple | ast.Dict | ast.Set)
    ]


def broad_excepts(tree: ast.AST) -> list[int]:
    """The lines of `except Exception`, `except BaseException` and `except` alone."""

    def is_broad(kind: ast.expr | None) -> bool:
        if isinstance(kind, ast.Tuple):
            return any(is_broad(each) for each in kind.elts)
        return kind is None or (isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException"))

    return [node.lineno for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and is_broad(node.type)]
