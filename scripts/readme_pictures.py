"""Makes the pictures of the README from real output: `python -m scripts.readme_pictures`.

The comment is what the action posts when somebody asks for the demo's agent on a pull request; GitHub, the model and
E2B are the tests' servers. Terminal and page are those of `flue-ci demo`. Needs the development requirements, Chromium,
and fonts with emoji (Debian's fonts-noto-color-emoji).
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from contextlib import suppress
from pathlib import Path
from typing import Literal

from playwright.sync_api import ViewportSize, sync_playwright
from rich.console import Console
from rich.text import Text

from scripts.comment_pictures import html_page
from tests.e2e.job import Job
from tests.support.e2b_server import E2BServer
from tests.support.github_server import GitHubServer
from tests.support.messages_script import Turn, text, tool
from tests.support.messages_server import MessagesServer

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / ".github" / "pictures"
DEMO = ROOT / "flue_ci" / "demo"
COLUMNS = 100
VIEWPORT: ViewportSize = {"width": 860, "height": 400}
THEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")
_CONTROL = re.compile(r"\x1b\[(\?25[lh]|2K|\d*A)")


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    body = comment()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        (PICTURES / "terminal.svg").write_text(terminal(Path(folder)), encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for theme in THEMES:
            page = browser.new_page(viewport=VIEWPORT, device_scale_factor=1.5, color_scheme=theme)
            page.set_content(html_page(body, theme))
            page.screenshot(path=PICTURES / f"comment-{theme}.png", full_page=True)
            page.set_viewport_size({"width": 1100, "height": 900})
            page.goto((Path(folder) / "demo-run" / "report.html").as_uri())
            page.screenshot(path=PICTURES / f"page-{theme}.png")


def comment() -> str:
    """The comment that answers "/flue fix-tests" on a pull request that brings the demo's code."""
    lines = (DEMO / "recording.jsonl").read_text(encoding="utf-8").splitlines()
    replies = [json.loads(line)["reply"] for line in lines if "reply" in line]
    script = [
        Turn(
            blocks=[
                *([text(reply["text"])] if reply["text"] else []),
                *(tool(call["name"], call["input"]) for call in reply.get("calls", ())),
            ]
        )
        for reply in replies
    ]
    files = {path.name: path.read_text(encoding="utf-8") for path in (DEMO / "repo").iterdir() if path.is_file()}
    spec = (DEMO / "fix-tests.yml").read_text(encoding="utf-8") + "\ntriggers: {comment: fix-tests}\n"
    with (
        tempfile.TemporaryDirectory() as folder,
        GitHubServer(Path(folder)) as github,
        MessagesServer(script) as model,
        E2BServer() as e2b,
    ):
        job = Job(github=github, model=model, e2b=e2b, home=Path(folder), cold=True)
        work = github.repo("ada/slugs", {"README.md": files.pop("README.md"), ".flue/agents/fix-tests.yml": spec})
        pull = github.pull(work, files)
        request = github.say(pull["number"], "mona", "/flue fix-tests")
        environ = github.env("issue_comment", github.commented(pull, request))
        done = job.act(environ)
        assert done.code == 0, done.log
        artifact = {
            "FLUE_CI_REPORT_PATH": done.outputs["report-path"],
            "FLUE_CI_ARTIFACT_URL": f"{github.url}/ada/slugs/actions/runs/7/artifacts/1",
        }
        job.run(["action", "--link-artifact"], environ | artifact)
        body: str = github.ours()[-1]["body"]
    return body.replace(github.url, "https://github.com").replace(f"{github.url.removeprefix('http://')}/", "")


def terminal(folder: Path) -> str:
    """`flue-ci demo` at a terminal, as SVG; its report is then in `demo-run` of the folder."""
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        for line in screen(output([sys.executable, "-m", "flue_ci", "demo", "--out", "demo-run"], folder)):
            console.print(Text.from_ansi(line))
    svg = console.export_svg(title="flue-ci demo")
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # which lie on another server
    return re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE)


def output(command: list[str], folder: Path) -> str:
    """What a command shows at a terminal, with its control sequences; the folder is its home, too."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 60, COLUMNS, 0, 0))
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, env=environ)
    os.close(theirs)
    data = b""
    with suppress(OSError):  # the other end is closed
        while part := os.read(ours, 65_536):
            data += part
    assert process.wait() == 0, data.decode()
    return data.decode()


def screen(data: str) -> list[str]:
    """The lines that stay, with their colours. Knows what rich uses: lines that are cleared, and upwards."""
    lines, row = [""], 0
    for part in re.split(r"(\x1b\[(?:\?25[lh]|2K|\d*A)|\r?\n|\r)", data):
        if part.endswith("\n"):
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part == "\x1b[2K":
            lines[row] = ""
        elif _CONTROL.fullmatch(part):
            row -= int(part[2:-1] or 1) if part.endswith("A") else 0
        elif part != "\r":
            lines[row] += part
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


if __name__ == "__main__":
    main()
