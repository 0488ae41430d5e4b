"""How long a repository takes into a local sandbox, and a one-line change out of it, next to `git clone --depth 1`.

`python -m benchmarks.repository [--quick] [--rounds N] [--cache DIR] [--against DIR]`. Rounds alternate, also with
those of another commit, which is checked out at DIR, and nothing is deleted before the end: ext4 creates files several
times more slowly for minutes after many were removed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flue_ci.core.ports import Network, SandboxRequest
from flue_ci.git.source import open_checkout
from flue_ci.sandboxes.local.provider import LocalProvider
from flue_ci.workspace.collect import collect
from flue_ci.workspace.upload import upload

SMALL = ("3,000 files, 6 MB", 3_000, 6_000_000)
LARGE = ("50,000 files, 390 MB", 50_000, 390_000_000)
REQUEST = SandboxRequest(env={}, metadata={"flue-ci": "1", "run": "benchmark"}, network=Network())
COUNTS = ("requests in", "MB in", "requests out")
Timings = dict[str, list[float]]


def make_repository(path: Path, files: int, size: int) -> Path:
    """A packed checkout with one commit of `files` files of words; what is there already is used again."""
    if (path / "ready").exists():
        return path / "repo"
    shutil.rmtree(path, ignore_errors=True)
    repo = path / "repo"
    repo.mkdir(parents=True)
    git(repo, "init", "-q", "--initial-branch=main")
    importer = subprocess.Popen(["git", "fast-import", "--quiet"], cwd=repo, stdin=subprocess.PIPE)
    assert importer.stdin
    write = importer.stdin.write
    rng = random.Random(1)
    words = [bytes(rng.choices(b"abcdefghijklmnopqrstuvwxyz_", k=rng.randint(2, 10))) for _ in range(5_000)]
    write(b"commit refs/heads/main\ncommitter a <a@example.com> 1700000000 +0000\ndata 4\nbase\n")
    for number in range(files):
        text = bytearray()
        while len(text) < size // files:
            text += b" ".join(rng.choices(words, k=8)) + b"\n"
        name = b"src/d%d/e%d/f%d.txt" % (number % 40, number // 40 % 50, number)
        write(b"M 100644 inline " + name + b"\ndata %d\n" % len(text) + text + b"\n")
    importer.stdin.close()
    assert importer.wait() == 0
    git(repo, "reset", "-q", "--hard", "main")
    (path / "ready").touch()
    return repo


def git(where: Path, *args: str) -> None:
    subprocess.run(["git", *args], cwd=where, check=True)


class Counter:
    """A sandbox whose requests and bytes, in both directions, are counted."""

    def __init__(self, box: Any) -> None:
        self._box = box
        self.requests = self.size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._box, name)

    async def exec(self, command: str, **options: Any) -> Any:
        result = await self._box.exec(command, **options)
        self.count(len(command) + len(result.output))
        return result

    async def write(self, path: str, data: bytes | Path, **options: Any) -> None:
        await self._box.write(path, data, **options)
        self.count(len(data) if isinstance(data, bytes) else data.stat().st_size)

    async def read(self, path: str, **options: Any) -> bytes:
        data: bytes = await self._box.read(path, **options)
        self.count(len(data))
        return data

    def count(self, size: int) -> None:
        self.requests += 1
        self.size += size


async def measure(repo: Path, work: Path, timings: Timings) -> None:
    """One round: ours in and out, then git's clone."""
    box: Any = Counter(await LocalProvider(directory=work).open(REQUEST, lambda event: None))
    scratch = Path(tempfile.mkdtemp(dir=work))
    lap = stopwatch(timings)
    source = await open_checkout(repo, history=50, scratch=scratch)
    lap("open")
    workspace = await upload(source, box)
    lap("upload")
    timings["requests in"].append(box.requests)
    timings["MB in"].append(box.size / 1e6)
    box.requests = 0
    await box.exec("echo 'one more line' >> src/d0/e0/f0.txt", timeout=60, cwd=workspace.root)
    lap("")
    changes = await collect(workspace, source, box)
    lap("out")
    timings["requests out"].append(box.requests - 1)
    assert [(file.path, file.added) for file in changes.files] == [("src/d0/e0/f0.txt", 1)]
    timings["in"].append(timings["open"][-1] + timings["upload"][-1])
    lap("")
    await asyncio.to_thread(git, work, "clone", "-q", "--depth", "1", f"file://{repo}", tempfile.mkdtemp(dir=work))
    lap("clone")


def stopwatch(timings: Timings) -> Callable[[str], None]:
    last = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal last
        now = time.perf_counter()
        if name:
            timings[name].append(now - last)
        last = now

    return lap


def measure_other(other: Path, repo: Path, work: Path, timings: Timings) -> None:
    """The same round with the package that is checked out at `other`."""
    environment = os.environ | {"PYTHONPATH": str(other)}
    command = [sys.executable, __file__, "--round", str(repo), str(work)]
    output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout
    for name, values in json.loads(output).items():
        timings[name] += values


def report(title: str, timings: Timings) -> None:
    ratios = [ours / clone for ours, clone in zip(timings["in"], timings["clone"], strict=True)]
    print(f"{title}, local sandbox, {len(ratios)} rounds, medians (smallest to largest)")
    labels = {
        "open": "  read and pack on the host",
        "upload": "  upload, unpack, check out",
        "in": "repository in",
        "clone": "git clone --depth 1 file://",
        "out": "changes out after one line",
    }
    for name, label in labels.items():
        values = timings[name]
        print(f"  {label:32} {statistics.median(values):7.2f} s   ({min(values):.2f} to {max(values):.2f})")
    print(f"  {'in / clone':32} {statistics.median(ratios):7.2f}     ({min(ratios):.2f} to {max(ratios):.2f})")
    counts = {name: statistics.median(timings[name]) for name in COUNTS}
    print("  " + ", ".join(f"{name} {value:,.6g}" for name, value in counts.items()))


def new_timings() -> Timings:
    return {name: [] for name in ("open", "upload", "in", "clone", "out", *COUNTS)}


async def run(cases: list[tuple[str, int, int]], cache: Path, rounds: int, other: Path | None) -> None:
    for title, files, size in cases:
        repo = make_repository(cache / f"{files}", files, size)
        timings, baseline = new_timings(), new_timings()
        with tempfile.TemporaryDirectory(dir=cache) as work:  # removed at the end, with the sandboxes in it
            for _ in range(rounds):
                await measure(repo, Path(work), timings)
                if other:
                    await asyncio.to_thread(measure_other, other, repo, Path(work), baseline)
            report(title, timings)
            if other:
                report(f"{title}, {other}", baseline)
                for name in ("in", "out"):
                    pairs = zip(timings[name], baseline[name], strict=True)
                    print(f"  {name} / the other's {name}: {statistics.median(one / two for one, two in pairs):.2f}")
            for sandbox_id, _ in await LocalProvider(directory=Path(work)).list(REQUEST.metadata):
                await LocalProvider(directory=Path(work)).kill(sandbox_id)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only the small repository")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cache", type=Path, help="a directory where the repositories stay for the next time")
    parser.add_argument("--against", type=Path, help="a checkout of another commit, measured in turn")
    parser.add_argument("--round", type=Path, nargs=2, help=argparse.SUPPRESS)  # one round, printed as JSON
    options = parser.parse_args(arguments)
    if options.round:
        timings = new_timings()
        asyncio.run(measure(*options.round, timings))
        print(json.dumps(timings))
        return
    with tempfile.TemporaryDirectory(prefix="flue-ci-benchmark-") as temporary:
        cache = options.cache or Path(temporary)
        cache.mkdir(parents=True, exist_ok=True)
        asyncio.run(run([SMALL] if options.quick else [SMALL, LARGE], cache, options.rounds, options.against))


if __name__ == "__main__":
    main()
