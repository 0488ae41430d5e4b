"""How actions/runner reads a step's output, written anew after its ActionCommand.cs and ActionCommandManager.cs, and
lines that it takes for commands, or nearly."""

from __future__ import annotations

import re
import unicodedata

from hypothesis import strategies as st

COMMANDS = ["add-mask", "add-matcher", "add-path", "debug", "echo", "endgroup", "error", "group"]
COMMANDS += ["internal-set-repo-path", "notice", "remove-matcher", "save-state", "set-env", "set-output"]
COMMANDS += ["stop-commands", "warning"]
# Every white space and every character that a comparison of texts passes over, at the beginning and inside.
GAPS = [
    "",
    " ",
    "\t",
    "\v",
    "\f",
    "\r",
    "\n",
    "\0",
    "\x1b[0m",
    "\xa0",
    "\x85",
    "\xad",
    "\u180e",
    "\u200b",
    "\u2028",
    "\u3000",
]
GAPS += ["\ufeff", "\u2060", "\u202e", "\ud800"]


class Runner:
    """actions/runner as far as it reads a step's output: `ActionCommand.TryParseV2` and `TryParse`, then
    `ActionCommandManager.TryProcessCommand`."""

    def __init__(self) -> None:
        self.executed: list[tuple[str, str]] = []
        self.shown: list[str] = []
        self._token = ""

    def read(self, output: str) -> Runner:
        for line in re.split(r"\r\n|\r|\n", output)[:-1]:  # StreamReader.ReadLine
            name, data = self._parse(line)
            if not name or (self._token and name.lower() != self._token):
                self.shown.append(line)
            elif self._token:
                self._token = ""
                self.shown.append(line)
            elif name.lower() == "stop-commands":
                self._token = data.lower()
                self.shown.append(line)
            else:
                self.executed.append((name, data))
        return self

    def _parse(self, line: str) -> tuple[str, str]:
        return self._parse_colons(line) or self._parse_brackets(line) or ("", "")

    def _parse_colons(self, line: str) -> tuple[str, str] | None:
        line = line.lstrip()  # of Python, which takes more for white space than .NET does
        end = line.find("::", 2)
        if not line.startswith("::") or end < 0:
            return None
        return self._command(line[2:end], line[end + 2 :])

    def _parse_brackets(self, line: str) -> tuple[str, str] | None:
        start = line.find("##[")
        end = line.find("]", start)
        if start < 0 or end < 0:
            return None
        return self._command(line[start + 3 : end], line[end + 1 :])

    def _command(self, words: str, data: str) -> tuple[str, str] | None:
        name = words.split(" ", maxsplit=1)[0]
        if name.lower() in (*COMMANDS, self._token or None):
            return name, data
        return None


class CarelessRunner(Runner):
    """One that passes over what is not seen, as .NET does when it compares texts, and knows every command."""

    def _parse(self, line: str) -> tuple[str, str]:
        seen = (char for char in line if char == "\t" or unicodedata.category(char) not in ("Cc", "Cf", "Mn"))
        return super()._parse("".join(seen))

    def _command(self, words: str, data: str) -> tuple[str, str] | None:
        return (words or " ", data) if re.match(r"[\w ]", words or " ") else None


def command_lines() -> st.SearchStrategy[str]:
    """Lines that are commands, or nearly."""
    gap, name = st.sampled_from(GAPS), st.sampled_from(COMMANDS) | st.sampled_from([each.upper() for each in COMMANDS])
    forms = ["{0}::{1}{2}::x", "{0}::{1} name=a{2}::x", "{0}:{2}:{1}::x", "a{0}##[{1}]x", "{0}#{2}#[{1} a=b;]x"]
    forms += [
        "{0}:::{1}::x",
        "x{0}\n{2}::{1}::x",
        "##[##[{1}]x",
        "::{0}::{1}::",
        "##[x{2}]##[{1}]",
        "::stop-commands::t",
    ]
    return st.builds(str.format, st.sampled_from(forms), gap, name, gap)
