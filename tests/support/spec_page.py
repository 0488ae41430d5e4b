"""Writes docs/spec.md from the JSON Schema, so that the page cannot say anything else.

`python -m tests.support.spec_page`
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flue_ci.gate.event import AFTER_CHECKS, EVENTS, WITH_COMMIT
from flue_ci.spec.json_schema import json_schema

_TYPES = {"array": "list", "object": "mapping", "string": "text"}
PAGE = Path(__file__).parents[2] / "docs" / "spec.md"
HEAD = """\
# The agent spec, version 1

Every key of `.flue/agents/NAME.yml`. This page is made from the schema that `flue-ci schema` prints.

Durations are written `90s`, `10m`, `1h` or `1h30m`. Unknown keys, duplicate keys, wrong types and impossible
combinations are errors.
YAML is read strictly: `no`, `on`, `1_000`, `0o17` or `12:30` without quotes mean different things to different readers,
and are refused. So are characters that a reader does not see: direction controls, zero-width characters, tags, fillers,
and line breaks that are none to YAML 1.2. Emoji and scripts that need joiners keep them, and `"\\u200B"` in double
quotes is visible. A skill with such characters is left out with a note, from AGENTS.md they are taken out with one.

| key | what it is | type | default | example |
|:--|:--|:--|:--|:--|
"""
EVENTS_HEAD = """
## Events

What `triggers.events` may name, with what the agent works on. The person who causes an
event needs a role of `triggers.roles`, except for `push`, `schedule` and `merge_group`. Comments are
no event: `triggers.comment` names the word that they begin with. The workflow has to listen to each of them
as well: `flue-ci validate` and `doctor --github` name every trigger that no workflow with flue-ci would start.

| event | actions | the agent works on |
|:--|:--|:--|
"""
TAIL = """
## In `prompt` and `instructions`

Both are [Jinja2](https://jinja.palletsprojects.com/) templates, rendered in its sandbox with these names:
`instruction` (what was asked for; undefined when nothing was, so that `default` works), `agent.name`,
`agent.description`, `repo.name`, `repo.ref`, `repo.sha`, `event.name` (`local` for a run over a checkout) and, on
GitHub, `event.actor`, `pr.…` and `issue.…`. A name that does not exist is an error when the spec is read; one that has
no value counts as false in `{% if %}` and is an error where it is to be printed. An instruction that the prompt does
not mention is added at its end. What is printed of `pr` and `issue` was written by strangers: but for `number`, `base`
and `url` it is put between `<untrusted …>` and `</untrusted>`. `repo.ref` of a pull request is `pull/NUMBER`.

## Setup, agent, checks

`sandbox.setup` runs first, with the network of its phase. What it leaves in the repository (lock files, build
information) is not counted as the agent's change, unless the agent goes on with it. Nor are files that
`.gitignore` names, unless the agent adds them to git, and new bytecode (`__pycache__`, `*.pyc`, `*.class`).

The checks run in a second sandbox from the same template: the base, setup again, the agent's network, the verified
changes, the checks. It is prepared while the agent works, from its first tool call that can change something, and
without checks there is none. Setup runs once more after the changes when they touch what it depends on: manifests and
lock files, files and directories that its commands name, anything when a command builds or installs the repository
(`make`, `npm run build`, `pip install .`), or always with `verify: {setup: after}`; what it writes over the changes
then is put right. Services that setup starts are there for the checks when both phases of the network are the same;
closing it ends them. `limits.minutes` is the agent's time; setup and checks have theirs. A clean sandbox that cannot be
had means no check passed, and the run failed.

With `verify: same` the checks run in the agent's own sandbox, after all of its processes were ended. It saves the
second sandbox, and proves less: the report lists what the checks saw beside the changes.

A check runs in `bash --noprofile --norc`, with the variables of `env` and `secrets` and the machine's own `PATH`,
then `~/.local/bin`: what setup wrote into `~/.profile` or `~/.bashrc` does not count, so name it (`. ~/.nvm/nvm.sh &&
npm test`), or set `PATH` in `sandbox.env`. A check whose exit code is not known has not passed.

## Submodules and Git LFS

Without `workspace.submodules` the directories of submodules are empty inside, without `workspace.lfs` files that Git
LFS keeps are pointers; people and the model are told so, and also of each that cannot be had.

Of a checkout submodules travel as they are on the disk. Others are fetched, one commit of each: from the repository's
own server, and without a token from `workspace.submodules.hosts`. On GitHub the job's token goes along only to
repositories that the trusted commit's `.gitmodules` names too; may it not read one, give the action a token that may.
Of a server besides the repository's own nothing at a private address is asked; that needs git 2.37 or newer. At most
100 submodules come, 5 levels deep, and 1 GB of contents of Git LFS in all. What the agent changes in a submodule is a
patch of its own (`changes-submodule-NAME.patch`, for `git apply` in the submodule); the checks run without it.

Contents of Git LFS come from the checkout (`.git/lfs`, or the work tree), else from the server that the repository
comes from, whatever `.lfsconfig` says. One that the agent changes is in the patch as its new content: `git add` with
git-lfs makes a pointer of it again.

## What a local run asks you for

A spec, and all else in a checkout, may be a stranger's, so a file is never consent. `flue-ci run` asks before it sends
the model's key to `model.base_url`, hands a variable of your shell to the sandbox or to a host (`sandbox.secrets`,
`network.inject`), or follows a `.git` to a git directory that does not name the checkout. That holds for every spec,
wherever it lies, also for a path outside of the checkout. No question is needed for

- `--allow-base-url HOST` (with or without port), `--allow-secret NAME`, `--allow-git-dir DIR`, each as often as needed;
- an address that is `ANTHROPIC_BASE_URL`'s or Anthropic's own, and a git directory that `GIT_DIR` names;
- a value from the command line: `--set model.base_url=…`, `--set sandbox.secrets=[NAME]`.

On a terminal the answer `y` is remembered for this checkout (its real path) and for exactly what was asked: another
address, name, header or network asks again. `flue-ci doctor` lists what was allowed, `flue-ci doctor --forget` takes it
back for this checkout, `--forget all` everywhere. Without a terminal, with `CI=true` or `--json` nothing is
asked: the run ends with exit code 2 and the options to add. `--dry-run` lists what would be asked, and
reads no other git directory either.

## Parts that this version reads but does not run

`engine: {program: …}` and `model.provider: bedrock | vertex` are refused with “not
supported yet”. `triggers` and `publish.comment` concern GitHub and change nothing in a run over a checkout.

## Changing a value for one run

`flue-ci run NAME --set limits.turns=10 --set 'sandbox.network.agent=[packages.example.com]'`: the value is YAML and is
checked like the file.
"""


def rows(schema: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, key in schema["properties"].items():
        path = f"{prefix}{name}"
        shapes = key.get("anyOf") or key.get("oneOf") or [key]
        default = f"`{json.dumps(key['default'])}`" if "default" in key and not _is_object(shapes) else ""
        example = f"`{json.dumps(key['examples'][0], ensure_ascii=False)}`" if key.get("examples") else ""
        told = [key.get("description", "").replace("|", "\\|"), _type(shapes), default, example.replace("|", "\\|")]
        yield f"| `{path}` | {' | '.join(told)} |"
        for shape in shapes:
            if "properties" in shape:
                yield from rows(shape, f"{path}.")
            items = shape.get("items", {})
            if isinstance(items, Mapping) and "properties" in items:
                yield from rows(items, f"{path}[].")


def event_rows() -> Iterator[str]:
    for name, actions in EVENTS.items():
        if name in AFTER_CHECKS:
            subject = "the open pull request whose head was checked, else the commit"
        elif name == "release":
            subject = "the commit of the release's tag"
        elif name in WITH_COMMIT:
            subject = "the event's commit"
        elif name.startswith("pull_request"):
            subject = "the pull request"
        elif name == "issues":
            subject = "the default branch, and the issue"
        else:
            subject = "the default branch"
        yield f"| `{name}` | {', '.join(f'`{name}.{action}`' for action in actions)} | {subject} |"


def _is_object(shapes: list[Mapping[str, Any]]) -> bool:
    return any("properties" in shape for shape in shapes)


def _type(shapes: list[Mapping[str, Any]]) -> str:
    names = []
    for shape in shapes:
        if "enum" in shape:
            names.append(" \\| ".join(f"`{value}`" for value in shape["enum"]))
        elif "const" in shape:
            names.append(f"`{shape['const']}`")
        else:
            names.append(_TYPES.get(shape.get("type", ""), shape.get("type", "")))
    return " or ".join(dict.fromkeys(name for name in names if name))


def page() -> str:
    tables = [*rows(json_schema())], [*event_rows()]
    return HEAD + "\n".join(tables[0]) + "\n" + EVENTS_HEAD + "\n".join(tables[1]) + "\n" + TAIL


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
