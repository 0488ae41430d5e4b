"""A result can be taken: the command is right for every agent and server, and a copied patch is the patch."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from flue_ci.report.delivery import (
    ARTIFACT_DAYS,
    MAX_LINES,
    artifact_page,
    files_link,
    how_to_take,
    is_copyable,
    plan_artifact,
    take_command,
)
from flue_ci.report.report import Artifact, Changes, Report
from tests.support.golden import SUCCESS, TRIGGER

RUN = "https://github.com/ada/tools/actions/runs/17000000001"


def of(agent: str = "fix-tests", run_url: str = RUN, *, is_wanted: bool = True) -> Report:
    artifact = plan_artifact(agent, run_url, is_wanted=is_wanted)
    return replace(SUCCESS, agent=agent, trigger=replace(TRIGGER, run_url=run_url), artifact=artifact)


def fences(text: str) -> list[str]:
    return [token.content for token in MarkdownIt().parse(text) if token.type == "fence"]


@pytest.mark.parametrize(
    ("agent", "run_url", "name", "repository"),
    [
        ("fix-tests", RUN, "flue-ci-fix-tests-17000000001-1", "ada/tools"),
        ("fix-tests", f"{RUN}/attempts/3", "flue-ci-fix-tests-17000000001-3", "ada/tools"),
        ("", RUN, "flue-ci-17000000001-1", "ada/tools"),
        ("a b'; rm -rf ~ #`x`/../é", RUN, "flue-ci-a-b-rm--rf-x-17000000001-1", "ada/tools"),
        ("fix", "https://ada.ghe.com/a/b.c/actions/runs/7", "flue-ci-fix-7-1", "ada.ghe.com/a/b.c"),
    ],
)
def test_the_command_fetches_the_artifact_of_the_run_and_applies_its_patch(
    agent: str, run_url: str, name: str, repository: str
) -> None:
    report = of(agent, run_url)
    assert report.artifact == Artifact(name=name, days=ARTIFACT_DAYS)
    command = take_command(report)
    run = report.trigger.run_url.split("/runs/")[1].split("/")[0] if report.trigger else ""
    download, apply = command.split(" && ")
    assert shlex.split(download) == ["gh", "run", "download", run, "-R", repository, "-n", name, "-D", name]
    assert shlex.split(apply) == ["git", "apply", "--3way", f"{name}/changes.patch"]
    text = how_to_take(report)
    assert fences(text) == [f"{command}\n"]
    assert "gh](https://cli.github.com), a login and read access" in text
    assert f"kept for {ARTIFACT_DAYS} days" in text
    assert f"]({run_url}#artifacts)" in text


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (of(is_wanted=False), "the input `artifact` of the action is false"),
        (of(run_url="https://github.example.com/a/b/actions/runs/7"), "GitHub Enterprise Server takes no artifacts"),
        (replace(of(), artifact=Artifact(missing="its upload failed")), "its upload failed"),
    ],
)
def test_without_an_artifact_the_way_that_works_is_named(report: Report, words: str) -> None:
    text = how_to_take(report)
    assert words in text.replace("\\", "")
    assert "`patch-path`" in text
    assert take_command(report) == files_link(report) == ""


@pytest.mark.parametrize(
    "run_url", ["", "https://github.com/ada/tools", f"{RUN}) [x](https://evil.example", f"{RUN}\nx"]
)
def test_outside_of_a_run_the_patch_lies_in_the_folder(run_url: str) -> None:
    report = of(run_url=run_url)
    assert report.artifact == Artifact()
    assert how_to_take(report).startswith(
        "**Take the changes**, in a clone: `git apply --3way changes.patch`, from the"
    )
    assert how_to_take(replace(SUCCESS, trigger=None)) == how_to_take(report)


def test_nothing_is_fetched_for_a_run_without_a_patch() -> None:
    report = replace(of(), changes=Changes())
    assert take_command(report) == ""
    assert files_link(report) == f"[all files]({RUN}#artifacts)"


@pytest.mark.parametrize(
    ("url", "page"),
    [
        (f"{RUN}/artifacts/5", f"{RUN}/artifacts/5"),
        ("", f"{RUN}#artifacts"),
        ("https://evil.example/actions/runs/7/artifacts/5", f"{RUN}#artifacts"),
        (f"{RUN}/artifacts/5) ![x](https://evil.example", f"{RUN}#artifacts"),
        ("https://github.com/ada/other/actions/runs/7/artifacts/5", f"{RUN}#artifacts"),
    ],
)
def test_only_a_page_of_the_own_repository_is_linked(url: str, page: str) -> None:
    assert artifact_page(Artifact(name="x", url=url), f"{RUN}/attempts/2") == page.replace("#", "/attempts/2#")


PATCHES = {
    "a word": ("one\n", "two\n"),
    "backticks": ("one\n", "```\n```sh\n`` x\n"),
    "no newline at the end": ("one\n", "two"),
    "the words of the shell": ("one\n", "$HOME `id` \\ EOF\n END_OF_PATCH\n"),
    "a tab": ("one\n", "\tone\t\n"),
}


@pytest.mark.parametrize(("before", "after"), PATCHES.values(), ids=PATCHES)
def test_a_small_patch_is_copied_as_it_is(tmp_path: Path, before: str, after: str) -> None:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    file = tmp_path / "a file.txt"
    git("init", "-q")
    file.write_text(before)
    git("add", ".")
    file.write_text(after)
    patch = git("diff", "--full-index")
    git("checkout", "-q", "--", ".")
    command, script = fences(how_to_take(of(), patch))
    assert command.startswith("gh run download")
    subprocess.run(["bash", "-c", script], cwd=tmp_path, check=True, capture_output=True)
    assert file.read_text() == after


@pytest.mark.parametrize(
    "patch",
    [
        "",
        "+x\n" * (MAX_LINES + 1),
        "+" + "x" * 10_000 + "\n",
        "GIT binary patch\nliteral 1\n",
        "+a\r\n",
        "+a\u202eb\n",
        "+a\x1b[31mb\n",
        "+***\n",
        "+\ufffd\n",
        "+x",
        "END_OF_PATCH\nrm -rf ~\n",
    ],
)
def test_any_other_patch_is_not_offered_to_copy(patch: str) -> None:
    assert not is_copyable(patch)
    assert len(fences(how_to_take(of(), patch))) == 1
