"""A file of another encoding than UTF-8 is not damaged by an edit."""

from __future__ import annotations

import pytest

from flue_ci.agent.tools.files import _check_encoding
from flue_ci.agent.tools.tool import ToolError


@pytest.mark.parametrize(
    ("data", "new"), [("ä\n".encode("utf-16"), "x"), (b"\xfe\xff\0a", "x"), ("Grüße\n".encode("latin-1"), "Größe")]
)
def test_the_model_is_told_what_an_edit_cannot_write(data: bytes, new: str) -> None:
    with pytest.raises(ToolError, match="Use bash"):
        _check_encoding(data, new)


@pytest.mark.parametrize(
    ("data", "new"),
    [("Grüße".encode(), "Größe"), (b"\xef\xbb\xbfa", "ä"), ("Grüße".encode("latin-1"), "x"), (b"", "ä")],
)
def test_other_edits_are_made(data: bytes, new: str) -> None:
    _check_encoding(data, new)
