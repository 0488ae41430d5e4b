"""Links to files at a commit lead to nothing but that commit."""

from __future__ import annotations

import pytest

from flue_ci.report.links import Commit


@pytest.mark.parametrize("path", ["../../../../eve/evil/blob/main/x", "src/../../x", "./x"])
def test_a_path_of_dots_leads_to_the_commit_alone(path: str) -> None:
    commit = Commit(url="https://github.com/ada/tools", sha="a" * 40)
    assert commit.blob_url(path, "3") == f"https://github.com/ada/tools/commit/{'a' * 40}"
    assert commit.blob_url("src/..x/y.py", "3") == f"https://github.com/ada/tools/blob/{'a' * 40}/src/..x/y.py#L3"
