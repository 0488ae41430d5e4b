"""Secrets are planted wherever one can be; then every command and every kind of ending runs, and they are looked for in
all that is left: output, files, what every server was told, and inside of the sandbox.

Looked for by means of their own, not by the redactor's: the values, and as base64, hexadecimal digits, percent codes.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.e2e.conftest import MakeFlow
from tests.e2e.flow import Flow, bash, say
from tests.e2e.test_action import MakeJob, make_job
from tests.support.github_server import TOKEN
from tests.support.messages_server import API_KEY, Fault

__all__ = ["make_job"]
START = "".join(("cn", "ry-"))  # what all planted values begin with; no file and no command has it in one piece
GIVEN = f"{START}given-7f3a/9c+e1 x"  # the one that the spec lets into the sandbox
ENVIRONMENT = {
    "DEPLOY_TOKEN": f"{START}deploy-51b0",
    "GITHUB_TOKEN": f"{START}github-88d2",
    "AWS_SECRET_ACCESS_KEY": f"{START}aws/secret+4e",
    "DATABASE_PASSWORD": f"{START}database-0c7d",
    "EMPTY_WORDS": f"{START}no-name-of-a-secret-19",  # nobody can know it: it must not travel all the same
}
PUSH = f"{START}push-2b61"  # what moves branches
HOME_FILES = (".netrc", ".git-credentials", ".aws/credentials", ".config/gh/hosts.yml", ".ssh/id_ed25519")
# Inside: everything that can be read, but for what comes with the system, and every environment. A test server's
# machine is this host: there it is the home and the command's own environment.
SEARCH = (
    "p=cn; q=ry-; found=$({ grep -rslI -e $p$q ROOT --exclude-dir=proc --exclude-dir=sys --exclude-dir=dev "
    "--exclude-dir=usr; cat ENVIRONMENTS | tr '\\0' '\\n' | grep -v ^GIVEN_THING= | grep -e $p$q | grep -vx -e $p$q; "
    '} 2>/dev/null); echo "searched: [$found]"'
)
SEARCHES = {
    "local": SEARCH.replace("ROOT", "/").replace("ENVIRONMENTS", "/proc/[0-9]*/environ /proc/[0-9]*/cmdline"),
    "e2b": SEARCH.replace("ROOT", "$HOME").replace("ENVIRONMENTS", "/proc/self/environ"),
}
# As a careless test prints what it was given: in one piece, in several, wrapped, encoded.
TELL = (
    'echo "$GIVEN_THING"; printf %s "$GIVEN_THING" | base64; printf a%s "$GIVEN_THING" | base64 -w 12; '
    'printf %s "$GIVEN_THING" | od -An -tx1 | tr -d " "; printf %s "${GIVEN_THING%%/*}"; sleep 0.3; '
    'echo "/${GIVEN_THING#*/}"; env'
)


def forms(value: str) -> Iterable[bytes]:
    raw = value.encode()
    yield raw
    yield base64.b64encode(raw)[:-4]
    yield base64.b64encode(b"a" + raw)[4:-4]
    yield raw.hex().encode()
    yield quote(raw, safe="").encode()


def assert_nowhere(values: Iterable[str], places: Iterable[tuple[str, bytes]]) -> None:
    wanted = [(value, form) for value in values for form in forms(value)]
    for name, data in places:
        joined = b"".join(line.strip() for line in data.split(b"\n"))
        for value, form in wanted:
            assert form not in data and form not in joined, f"{value} is in {name}"


def below(*folders: Path) -> Iterable[tuple[str, bytes]]:
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                yield str(path), path.read_bytes()


def plant(flow: Flow) -> None:
    """In the environment, in the home directory, beside the work and in git's configuration of the checkout."""
    flow.environment |= ENVIRONMENT | {"GIVEN_THING": GIVEN}
    for name in HOME_FILES:
        path = flow.home / "home" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"machine 127.0.0.1 login x password {START}{path.name}-secret\n")
    (flow.repo / ".gitignore").write_text(".env\n")
    (flow.repo / ".env").write_text(f"KEY={START}ignored-file\n")
    flow.git("config", "http.extraHeader", f"Authorization: Basic {START}extra-header")
    flow.git("config", "remote.origin.url", f"https://user:{START}in-address@127.0.0.1/x.git")


def values(flow: Flow) -> list[str]:
    keys = [API_KEY, *([flow.e2b.api_key] if flow.sandboxes else [])]
    planted = [f"{START}{Path(name).name}-secret" for name in HOME_FILES]
    there = [f"{START}{what}" for what in ("ignored-file", "extra-header", "in-address")]
    return [*ENVIRONMENT.values(), *planted, *there, *keys]


def told(flow: Flow) -> Iterable[tuple[str, bytes]]:
    """What was printed and written, and what the servers were sent; a server's own key is in its own headers."""
    yield "standard output", flow.said("stdout").encode()
    yield "standard error", flow.said("stderr").encode()
    yield from below(flow.out, flow.home / "home" / ".local", flow.home / "records")
    for request in flow.model.requests:
        yield "a request to the model", json.dumps(request.json).encode()
        yield "headers for the model", _without(request.headers, "x-api-key", "authorization")
    for asked in flow.e2b.requests if flow.sandboxes else ():
        yield (
            f"a request to E2B ({asked.route})",
            _without(asked.headers, "x-api-key") + json.dumps(asked.json).encode(),
        )


def _without(headers: Any, *names: str) -> bytes:
    return json.dumps({key: value for key, value in dict(headers).items() if key.lower() not in names}).encode()


ENDINGS: dict[str, dict[str, Any]] = {
    "success": {},
    "a failing check": {"spec": {"checks": [{"name": "tests", "run": f"{TELL}; false"}]}},
    "a failing setup": {"setup": [f"{TELL}; false"]},
    "a patch that is withheld": {"turns": [bash('echo "$GIVEN_THING" > notes.txt'), say("Done.")]},
    "the model refuses and repeats the key": {
        "faults": {2: Fault(kind="status", status=401, message=f"invalid x-api-key {API_KEY}")}
    },
    "the model says them": {"turns": [say(f"It is {GIVEN}, and {ENVIRONMENT['DEPLOY_TOKEN']}.")], "model_knows": True},
    "a limit": {"spec": {"limits": {"turns": 1}}},
}


@pytest.mark.family(2)
@pytest.mark.parametrize("where", ["local", "e2b"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_whatever_way_a_run_ends_no_secret_comes_out_of_it(make_flow: MakeFlow, ending: str, where: str) -> None:
    how = ENDINGS[ending]
    turns = how.get("turns") or [bash(SEARCHES[where]), bash(f"{TELL}; echo more >> greeting.txt"), say("Done.")]
    flow = make_flow(turns, faults=how.get("faults"), e2b=where == "e2b")
    plant(flow)
    flow.spec(**how.get("spec", {}), sandbox={"secrets": ["GIVEN_THING"], "setup": how.get("setup", [TELL])})
    flow.commit()
    (flow.home / "records").mkdir()
    process = flow.start("--record", str(flow.home / "records" / "record.jsonl"))
    flow.wait(process)
    assert (flow.out / "report.json").exists(), flow.said("stderr")
    everywhere = list(told(flow))
    model = ("a request to the model", "a request to E2B (start)")  # the latter carries what the agent's commands get
    assert_nowhere(
        values(flow), everywhere if "model_knows" not in how else [p for p in everywhere if p[0] != model[0]]
    )
    assert_nowhere([GIVEN], [place for place in everywhere if place[0] not in (*model, "a request to E2B (create)")])
    if "faults" not in how and "turns" not in how and "setup" not in how:
        after = json.dumps(flow.model.requests[1].json) if len(flow.model.requests) > 1 else ""
        assert "searched: []" in after or ending == "a limit", after[-2_000:]
    flow.assert_nothing_is_left()


@pytest.mark.family(1)
@pytest.mark.parametrize("where", ["local", "e2b"])
def test_what_the_sdks_log_is_redacted_too(make_flow: MakeFlow, where: str) -> None:
    flow = make_flow([bash(TELL), say(f"It is {GIVEN}.\n::error::no")], e2b=where == "e2b")
    flow.cold = True  # the SDK looks for this when it is imported
    plant(flow)
    flow.environment["ANTHROPIC_LOG"] = "debug"
    flow.spec(sandbox={"secrets": ["GIVEN_THING"]})
    flow.commit()
    flow.wait(flow.start())
    lines = flow.said("stderr").splitlines()
    assert any(line.startswith("[anthropic._base_client] Request options") for line in lines), lines[:20]
    assert all(len(line) <= 2_000 for line in lines if line.startswith("[anthropic"))
    assert not any(line.lstrip().startswith("::") for line in lines)
    output = [("output", (flow.said("stdout") + flow.said("stderr")).encode())]
    assert_nowhere([*values(flow)[:4], API_KEY, GIVEN], output)


COMMANDS: tuple[tuple[str, ...], ...] = (
    ("--help",),
    ("run", "count", "--dry-run"),
    ("run", "count", "--dry-run", "--json"),
    ("run", "count", "--json"),
    ("run", "count", "--apply"),
    ("run", "count", "--set", f"sandbox.env.X={GIVEN}", "--sandbox", "nowhere"),
    ("run", f"{GIVEN}"),
    ("run", "broken"),
    ("validate",),
    ("list",),
    ("schema",),
    ("doctor",),
    ("init", "another", "--github"),
    ("demo",),
    ("sandboxes", "list"),
    ("sandboxes", "kill", "nothing"),
    ("publish", "OUT"),
    ("action",),
    ("show", "OUT"),
)


def test_no_command_tells_a_secret(make_flow: MakeFlow) -> None:
    """Each in turn; `broken` is a spec with secrets where they do not belong."""
    flow = make_flow([bash(TELL), say(f"{GIVEN}"), bash(TELL), say("Done.")], e2b=True)
    plant(flow)
    flow.environment["GIVEN_TOKEN"] = GIVEN  # by its name everybody knows it, also without a spec
    flow.spec(sandbox={"secrets": ["GIVEN_THING"]})
    flow.spec("broken", promt=GIVEN, model=ENVIRONMENT["DEPLOY_TOKEN"], limits={"turns": GIVEN})
    flow.commit()
    flow.wait(flow.start())
    for command in COMMANDS:
        arguments = [str(flow.out) if word == "OUT" else word for word in command]
        code, out, err = flow.call(*arguments)
        assert "Traceback" not in err, err
        known = [value for value in (*values(flow), GIVEN) if value != ENVIRONMENT["EMPTY_WORDS"]]
        assert_nowhere(
            known, [(f"output of {command}", (out + err).encode()), *below(flow.out, flow.home / "home" / ".local")]
        )
        assert code in (0, 1, 2), (command, out, err)


@pytest.mark.family(1)
@pytest.mark.parametrize("level", ["", "debug"])
@pytest.mark.parametrize("fault", ["", "PATCH comments", "GET pulls", "POST git-upload-pack"])
def test_no_job_tells_a_secret(make_job: MakeJob, fault: str, level: str) -> None:
    job = make_job([bash(f"{TELL}; echo changed > greeting.txt"), say(f"I saw {GIVEN} and {TOKEN}.")])
    job.more |= ENVIRONMENT | {"GIVEN_THING": GIVEN, "ANTHROPIC_LOG": level, "FLUE_CI_PUSH_TOKEN": PUSH}
    spec = {
        "sandbox": {"secrets": ["GIVEN_THING"], "setup": [TELL]},
        "checks": [{"name": "tests", "run": f"{TELL}; false"}],
    }
    pull = job.github.pull(job.start(fix_tests=spec), {"other.txt": "new\n"})
    comment = job.github.say(pull["number"], "ada", f"/flue fix-tests with {ENVIRONMENT['DEPLOY_TOKEN']}")
    if fault:
        job.github.faults.add(fault, status=422, times=None, message=f"no: {TOKEN} {GIVEN}")
    environ = job.github.env("issue_comment", job.github.commented(pull, comment))
    done = job.act(environ)
    ours = json.dumps(job.github.ours()).encode()
    places = [("log", done.log.encode()), ("summary", done.summary.encode()), ("comments", ours)]
    places += [("outputs", json.dumps(done.outputs).encode()), *below(job.home / "job" / "flue-ci-report")]
    basic = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
    known = [GIVEN] if fault in ("", "PATCH comments") else []  # else no spec was read that names it
    assert_nowhere([*[*ENVIRONMENT.values()][:4], *known, TOKEN, PUSH, API_KEY, job.e2b.api_key, basic], places)
    for request in job.model.requests:
        assert_nowhere([TOKEN, PUSH, job.e2b.api_key, *list(ENVIRONMENT.values())[1:]], [("the model", request.raw)])
    for asked in job.e2b.requests:
        assert_nowhere(
            [TOKEN, PUSH, API_KEY],
            [(asked.route, json.dumps(asked.json).encode() + _without(asked.headers, "x-api-key"))],
        )
