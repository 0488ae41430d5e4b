"""Collects the problems of one spec, each at its place in the file."""

from collections.abc import Collection
from dataclasses import dataclass, field

from flue_ci.core.errors import Diagnostic
from flue_ci.core.text import plural
from flue_ci.spec.yaml_document import Document, KeyPath

MAX_PROBLEMS = 50


@dataclass(frozen=True, slots=True)
class Problems:
    """The problems of `document`. Those that touch a path of `ignore` are dropped."""

    document: Document
    ignore: Collection[KeyPath] = ()
    diagnostics: list[Diagnostic] = field(default_factory=list)

    def add(self, path: KeyPath, message: str, hint: str = "", *, at_key: bool = False) -> None:
        """Adds a problem of the value at `path`; with `at_key`, of the key itself."""
        self.add_flaw(path, Diagnostic(message=message, hint=hint), at_key=at_key)

    def add_flaw(
        self, path: KeyPath, flaw: Diagnostic | None, *, at_key: bool = False, near: KeyPath | None = None
    ) -> None:
        """Adds the result of a check of the value at `path`, which is None when it is right. See `Document.locate`."""
        if flaw is not None and not touches(path, self.ignore):
            self.diagnostics.append(self.document.locate(path, flaw, at_key=at_key, near=near))

    def in_file_order(self) -> tuple[Diagnostic, ...]:
        """Each problem once, in the order of the file, at most `MAX_PROBLEMS` and a line that counts the rest."""
        unique = sorted(
            dict.fromkeys(self.diagnostics), key=lambda problem: (problem.line, problem.column, problem.key)
        )
        rest = len(unique) - MAX_PROBLEMS
        if rest <= 0:
            return tuple(unique)
        last = Diagnostic(file=self.document.file, message=f"and {plural(rest, 'more problem')}")
        return (*unique[:MAX_PROBLEMS], last)


def touches(path: KeyPath, others: Collection[KeyPath]) -> bool:
    """Whether `path` is one of `others`, or lies inside or around one of them."""
    return any(all(one == two for one, two in zip(path, other, strict=False)) for other in others)
