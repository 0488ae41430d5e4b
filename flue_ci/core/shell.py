"""The shell scripts that run inside sandboxes. They are files of the package (`*.sh`), so that ShellCheck reads them;
their arguments are assignments in front of them.
"""

import re
import shlex
from collections.abc import Mapping
from functools import cache
from importlib.resources import files


@cache
def load_script(package: str, name: str) -> str:
    """The text of the file `name` in `package` (a dotted name), such as `("flue_ci.workspace", "unpack.sh")`. Comments
    (`#`) are left out: they would travel with every command."""
    return re.sub(r"(?m)^[ \t]*#.*\n", "", (files(package) / name).read_text("utf-8"))


def shell_script(values: Mapping[str, str], body: str) -> str:
    """`body` after one assignment for each of `values`, by variable name. No value is ever read as shell."""
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items()) + body
