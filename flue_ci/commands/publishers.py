"""What the agents of a checkout publish, and so which permissions their workflow needs."""

from collections.abc import Iterable
from pathlib import Path

from flue_ci.core.errors import SpecError
from flue_ci.publish.from_spec import publishing
from flue_ci.publish.registry import publisher_names
from flue_ci.spec.load import find_specs, load_spec
from flue_ci.spec.schema import AgentSpec

REPAIR_WORKFLOW = "https://github.com/flue-ci/flue-ci/blob/main/examples/workflows/repair-ci.yml"


def publishers_of(specs: Iterable[AgentSpec]) -> tuple[str, ...]:
    """The publishers that these specs name, and `repair` where CI is repaired, each once."""
    names = []
    for spec in specs:
        names += publisher_names(publishing(spec))
        if spec.repair:
            names.append("repair")
    return tuple(dict.fromkeys(names))


def local_publishers(root: Path) -> tuple[str, ...]:
    """Those of the specs in a checkout, as far as they can be read."""
    specs = []
    for path in find_specs(root):
        try:
            specs.append(load_spec(path))
        except SpecError:
            continue  # `validate` says what is wrong
    return publishers_of(specs)
