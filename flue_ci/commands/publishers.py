"""What the agents of a checkout publish, and so which permissions their workflow needs."""

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from flue_ci.core.errors import SpecError
from flue_ci.core.permissions import TICK
from flue_ci.publish.registry import publisher_names, publishing
from flue_ci.spec.load import find_specs, load_valid_specs
from flue_ci.spec.repository_config import load_config
from flue_ci.spec.schema import AgentSpec

REPAIR_WORKFLOW = "https://github.com/flue-ci/flue-ci/blob/main/examples/workflows/repair-ci.yml"


def publishers_of(specs: Collection[AgentSpec]) -> tuple[str, ...]:
    """The publishers that these specs name, each once; with `TICK` where one waits for a tick, and `repair` where CI is
    repaired."""
    names = (name for spec in specs for name in publisher_names(publishing(spec)))
    ticks = (TICK for spec in specs if waiting_changes(spec))
    repairs = ("repair" for spec in specs if spec.repair)
    return tuple(dict.fromkeys([*names, *ticks, *repairs]))


def waiting_changes(spec: AgentSpec) -> str:
    """The publisher of the changes that waits for a tick; "" for none."""
    changes = spec.publish.changes
    if spec.publish.when == "ask" and changes in publisher_names(publishing(spec)):
        return changes
    return ""


def local_publishers(root: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those of the specs in a checkout, as far as they can be read: what is published at once (and `repair` and
    `budget`), and what waits for a tick."""
    specs = load_valid_specs(find_specs(root)).values()
    at_once = []
    for spec in specs:
        names = publisher_names(publishing(spec))
        at_once += [name for name in names if name != waiting_changes(spec)]
        at_once += ["repair"] if spec.repair else []
    with suppress(SpecError):  # `validate` says what is wrong
        at_once += ["budget"] if load_config(root).has_budget else []
    waiting = filter(None, map(waiting_changes, specs))
    return tuple(dict.fromkeys(at_once)), tuple(dict.fromkeys(waiting))
