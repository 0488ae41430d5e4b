"""Pages of runs for tests: a run with something in every part, a hostile text in every field, and a reader of pages."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from typing import Any, Literal, get_args, get_origin, get_type_hints

from flue_ci.report.page.render import render_page
from flue_ci.report.report import Report, Trigger
from flue_ci.safety.redact import Redactor
from tests.support.reports import FULL, PATCH

RUN = replace(
    FULL,
    trigger=Trigger(
        event="issue_comment.created",
        actor="ada",
        repo="ada/tools",
        number=7,
        run_url="https://github.com/ada/tools/actions/runs/9",
        url="https://github.com/ada/tools/pull/7#issuecomment-5",
    ),
)


def line(event: str, t: float = 0.0, **data: Any) -> str:
    """One line of a transcript."""
    return json.dumps({"v": 1, "t": t, "event": event, "data": data}) + "\n"


def turn(number: int, text: str, *calls: dict[str, Any], tokens: int = 1_000) -> str:
    usage = {"input_tokens": tokens, "output_tokens": 50, "cost_usd": 0.01}
    reply = {"text": text, "calls": list(calls), "usage": usage}
    return line("turn_ended", 2.0 * number, turn=number, reply=reply, total={"cost_usd": 0.01 * number})


def call(call_id: str, name: str = "bash", **arguments: Any) -> dict[str, Any]:
    return {"id": call_id, "name": name, "input": arguments, "raw": ""}


def result(call_id: str, content: str, *, is_error: bool = False, note: str = "exit code 0") -> str:
    answer = {"call_id": call_id, "content": content, "is_error": is_error, "seconds": 0.2, "note": note}
    return line("tool_ended", 3.0, call=call(call_id), result=answer)


def transcript(text: str = "") -> str:
    """A whole run; `text` is added to every text of it."""
    return "".join(
        [
            line("stage_started", stage="agent"),
            line("prompt", system=f"You are careful. {text}", prompt=f"Fix it. {text}", context=f"bob: please {text}"),
            line("turn_started", turn=1),
            turn(
                1,
                f"I look at the tests. {text}",
                call("c1", command=f"pytest -q {text}"),
                call("c2", "read", path=text),
            ),
            result("c1", f"1 failed {text}", is_error=True, note=f"exit code 1 {text}"),
            result("c2", f"     1\tdef parse {text}"),
            line("turn_started", 3.0, turn=2),
            turn(
                2, f"Now the parser. {text}", call("c3", f"edit{text}", path="src/parser.py", old="a", new=f"b\n{text}")
            ),
            result("c3", f"line 3 {text}"),
            line("notice", text=f"overloaded {text}"),
            line("turn_restarted", reason=f"broken {text}"),
            line("stage_ended", stage="agent", seconds=4.0),
            line("stage_started", stage=f"checks{text}"),
            line("command_started", kind="check", name=f"tests{text}", command=f"pytest -q {text}"),
            line("command_ended", kind="check", name=f"tests{text}", exit_code=0, timed_out=False, seconds=1.2),
        ]
    )


def page(report: Report = RUN, patch: bytes = PATCH, events: str | None = None, secrets: tuple[str, ...] = ()) -> str:
    """The page of a run, as text."""
    if events is None:
        events = transcript()
    return render_page(report, patch, io.BytesIO(events.encode()), Redactor(secrets))


def with_text(value: Any, text: str) -> Any:
    """`value` with `text` behind every text in it that is no word of ours."""
    if isinstance(value, str):
        return f"{value} {text}"
    if isinstance(value, dict):
        return {f"{key}{text}": with_text(item, text) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(with_text(item, text) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        hints = get_type_hints(type(value))
        return replace(
            value,
            **{
                field.name: with_text(getattr(value, field.name), text)
                for field in fields(value)
                if not any(get_origin(hint) is Literal for hint in (hints[field.name], *get_args(hints[field.name])))
            },
        )
    return value


def hostile_patch(text: str) -> bytes:
    """A patch with `text` in a name, in a hunk's head and in lines."""
    return (
        f"diff --git a/x{text}.py b/x{text}.py\n--- a/x{text}.py\n+++ b/x{text}.py\n@@ -1,1 +1,2 @@ def {text}\n"
        f" {text}\n-'{text}'\n+# {text}\n{text}\n"
    ).encode()


class ReadPage(HTMLParser):
    """What a page holds: its elements with their attributes, its text, its policy, and the hashes of its own code."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.policy = ""
        self.hashes: dict[str, str] = {}
        self._code = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append((tag, values))
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"] or ""
        self._code = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self._code = ""

    def handle_data(self, data: str) -> None:
        if self._code:
            digest = hashlib.sha256(data.encode()).digest()
            self.hashes[self._code] = f"'sha256-{base64.b64encode(digest).decode()}'"
        else:
            self.text += data
