"""A patch that would carry a secret out of the run is not kept; one that only stands beside such words is."""

from __future__ import annotations

import pytest

from flue_ci.report.report import OtherChanges
from tests.e2e.conftest import MakeFlow
from tests.e2e.flow import CANARIES, assert_ended, bash, say

LEAKS = {
    "in a line": "echo $DEPLOY_TOKEN > notes.txt",
    "in a name": "touch $DEPLOY_TOKEN",
    "encoded": "printf %s $DEPLOY_TOKEN | base64 > notes.txt",
    "in a binary file": "printf '\\0%s' $DEPLOY_TOKEN > notes.bin",
    "in a patch that is refused for another reason": "echo $DEPLOY_TOKEN > notes.txt; ln -s /etc/passwd link",
}


@pytest.mark.family(2)
@pytest.mark.parametrize("command", LEAKS.values(), ids=LEAKS.keys())
def test_a_patch_with_a_secret_is_withheld(make_flow: MakeFlow, command: str) -> None:
    flow = make_flow([bash(command), say("Done.")])
    flow.spec(sandbox={"secrets": ["DEPLOY_TOKEN"]})
    ended = flow.run()
    assert_ended(ended, "failed", 1, reason="the patch is withheld", stage="collect", hint="writes its environment")
    assert ended.patch == ""
    assert "is kept in" not in (flow.out / "report.md").read_text()


@pytest.mark.family(1)
@pytest.mark.parametrize("name", ["a\nb.bin", "a.bin\r"])
def test_a_binary_file_of_an_odd_name_is_looked_at_too(make_flow: MakeFlow, name: str) -> None:
    flow = make_flow([bash("for file in a*; do printf '\\0%s' $DEPLOY_TOKEN > \"$file\"; done"), say("Done.")])
    (flow.repo / name).write_bytes(b"\0")
    flow.spec(sandbox={"secrets": ["DEPLOY_TOKEN"]})
    flow.commit()
    assert_ended(
        flow.run(), "failed", 1, reason="the patch is withheld", stage="collect", hint="writes its environment"
    )


def test_other_branches_are_kept_beside_the_patch_without_those_that_hold_a_secret(make_flow: MakeFlow) -> None:
    save = "git add -A; git commit -qm x; git switch -qc"
    command = f"git switch -qc one; echo 1 > one; {save} two HEAD~1; echo $DEPLOY_TOKEN > two; {save} main-2 HEAD~1"
    flow = make_flow([bash(command), say("Done.")])
    flow.spec(sandbox={"secrets": ["DEPLOY_TOKEN"]})
    flow.commit()
    flow.out.mkdir()
    (flow.out / "changes-former-run.patch").write_text("old")
    ended = flow.run()
    [work] = ended.report.changes.other_work
    assert work == OtherChanges(label="branch one", patch="changes-one.patch", files=1, added=1)
    assert [path.name for path in flow.out.glob("*.patch")] == ["changes-one.patch"]
    assert "+++ b/one" in (flow.out / "changes-one.patch").read_text()
    text = (flow.out / "report.md").read_text()
    assert "no check has run on it" in text and "branch two" in text


def test_a_word_that_was_there_or_that_no_run_handles_withholds_nothing(make_flow: MakeFlow) -> None:
    flow = make_flow([bash("echo more-postgres >> db.txt; echo more >> old.txt"), say("Done.")])
    (flow.repo / "db.txt").write_text("postgres\n")
    (flow.repo / "old.txt").write_text(f"an example: {CANARIES['DEPLOY_TOKEN']}\n")
    flow.environment["POSTGRES_PASSWORD"] = "postgres"
    flow.spec(sandbox={"secrets": ["DEPLOY_TOKEN"]})
    flow.commit()
    process = flow.start()
    assert flow.wait(process) == 0, flow.said("stderr")
    assert "+more-postgres" in (flow.out / "changes.patch").read_text()
    assert "DEPLOY" not in "".join(flow.secrets_in((flow.out / "report.md").read_bytes()))


def test_no_secret_is_told_in_pieces_or_in_disguise(make_flow: MakeFlow) -> None:
    secret = "canary_en*with_under_scores"
    flow = make_flow([bash(f"echo {'y' * 85} {secret}"), say(f"It was {secret}.")])
    flow.environment["DEPLOY_TOKEN"] = secret
    flow.spec(
        sandbox={"secrets": ["DEPLOY_TOKEN"]},
        checks=[{"name": "tests", "run": "printf ${DEPLOY_TOKEN%_under*}; sleep 0.3; echo _under_scores; false"}],
    )
    ended = flow.run()
    told = [ended.out, ended.err, *(path.read_text() for path in flow.out.iterdir())]
    assert not any("canary_en" in text or "canary\\_en" in text for text in told)
    assert "***" in ended.err


def test_a_patch_with_what_looks_like_a_key_is_kept_flagged_and_masked_where_it_is_shown(make_flow: MakeFlow) -> None:
    key = "AKIA" + "IOSFODNN7EXAMPLE"
    flow = make_flow([bash(f"echo {key} > config.txt"), say("Done.")])
    ended = flow.run()
    assert_ended(ended, "success", 0)
    assert key in ended.patch
    assert any("AWS key id" in note for note in ended.report.notes)
    shown = (flow.out / "report.md").read_text()
    assert key not in shown
    assert "***" in shown
