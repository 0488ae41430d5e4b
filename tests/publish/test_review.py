"""Reviews that stay useful: one thread for a finding, threads that end by themselves, and dismissals that count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from flue_ci.report.report import from_json, to_json
from tests.publish.reviewing import WRITES, Reviewing, finding
from tests.support.github_server import BOT

BEFORE = "def area(width, height):\n    return width * height\n\n\ndef half(number):\n    return number / 2\n"
AFTER = BEFORE.replace("*", "+").replace("return number / 2", "total = 0\n    return number / total")
AREA, HALF = 2, 7  # lines with a bug
LONG = "".join(f"NAME_{number} = {number}\n" for number in range(200))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Reviewing]:
    reviewing = Reviewing(tmp_path)
    with reviewing.github:
        reviewing.open({"app.py": BEFORE, "other.py": "x = 1\n"}, {"app.py": AFTER})
        yield reviewing


async def test_a_review_has_a_comment_for_each_finding_and_counts_them(world: Reviewing) -> None:
    published = await world.review(
        finding(
            AREA, title="Adds @mona's sides", body="Fixes #3 <b>not</b>.", suggestion="    return width * height\n"
        ),
        finding(HALF, start_line=6, severity="critical", category="data", title="Divides by nothing"),
    )
    assert (published.state, published.detail) == ("done", "2 new findings (1 critical, 1 high)")
    (review,) = world.github.reviews
    assert (review["state"], review["commit_id"]) == ("COMMENTED", world.pull["head"]["sha"])
    assert published.url == review["html_url"]
    assert "**2 new findings (1 critical, 1 high)**" in review["body"]
    assert f"all of the pull request at {world.pull['head']['sha'][:7]}." in review["body"]
    first, second = world.threads
    assert (first["start_line"], first["line"], first["side"]) == (6, HALF, "RIGHT")
    assert "🔴 **Divides by nothing**" in first["body"]
    assert second["start_line"] is None
    assert "`@mona`" in second["body"]
    assert "`#3`" in second["body"]
    assert "\n```suggestion\n    return width * height\n```\n" in second["body"]
    assert world.requests <= 5
    assert from_json(to_json(world.report)) == world.report


REWORDED = finding(AREA, title="Sum instead of product", body="Other words.", severity="critical")


@pytest.mark.family(3)
@pytest.mark.parametrize(
    ("push", "force", "call"),
    [
        ({}, False, REWORDED),
        ({"app.py": LONG + AFTER}, False, REWORDED | {"line": AREA + 200}),
        ({"app.py": None, "lib/area.py": AFTER}, False, REWORDED | {"path": "lib/area.py"}),
        ({"app.py": AFTER.replace("    ", "\t")}, False, REWORDED),
        ({"app.py": "import os\n\n" + AFTER}, True, REWORDED | {"line": AREA + 2}),
        ({"app.py": AFTER.replace("total = 0", "total = 1")}, False, REWORDED | {"start_line": 1}),
    ],
    ids=["reworded", "moved", "renamed", "indented", "rebased", "wider"],
)
async def test_the_same_finding_is_one_thread(world: Reviewing, push: dict, force: bool, call: dict) -> None:  # type: ignore[type-arg]
    await world.review(finding(AREA))
    if push:
        world.push(push, force=force)
    published = await world.review(call, looked_at=("app.py", "lib/area.py"))
    assert len(world.threads) == 1
    assert world.resolved == [""]
    assert published.detail == "no new finding, 1 still open"
    assert len(world.github.reviews) == 1
    await world.review(call, looked_at=("app.py", "lib/area.py"))
    assert (len(world.threads), len(world.github.reviews)) == (1, 1)


async def test_a_finding_that_the_agent_names_is_that_one_wherever_it_is(world: Reviewing) -> None:
    await world.review(finding(AREA))
    world.push({"app.py": AFTER.replace("width + height", "height + width")})
    identity = f"F{world.threads[0]['id']}"
    await world.review(finding(AREA, category="other", finding=identity))
    assert f"{identity} · app.py · high correctness\n<untrusted" in world.text
    assert (len(world.threads), world.resolved) == (1, [""])


async def test_two_bugs_on_one_line_are_two(world: Reviewing) -> None:
    await world.review(finding(AREA), finding(AREA, title="Overflows"))
    assert len(world.threads) == 2
    await world.review(finding(AREA, title="Overflows, still"), finding(AREA, title="Also wrong"))
    assert len(world.threads) == 2
    await world.review(finding(AREA, category="security", title="Lets strangers in"))
    assert len(world.threads) == 3
    await world.review(finding(AREA, finding="new", title="And a fourth"))
    assert len(world.threads) == 4


async def test_the_second_review_is_about_what_changed_and_says_so(world: Reviewing) -> None:
    await world.review(finding(AREA))
    first = world.pull["head"]["sha"]
    world.push({"other.py": "x = 2\n"})
    await world.review(finding(1, path="other.py"))
    assert (world.scope.since, world.scope.changed_paths) == (first, ("other.py",))
    assert f"git diff {first[:12]} {world.pull['head']['sha'][:12]}" in world.text
    body = world.github.reviews[-1]["body"]
    assert f"Reviewed: what changed from {first[:7]} to {world.pull['head']['sha'][:7]} (1 file)" in body
    second = world.pull["head"]["sha"]
    world.push({"app.py": AFTER + "\n"})
    await world.review()
    assert world.scope.since == second
    assert (
        f"Looked again at {world.pull['head']['sha'][:7]}: no new finding, 2 still open."
        in (world.github.reviews[-1]["body"])
    )
    await world.review()
    assert world.scope.since == world.pull["head"]["sha"]
    assert world.github.reviews[-1]["body"].count("Looked again") == 1
    assert len(world.github.reviews) == 2


FIXED = {"app.py": AFTER.replace("width + height", "width * height")}


async def test_a_thread_whose_finding_is_fixed_ends(world: Reviewing) -> None:
    await world.review(finding(AREA), finding(HALF))
    world.push(FIXED)
    published = await world.review(finding(HALF))
    assert world.resolved == [BOT["login"], ""]
    assert published.detail == "no new finding, 1 still open, 1 resolved"


async def test_what_the_agent_has_verified_as_fixed_ends_although_its_line_stays(world: Reviewing) -> None:
    await world.review(finding(HALF))
    world.push({"app.py": AFTER.replace("total = 0", "total = 2")})
    await world.review({"finding": f"F{world.threads[0]['id']}", "outcome": "fixed", "explanation": "Divides by 2."})
    assert world.resolved == [BOT["login"]]


@pytest.mark.family(3)
@pytest.mark.parametrize(
    "hindrance", ["incomplete", "not looked at", "reply", "found again", "line stays", "stranger's marker", "asked"]
)
async def test_a_thread_stays_open_unless_all_is_known(world: Reviewing, hindrance: str) -> None:
    await world.review(finding(AREA))
    if hindrance == "line stays":
        world.push({"other.py": "x = 3\n"})
    else:
        world.push(FIXED)
    if hindrance == "reply":
        world.reply("stranger", "Are you sure?")
    if hindrance == "stranger's marker":
        world.threads[0]["user"] = world.github.accounts["stranger"]
    calls = [finding(AREA, finding=f"F{world.threads[0]['id']}")] if hindrance == "found again" else []
    await world.review(
        *calls,
        complete=hindrance != "incomplete",
        looked_at=() if hindrance == "not looked at" else ("app.py",),
        in_thread=7 if hindrance == "asked" else None,
    )
    assert world.resolved == [""]


async def test_a_push_during_the_review_ends_no_thread(world: Reviewing) -> None:
    await world.review(finding(AREA))
    world.push({"other.py": "x = 4\n"})
    await world.review()
    world.push(FIXED)
    world.report = replace(world.report, started="later")
    await world.publish()
    assert world.resolved == [""]


async def test_what_was_not_reviewed_is_reviewed_the_next_time(world: Reviewing) -> None:
    await world.review(finding(AREA), complete=False)
    assert "ended early" in world.github.reviews[0]["body"]
    await world.review()
    assert world.scope.since == ""


def dismiss(world: Reviewing, act: str, login: str) -> None:
    thread = world.threads[0]
    if act == "👎":
        world.github.vote(thread, login)
    elif act == "resolve":
        world.github.resolve(thread, login)
    else:
        world.reply(login, act)


@pytest.mark.family(1)
@pytest.mark.parametrize("act", ["Won’t fix: it is meant so.", "👎", "resolve"])
async def test_what_people_with_a_role_dismiss_is_not_raised_again(world: Reviewing, act: str) -> None:
    await world.review(finding(AREA), finding(HALF))
    dismiss(world, act, "mona")
    world.push({"app.py": LONG + AFTER})
    published = await world.review(finding(AREA + 200), finding(HALF + 200))
    assert len(world.threads) == 2
    assert published.detail == "no new finding, 1 still open, 1 dismissed"
    assert "mona dismissed this finding" in world.answers[0]
    assert [each.accepted for each in world.proposals] == [False, True]
    await world.review(finding(AREA + 200, finding=f"F{world.threads[0]['id']}"))
    assert len(world.threads) == 2


async def test_strangers_and_authors_without_a_role_dismiss_nothing(world: Reviewing) -> None:
    world.github.account("author", "triage")
    await world.review(finding(AREA))
    for login in ("stranger", "author"):
        for act in ("wontfix", "👎"):
            dismiss(world, act, login)
    assert (await world.review(finding(AREA))).detail == "no new finding, 1 still open"
    dismiss(world, "resolve", "author")
    assert (await world.review(finding(AREA))).detail == "no new finding, 1 still open"
    assert world.resolved == [""]
    dismiss(world, "resolve", "author")
    world.github.permissions["contents"] = "read"
    assert (await world.review(finding(AREA))).detail == "1 new finding (high)"


async def test_other_words_dismiss_nothing(world: Reviewing) -> None:
    await world.review(finding(AREA))
    for words in ("This won't fix it.", "> Won't fix\n\nWhy not?", "I will fix it", "Fixed."):
        world.reply("ada", words)
    assert (await world.review(finding(AREA))).detail == "no new finding, 1 still open"


async def test_a_missing_permission_is_named_once_and_fails_nothing(world: Reviewing) -> None:
    await world.review(finding(AREA), finding(HALF))
    world.push({"app.py": BEFORE})
    world.github.permissions = WRITES | {"contents": "read"}
    published = await world.review()
    assert world.resolved == ["", ""]
    assert published.state == "done"
    sentence = "2 threads whose finding is gone cannot be resolved: the job needs contents: write besides"
    assert published.detail.count(sentence) == 1
    assert len(world.notices) == 1


async def test_a_reply_that_convinces_the_agent_ends_the_thread(world: Reviewing) -> None:
    await world.review(finding(AREA), finding(HALF))
    identity = f"F{world.threads[0]['id']}"
    question = world.reply("ada", "/flue the sum is meant")
    call = {"finding": identity, "outcome": "withdrawn", "explanation": "So it is."}
    await world.review(call | {"finding": f"F{world.threads[1]['id']}"}, call, in_thread=question["id"])
    assert world.scope.asked_about == identity
    assert f"asked in the thread of finding {identity}" in world.text
    assert world.resolved == [BOT["login"], ""]
    assert len(world.github.reviews) == 1


async def test_publishing_again_doubles_nothing(world: Reviewing) -> None:
    first = await world.review(finding(AREA), finding(90))
    assert await world.publish() == first
    assert (len(world.threads), len(world.github.reviews)) == (1, 1)


async def test_a_finding_outside_of_the_diff_stands_in_the_review_itself(world: Reviewing) -> None:
    await world.review(finding(900), finding(900, title="Far away", body="Says `x`."))
    (review,) = world.github.reviews
    assert "#### Not on lines of the diff" in review["body"]
    assert "app.py#L900) **Far away**" in review["body"]
    assert world.threads == []
    await world.review(finding(900), finding(900, title="Far away"))
    assert len(world.github.reviews) == 1


async def test_a_head_that_was_replaced_is_a_refusal_and_no_failure(world: Reviewing) -> None:
    await world.review(finding(AREA))
    world.push({"app.py": AFTER + "\n\nx = 1\n"}, force=True)
    world.github.reviews.clear()
    world.github.lines.clear()
    published = await world.publish()
    assert published.state == "refused"
    assert "force-push" in published.detail


async def test_a_hundred_threads_cost_few_requests(world: Reviewing) -> None:
    world.push({"app.py": LONG + AFTER})
    await world.review(*(finding(line) for line in range(1, 11)))
    template = world.threads[0]
    for _ in range(90):
        copy = world.github.say_on_line(world.pull["number"], BOT["login"], template["body"], path="app.py")
        world.github.lines[-1] = template | {
            "id": copy["id"],
            "node_id": copy["node_id"],
            "line": 2,
            "original_line": 2,
        }
    world.push({"app.py": BEFORE})
    published = await world.review(finding(1, path="app.py"))
    assert published.detail.endswith("100 resolved")
    assert world.requests <= 12


async def test_a_merge_of_the_base_is_no_change_of_the_pull_request(world: Reviewing) -> None:
    await world.review(finding(2))
    (world.work / "other.py").write_text("of main\n")
    world.git("add", "other.py")
    world.git("-c", "maintenance.auto=false", "commit", "-q", "-m", "main moves on")
    world.git("push", "-q", "origin", "main")
    world.git("checkout", "-q", world.pull["head"]["sha"])
    world.git("merge", "-q", "--no-edit", "main")
    world.pull["head"]["sha"] = sha = world.git("rev-parse", "HEAD")
    world.git("push", "-q", "--force", "origin", f"{sha}:refs/pull/{world.pull['number']}/head")
    world.git("checkout", "-q", "main")
    await world.review(looked_at=("app.py",))
    assert world.scope.changed_paths == ()
    assert "these changed: no file." in world.text
    assert "(0 files)" in world.notes[0]
