"""How a text file is written: its encoding, byte order mark and line ends, which a model does not see. What it writes
keeps them, or it is told that this cannot be done. Pure.
"""

import codecs

from flue_ci.agent.tools.tool import ToolError

BOM = "\ufeff"
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)  # UTF-32 LE begins like UTF-16 LE
_SAMPLE = 4_096


def check_encoding(data: bytes, text: str, *, tool: str = "edit", argument: str = "new") -> None:
    """Raises `ToolError` where `text`, written in UTF-8, would damage a file that holds `data` (or that as its
    beginning), which is in another encoding."""
    if _is_utf_16(data):
        raise ToolError(
            f"The file is in UTF-16, which `{tool}` cannot write. Use bash: python with that encoding; or delete it."
        )
    if text.isascii() or _is_binary(data):
        return
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        raise ToolError(
            f"The file is not in UTF-8, and `{argument}` has letters that are not ASCII: they would be in another "
            "encoding than the rest. Use bash: python with the encoding of the file."
        ) from None


def keep_format(old: bytes, content: str, *, last: bytes) -> tuple[str, list[str]]:
    """`content` as it is to be written over a text file that holds `old` (or that as its beginning) and ends in the
    byte `last`; and what it got from that file, in words."""
    if not old or not content or _is_binary(old):
        return content, []
    notes = []
    text = old.decode("utf-8", "surrogateescape")
    if last == b"\n" and not content.endswith("\n"):
        content += "\n"
        notes.append("a line end at the end")
    elif last != b"\n" and content.endswith("\n"):
        content = content.removesuffix("\n").removesuffix("\r")
        notes.append("no line end at the end")
    result = _with_line_ends(text.removeprefix(BOM), content)
    if result != content:
        notes.append("CRLF line ends")
    if text.startswith(BOM) and not result.startswith(BOM):
        result = BOM + result
        notes.append("the byte order mark")
    return result, notes


def _with_line_ends(old: str, content: str) -> str:
    """The line ends of the old text: CRLF where all of its lines have it; in a mixed one, each line keeps its own, and
    new lines get that of most. A text that has CRLF itself knows what it does."""
    lines = old.split("\n")[:-1]
    crlf = sum(line.endswith("\r") for line in lines)
    if crlf == 0:
        return content
    if crlf == len(lines):
        return content.replace("\r\n", "\n").replace("\n", "\r\n")
    if "\r\n" in content:
        return content
    own = {line.removesuffix("\r"): line.endswith("\r") for line in lines}
    pieces = content.split("\n")
    whole = [f"{line}\r" if own.get(line, 2 * crlf > len(lines)) else line for line in pieces[:-1]]
    return "\n".join([*whole, pieces[-1]])


def _is_utf_16(data: bytes) -> bool:
    """By its mark, or because every other byte of an ASCII text is 0."""
    if data.startswith(_UTF_16):
        return True
    sample = data[: _SAMPLE & -2]
    even, odd = sample[::2], sample[1::2]
    return len(odd) > 1 and any(
        zeros.count(0) > 0.9 * len(zeros) and not letters.count(0) for zeros, letters in ((even, odd), (odd, even))
    )


def _is_binary(data: bytes) -> bool:
    return b"\0" in data[:8_192]
