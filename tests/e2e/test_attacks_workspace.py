"""Whole runs in which setup, the pull request's own code, or the agent prepares what others of us meet later."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import MakeFlow
from tests.e2e.flow import bash, say

SKILL = ".agents/skills/tidy/SKILL.md"
STRANGE = "mkdir -p ~/.flue/skills/tidy; echo THE STRANGER SAYS SO > ~/.flue/skills/tidy/SKILL.md"


@pytest.mark.family(1)
@pytest.mark.parametrize("e2b", [False, True], ids=["local", "e2b"])
def test_the_agent_reads_the_trusted_skills_whatever_setup_wrote(make_flow: MakeFlow, e2b: bool) -> None:
    flow = make_flow([bash("tail -n 1 ~/.flue/skills/tidy/SKILL.md > read.txt"), say("Read.")], e2b=e2b)
    (flow.repo / SKILL).parent.mkdir(parents=True)
    (flow.repo / SKILL).write_text("---\nname: tidy\ndescription: Be tidy.\n---\nTHE MAINTAINER SAYS SO\n")
    flow.spec(sandbox={"setup": [STRANGE]})
    flow.commit()
    assert flow.run().added("read.txt") == ["THE MAINTAINER SAYS SO"]


@pytest.mark.family(1)
@pytest.mark.parametrize("e2b", [False, True], ids=["local", "e2b"])
def test_a_repository_inside_is_left_out_with_a_note_and_the_work_stays(make_flow: MakeFlow, e2b: bool) -> None:
    work = "git init -q inner; git -C inner config core.fsmonitor 'touch /tmp/ran'; echo x > inner/x; echo 1 > log.txt"
    flow = make_flow([bash(work), say("Done.")], e2b=e2b)
    flow.spec(checks=[{"name": "lint", "run": "false"}])
    flow.commit()
    ended = flow.run()
    assert ended.report.conclusion == "failed"
    assert [file.path for file in ended.report.changes.files] == ["log.txt"]
    assert any(note.startswith("inner: left out of the changes") for note in ended.report.notes)
