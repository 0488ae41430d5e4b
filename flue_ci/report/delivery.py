"""How a person takes the result of a run: the patch to copy, or the command that fetches and applies it. Pure.

An artifact can be had on github.com and *.ghe.com; GitHub Enterprise Server takes none of actions/upload-artifact v4
and later (https://github.com/actions/upload-artifact#v4---whats-new).
"""

import re
import shlex
from urllib.parse import urlsplit

from flue_ci.core.text import plain, plural
from flue_ci.report.report import Artifact, Report
from flue_ci.safety.markdown import code_block, details, escape

ARTIFACT_DAYS = 30  # as action.yml says
MAX_LINES = 80  # changed lines of a patch that stands whole in a comment
MAX_CHARS = 10_000
# Server, repository, run, and attempt.
RUN_PAGE = re.compile(r"(https?://[^/\s]+)/([\w.-]+/[\w.-]+)/actions/runs/(\d{1,20})(?:/attempts/(\d{1,6}))?", re.ASCII)
_END = "END_OF_PATCH"  # no line of a patch: those of files begin with a sign, those of git with another word
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


def plan_artifact(agent: str, run_url: str, *, is_wanted: bool = True) -> Artifact:
    """The artifact that the action uploads at the end of the run at `run_url`, or the reason why it will not.

    Its name has the agent, the run and the attempt, so that no other one of the run has it.
    """
    match = RUN_PAGE.fullmatch(run_url)
    if not match:
        return Artifact()
    if not is_wanted:
        return Artifact(missing="the input `artifact` of the action is false")
    host = urlsplit(match[1]).hostname or ""
    if not (host in ("github.com", "localhost", "127.0.0.1") or host.endswith((".ghe.com", ".localhost"))):
        return Artifact(missing="GitHub Enterprise Server takes no artifacts of `actions/upload-artifact` v4 and later")
    words = ["flue-ci", _NOT_IN_NAMES.sub("-", agent).strip("-."), match[3], match[4] or "1"]
    return Artifact(name="-".join(filter(None, words)), days=ARTIFACT_DAYS)


def how_to_take(report: Report, patch: str = "") -> str:
    """The way from the report to the changed files, as Markdown; after a commit, to the files of the run. `patch` (may
    be empty) is shown whole when it is small and can be copied from a page without a loss."""
    parts = []
    if any(entry.publisher == "commit" and entry.commit for entry in report.published):  # they are on the branch
        link = files_link(report)
        return link and f"<sub>{link}</sub>"
    if command := take_command(report):
        days = f"kept for {plural(report.artifact.days, 'day')}, unless the repository's settings say less"
        needs = f"Needs [gh](https://cli.github.com), a login and read access · {days}"
        parts.append(f"**Take the changes**, in a clone of the repository:\n\n{code_block(command, 'sh')}")
        parts.append(f"<sub>{needs} · {files_link(report)}</sub>")
    elif report.artifact.missing:
        reason = escape(f"there is no artifact, {report.artifact.missing}")
        parts.append(
            f"**Take the changes:** {reason}. Let a step of the workflow keep the file that the output `patch-path` "
            "names, and run `git apply --3way` with it."
        )
    else:
        parts.append("**Take the changes**, in a clone: `git apply --3way changes.patch`, from the report's folder.")
    if is_copyable(patch):
        block = code_block(f"git apply --3way <<'{_END}'\n{patch}{_END}", "sh")
        parts.append(details("The whole patch, to copy into a shell", block))
    return "\n\n".join(parts)


def take_command(report: Report) -> str:
    """One line for a shell: fetches the artifact and applies its patch; "" where there is no artifact or no patch."""
    artifact, match = report.artifact, RUN_PAGE.fullmatch(report.trigger.run_url if report.trigger else "")
    if not match or not artifact.name or not report.changes.patch:
        return ""
    server, repository, run, _ = match.groups()
    host = urlsplit(server).netloc
    if host != "github.com":  # gh asks the host of the last login otherwise
        repository = f"{host}/{repository}"
    download = ["gh", "run", "download", run, "-R", repository, "-n", artifact.name, "-D", artifact.name]
    apply = ["git", "apply", "--3way", f"{artifact.name}/{report.changes.patch}"]
    return f"{shlex.join(download)} && {shlex.join(apply)}"


def files_link(report: Report) -> str:
    """A link to all files of the run, as Markdown; "" where there is no artifact."""
    artifact = report.artifact
    run_url = report.trigger.run_url if report.trigger else ""
    if not artifact.name or not RUN_PAGE.fullmatch(run_url):
        return ""
    return f"[all files]({artifact_page(artifact, run_url)})"


def artifact_page(artifact: Artifact, run_url: str) -> str:
    """The address of an artifact; of the list on the page of its run where its own is not known."""
    match = RUN_PAGE.fullmatch(run_url)
    runs = re.escape(f"{match[1]}/{match[2]}/actions/runs/") if match else "(?!)"
    if re.fullmatch(rf"{runs}\d+/artifacts/\d+", artifact.url, re.ASCII):
        return artifact.url
    return f"{run_url}#artifacts"


def is_copyable(patch: str) -> bool:
    """Whether a patch is small, and the same after it was shown in a comment and copied from there."""
    lines = patch.splitlines()
    count = sum(line.startswith(("+", "-")) and not line.startswith(("+++ ", "--- ")) for line in lines)
    if not patch.endswith("\n") or count > MAX_LINES or len(patch) > MAX_CHARS or "GIT binary patch" in lines:
        return False
    is_whole = "***" not in patch and "\ufffd" not in patch  # neither redacted nor of another encoding
    return is_whole and plain(patch) == patch and _END not in lines
