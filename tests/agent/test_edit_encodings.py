"""What a model does not see of a file (encoding, marks, line ends, mode) stays, or the model is told that it cannot."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flue_ci.agent.tools.files import Edit, Read, Write
from flue_ci.agent.tools.text_format import check_encoding, keep_format
from flue_ci.agent.tools.tool import ToolContext, ToolError
from flue_ci.agent.tools.toolbox import Toolbox
from flue_ci.core.ports import ExecResult, Sandbox
from flue_ci.sandboxes.e2b.user_files import _raise_problem
from tests.support.repos import Altered, open_box
from tests.support.scripted import call


@pytest.mark.parametrize(
    ("data", "new"),
    [
        ("ä\n".encode("utf-16"), "x"),
        (b"\xfe\xff\0a", "x"),
        ("text\n".encode("utf-16-be"), "x"),
        ("text\n".encode("utf-32"), "x"),
        ("Grüße\n".encode("latin-1"), "Größe"),
    ],
)
def test_the_model_is_told_what_an_edit_cannot_write(data: bytes, new: str) -> None:
    with pytest.raises(ToolError, match="Use bash"):
        check_encoding(data, new)


@pytest.mark.parametrize(
    ("data", "new"),
    [
        ("Grüße".encode(), "Größe"),
        (b"\xef\xbb\xbfa", "ä"),
        ("ä".encode()[:1], "ä"),
        (b"\x89PNG\0\xff\x01", "ä"),
        ("Grüße".encode("latin-1"), "x"),
        (b"", "ä"),
    ],
)
def test_other_edits_are_made(data: bytes, new: str) -> None:
    check_encoding(data, new)


KEEPS = {
    "LF": (b"a\nb\n", "x\n", b"x\n"),
    "CRLF": (b"a\r\nb\r\n", "x\ny\n", b"x\r\ny\r\n"),
    "CRLF already": (b"a\r\nb\r\n", "x\r\ny\r\n", b"x\r\ny\r\n"),
    "CRLF in part": (b"a\r\nb\r\n", "x\r\ny\n", b"x\r\ny\r\n"),
    "CRLF asked for": (b"a\nb\n", "x\r\ny\r\n", b"x\r\ny\r\n"),
    "mixed": (b"a\r\nb\nc\r\n", "a\nb\nnew\nc\n", b"a\r\nb\nnew\r\nc\r\n"),
    "mark": (b"\xef\xbb\xbfa\n", "x\n", b"\xef\xbb\xbfx\n"),
    "mark and CRLF": (b"\xef\xbb\xbfa\r\n", "a\nx\n", b"\xef\xbb\xbfa\r\nx\r\n"),
    "mark given": (b"\xef\xbb\xbfa\n", "\ufeffx\n", b"\xef\xbb\xbfx\n"),
    "no final line end": (b"a\nb", "x\ny\n", b"x\ny"),
    "no final CRLF": (b"a\r\nb", "x\ny\n", b"x\r\ny"),
    "final line end": (b"a\nb\n", "x\ny", b"x\ny\n"),
    "final CRLF": (b"a\r\n", "x", b"x\r\n"),
    "latin-1": ("ä\r\n".encode("latin-1"), "x\n", b"x\r\n"),
    "binary": (b"\x89PNG\r\n\0\0\r\n", "x\ny", b"x\ny"),
    "empty": (b"", "x\n", b"x\n"),
    "emptied": (b"a\r\n", "", b""),
    "carriage returns": (b"a\rb\rc\n", "x\ny\n", b"x\ny\n"),
}


@pytest.mark.parametrize(("old", "content", "result"), KEEPS.values(), ids=KEEPS)
def test_a_whole_new_content_keeps_the_format_of_the_file(old: bytes, content: str, result: bytes) -> None:
    text, notes = keep_format(old, content, last=old[-1:])
    assert text.encode() == result
    assert bool(notes) == (text != content)


@pytest.fixture(params=["plain", "e2b"])
async def box(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with open_box(request.param, tmp_path) as box:
        yield box


async def test_write_keeps_the_file_that_was_there_seen_or_not(box: Sandbox) -> None:
    setup = (
        "printf 'one\\r\\ntwo\\r\\n' > crlf; printf '\\xef\\xbb\\xbfone' > mark; chmod 750 crlf;"
        "ln -s crlf link; ln crlf hard;"
        " printf '\\xff\\xfeo\\0' > wide; mkdir d; mkfifo pipe; ln -s d/new dangling"
    )
    await box.exec(setup, timeout=20)
    context = ToolContext(sandbox=box, workdir=box.info.home, command_seconds=30)

    async def write(path: str, content: str) -> str:
        return (await Write().call({"path": path, "content": content}, context)).text

    assert await write("link", "three\n") == "Wrote 1 line, 7 B. As in the file before: CRLF line ends."
    assert await box.read("crlf") == b"three\r\n"
    await Read().call({"path": "crlf"}, context)
    assert "CRLF" in await write("crlf", "four\nfive\n")
    assert await box.read("hard") == b"four\r\nfive\r\n"
    assert "byte order mark" in await write("mark", "two\n")
    assert await box.read("mark") == b"\xef\xbb\xbftwo"
    await Edit().call({"path": "mark", "old": "\ufefftwo", "new": "three"}, context)
    assert await box.read("mark") == b"\xef\xbb\xbfthree"
    with pytest.raises(ToolError, match="UTF-16"):
        await write("wide", "x\n")
    for path, error in (("d", IsADirectoryError), ("pipe", PermissionError)):
        with pytest.raises(error):
            await write(path, "x\n")
    assert await write("new/file", "x\n" * 40_000) == "Wrote 40,000 lines, 80.0 KB."
    assert await write("dangling", "x") == "Wrote 0 lines, 1 B."
    result = await box.exec("stat -c %a crlf; readlink link; cat d/new; ls -A . d | grep -c flue-", timeout=20)
    assert result.output == b"750\ncrlf\nx0\n"
    await Edit().call({"path": "hard", "old": "four", "new": "4"}, context)
    assert await box.read("crlf") == b"4\r\nfive\r\n"


async def test_write_of_an_unseen_file_of_plain_lines_is_one_request(box: Sandbox) -> None:
    await box.exec(
        "printf 'a\\n' > a; chmod 750 a; ln a hard; ln -s a link; printf 'a\\n\\303\\244\\n' > other", timeout=20
    )
    requests: list[str] = []

    class Counted(Altered):
        async def exec(self, command: str, **options: object) -> ExecResult:
            requests.append(command)
            return await super().exec(command, **options)

        async def put(self, path: str, data: bytes | Path, *, user: str = "user") -> None:
            requests.append(path)
            await box.write(path, data)

    counted = Counted(box, "")
    counted.write = counted.put  # type: ignore[assignment]
    numbers = []
    for path in ("a", "link", "new", "other"):
        requests.clear()
        context = ToolContext(sandbox=counted, workdir=box.info.home, command_seconds=30)
        await Write().call({"path": path, "content": f"of {path}\n"}, context)
        numbers.append(len(requests))
    assert numbers == [1, 1, 1, 2]
    result = await box.exec("cat a hard link new other; stat -c %a a; readlink link; ls -A | grep flue-", timeout=20)
    assert result.output == b"of link\nof link\nof link\nof new\nof other\n750\na\n"


async def test_a_full_disk_is_the_models_to_know_and_no_end_of_the_run(tmp_path: Path) -> None:
    async with open_box("e2b", tmp_path) as box:
        mount = f"mkdir -p {box.info.home}/d && mount -t tmpfs -o size=64k,mode=777 tmpfs {box.info.home}/d"
        if (await box.exec(mount, timeout=20, user="root")).exit_code:
            pytest.skip("nothing can be mounted here")
        tools = Toolbox([Write(), Edit()], ToolContext(sandbox=box, workdir=box.info.home, command_seconds=30))
        calls = [call("write", "1", path="d/first", content="x\n" * 20_000)]
        calls.append(call("write", "2", path="d/second", content="x\n" * 20_000))
        calls.append(call("edit", "3", path="d/first", old="x\nx\n", new="xyx\n" * 2, all=True))
        (first, second, third), _ = await tools.run(calls, lambda event: None)
        assert not first.is_error
        assert second.content == "'d/second' cannot be opened: no space left on device."
        assert "No space left" in third.content
        assert (await box.exec("ls -A d; wc -c < d/first", timeout=20)).output == b"first\n40000\n"
        await box.exec(f"umount {box.info.home}/d", timeout=20, user="root")


@pytest.mark.parametrize("words", ["No space left on device", "Disk quota exceeded", "Input/output error"])
def test_what_a_disk_refuses_is_no_loss_of_the_sandbox(words: str) -> None:
    with pytest.raises(PermissionError, match=words):
        _raise_problem("problem", f"/bin/mv: cannot write 'x': {words}", "x")
