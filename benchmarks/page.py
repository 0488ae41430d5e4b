"""What the page of a large run costs: 400 turns with 800 calls and a diff of 10,000 lines, to first paint in Chromium.

    python -m benchmarks.page [--keep FOLDER]

Prints the processor time that making it takes, its size, the memory, and what a browser says of the first paint. The
limits are 2 s, 5 MB and 3 s.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from flue_ci.core.messages import Usage
from flue_ci.report.folder import write_page
from flue_ci.safety.redact import Redactor
from tests.support.reports import report

TURNS = 400
FILES, LINES = 40, 250
CODE = '    total = sum(price * count for price, count in basket.items() if count > 0)  # "of {number}"'


def events() -> list[dict[str, object]]:
    """The transcript: two calls a turn, each with an output of 60 lines."""
    total, result, seconds = Usage(cost_usd=0.0), [], 0.0
    output = "\n".join(f"tests/test_basket.py::test_price[{line}] PASSED" for line in range(60))
    for turn in range(1, TURNS + 1):
        usage = Usage(
            turns=1, input_tokens=900, output_tokens=300 + turn % 90, cache_read_tokens=turn * 400, cost_usd=0.01
        )
        total += usage
        calls = [
            {"id": f"{turn}-{place}", "name": "bash", "input": {"command": f"pytest -q -k price_{turn}"}, "raw": ""}
            for place in range(2)
        ]
        reply = {"text": f"Step {turn}: the next module.", "calls": calls, "usage": asdict(usage)}
        result.append({"t": seconds, "event": "turn_started", "data": {"turn": turn}})
        data = {"turn": turn, "reply": reply, "total": asdict(total)}
        result.append({"t": seconds + 4.0, "event": "turn_ended", "data": data})
        for call in calls:
            answer = {
                "call_id": call["id"],
                "content": output,
                "is_error": turn % 7 == 0,
                "seconds": 1.5,
                "note": "done",
            }
            result.append({"t": seconds + 6.0, "event": "tool_ended", "data": {"call": call, "result": answer}})
        seconds += 6.0
    return result


def patch() -> bytes:
    """A change of 10,000 lines in 40 files of Python."""
    parts = []
    for number in range(FILES):
        name = f"shop/module_{number}.py"
        parts.append(
            f"diff --git a/{name} b/{name}\n--- a/{name}\n+++ b/{name}\n@@ -1,{LINES} +1,{LINES} @@ def price():"
        )
        parts += [" +-"[line % 3] + CODE.format(number=line) for line in range(LINES)]
    return ("\n".join(parts) + "\n").encode()


def first_paint(page: Path) -> float:
    """Milliseconds, as the browser measures them."""
    from playwright.sync_api import sync_playwright

    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.goto(page.as_uri())
        tab.wait_for_timeout(500)
        milliseconds: float = tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        browser.close()
    return milliseconds


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep", type=Path)
    folder = parser.parse_args().keep or Path(tempfile.mkdtemp(prefix="flue-ci-page-"))
    folder.mkdir(exist_ok=True)
    (folder / "transcript.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events()))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    page = write_page(folder, report(), patch(), Redactor(["hunter2hunter2"]))
    seconds, size = time.process_time() - start, page.stat().st_size
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    paint = first_paint(page)
    print(f"made in {seconds:.2f} s, {size / 1e6:.2f} MB, {memory / 1000:.0f} MB of memory, first paint {paint:.0f} ms")
    return int(seconds > 2 or size > 5_000_000 or paint > 3_000)


if __name__ == "__main__":
    sys.exit(main())
