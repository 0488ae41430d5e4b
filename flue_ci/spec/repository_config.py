"""`.flue/config.yml`: what holds for all agents of a repository. Read from the trusted commit only."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from flue_ci.core.budgets import CONFIG
from flue_ci.core.errors import Diagnostic, SpecError
from flue_ci.core.text import did_you_mean, one_line
from flue_ci.spec.parts import Part, all_defaults, exactly_an_int
from flue_ci.spec.problems import Problems
from flue_ci.spec.yaml_document import KeyPath, parse

MAX_BYTES = 100_000
MAX_USD = 1_000_000


class BudgetSpec(Part):
    """US dollars that all runs together may cost within 24 hours; no limit where one is not given."""

    per_day_usd: float | None = Field(None, gt=0, le=MAX_USD)
    per_pull_request_usd: float | None = Field(None, gt=0, le=MAX_USD)


class RepositoryConfig(Part):
    """Settings of a repository, which no agent spec can change."""

    version: Annotated[Literal[1], BeforeValidator(exactly_an_int)]
    limits: BudgetSpec = all_defaults(BudgetSpec)

    @property
    def has_budget(self) -> bool:
        """Whether what runs may cost is limited."""
        return self.limits.per_day_usd is not None or self.limits.per_pull_request_usd is not None


def load_config(folder: Path) -> RepositoryConfig:
    """The configuration of the repository at `folder`; all defaults without the file. Raises `SpecError` with every
    problem that can be seen, and its place."""
    path = folder / CONFIG
    if not path.is_file():
        return RepositoryConfig(version=1)
    text = path.read_bytes()
    if len(text) > MAX_BYTES:
        raise SpecError((Diagnostic(file=CONFIG, message="is too large", hint=f"at most {MAX_BYTES:,} bytes"),))
    document = parse(text, CONFIG)
    problems = Problems(document, diagnostics=list(document.problems))
    try:
        config = RepositoryConfig.model_validate(document.data)
    except ValidationError as error:
        for item in error.errors(include_url=False):
            is_key = item["type"] in ("extra_forbidden", "missing")
            problems.add_flaw(item["loc"], _describe(item["type"], item["loc"], item), at_key=is_key)
        config = None
    if flaws := problems.in_file_order():
        raise SpecError(flaws)
    assert config is not None  # no configuration, then a problem
    return config


def _describe(kind: str, path: KeyPath, error: Any) -> Diagnostic:
    """One error of pydantic in words, without its place."""
    key = str(path[-1]) if path else ""
    keys = [*(BudgetSpec if path[:1] == ("limits",) and len(path) > 1 else RepositoryConfig).model_fields]
    if kind == "extra_forbidden":
        return Diagnostic(message="unknown key", hint=did_you_mean(key, keys, f"known here: {', '.join(keys)}"))
    if kind == "missing":
        return Diagnostic(message=f"the key `{key}` is missing", hint="add `version: 1` as the first line")
    if key == "version":
        return Diagnostic(message="must be the whole number 1", hint="write `version: 1`")
    if key.endswith("_usd"):
        message = f"must be a number of US dollars above 0, at most {MAX_USD:,}"
        return Diagnostic(message=message, hint="such as 10.50, without quotes or a sign")
    hint = f"with the keys {', '.join(BudgetSpec.model_fields)}" if key == "limits" else "`key: value` pairs"
    return Diagnostic(message=f"must be a mapping, found `{one_line(str(error.get('input')), 40)}`", hint=hint)
