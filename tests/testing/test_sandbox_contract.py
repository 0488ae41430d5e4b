"""The contract of sandboxes lets a good adapter pass and finds every broken one."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from flue_ci.core.events import Observer
from flue_ci.core.ports import ExecResult, Network, SandboxProvider, SandboxRequest, User
from flue_ci.testing.sandbox_commands import REQUEST
from flue_ci.testing.sandbox_contract import SandboxContract, ignore
from tests.testing.toy import ToyProvider, ToySandbox


class RaisesTimeouts(ToySandbox):
    async def exec(self, command: str, **options: Any) -> ExecResult:
        result = await super().exec(command, **options)
        if result.timed_out:
            raise TimeoutError
        return result


class LosesTheExitCode(ToySandbox):
    async def exec(self, command: str, **options: Any) -> ExecResult:
        return replace(await super().exec(command, **options), exit_code=0)


class CallsExitCode124ATimeout(ToySandbox):
    async def exec(self, command: str, **options: Any) -> ExecResult:
        result = await super().exec(command, **options)
        return replace(result, timed_out=result.exit_code == 124)


class BoundsNoOutput(ToySandbox):
    async def exec(self, command: str, *, limit: int = 0, **options: Any) -> ExecResult:
        return await super().exec(command, limit=1 << 30, **options)


class StreamsNoOutput(ToySandbox):
    async def exec(
        self, command: str, *, on_output: Callable[[bytes], None] | None = None, **options: Any
    ) -> ExecResult:
        return await super().exec(command, **options)


class LosesStandardError(ToySandbox):
    async def exec(self, command: str, **options: Any) -> ExecResult:
        return await super().exec(f"exec 2>/dev/null\n{command}", **options)


class LeaksTheEnvironment(ToySandbox):
    def environment(self, user: User) -> dict[str, str]:
        return dict(os.environ) | super().environment(user)


class IgnoresTheEnvironment(ToySandbox):
    async def exec(self, command: str, *, env: Mapping[str, str] | None = None, **options: Any) -> ExecResult:
        return await super().exec(command, **options)


class IgnoresTheDirectory(ToySandbox):
    async def exec(self, command: str, *, cwd: str = "", **options: Any) -> ExecResult:
        return await super().exec(command, **options)


class SharesOneHome(ToySandbox):
    def __init__(self, request: SandboxRequest) -> None:
        super().__init__(request)
        self.homes["root"] = self.homes["user"]


class KillsOnlyTheLeader(ToySandbox):
    def end_group(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)


class WaitsForChildren(ToySandbox):
    async def exec(self, command: str, **options: Any) -> ExecResult:
        return await super().exec(f"({command}); code=$?; wait; while pgrep -g $$ sleep; do sleep 1; done", **options)


class ReadsAnySize(ToySandbox):
    async def read(self, path: str, *, limit: int | None = None, user: User = "user") -> bytes:
        return await super().read(path, user=user)


class RaisesForeignFileErrors(ToySandbox):
    async def write(self, path: str, data: bytes | Path, *, user: User = "user") -> None:
        try:
            await super().write(path, data, user=user)
        except OSError as error:
            raise RuntimeError("cannot write") from error


class ForgetsFilesOnANewNetwork(ToySandbox):
    async def set_network(self, network: Network) -> None:
        for file in Path(self.homes["user"]).iterdir():
            file.unlink()


class StaysUsableAfterItsEnd(ToySandbox):
    async def close(self) -> None:
        """Leaves everything as it is."""


class ChecksOnePhase(ToyProvider):
    def check(self, request: SandboxRequest) -> None:
        super().check(replace(request, agent_network=None))


class KillsNothing(ToyProvider):
    async def kill(self, sandbox_id: str) -> bool:
        return True


class ListsEverything(ToyProvider):
    async def list(self, metadata: Mapping[str, str]) -> list[tuple[str, Mapping[str, str]]]:
        return [(sandbox.info.id, sandbox.request.metadata) for sandbox in self.sandboxes]


class LeavesACancelledStart(ToyProvider):
    async def open(self, request: SandboxRequest, observe: Observer) -> ToySandbox:
        sandbox = await super().open(request, observe)
        await asyncio.sleep(0.5)
        return sandbox


BROKEN: dict[type[ToySandbox | ToyProvider], str] = {
    RaisesTimeouts: "test_a_command_over_its_time_is_a_result_with_what_it_wrote",
    LosesTheExitCode: "test_a_non_zero_exit_is_a_result",
    CallsExitCode124ATimeout: "test_exit_code_124_of_the_command_itself_is_not_a_timeout",
    BoundsNoOutput: "test_output_over_the_limit_keeps_its_head_and_its_tail",
    StreamsNoOutput: "test_output_is_passed_on_while_the_command_runs",
    LosesStandardError: "test_both_streams_come_in_the_order_of_arrival",
    LeaksTheEnvironment: "test_only_the_environment_that_was_passed_in_is_visible",
    IgnoresTheEnvironment: "test_the_environment_of_a_call_goes_first_and_keeps_every_character",
    IgnoresTheDirectory: "test_a_command_starts_in_the_directory_asked_for",
    SharesOneHome: "test_root_has_a_home_of_its_own",
    KillsOnlyTheLeader: "test_cancelling_ends_the_command_with_its_children_and_nothing_else",
    WaitsForChildren: "test_a_background_process_does_not_hold_its_command_up",
    ReadsAnySize: "test_a_file_over_the_limit_is_refused_with_its_size",
    RaisesForeignFileErrors: "test_writing_to_a_directory_is_is_a_directory",
    ForgetsFilesOnANewNetwork: "test_switching_the_network_keeps_the_files",
    StaysUsableAfterItsEnd: "test_a_closed_sandbox_is_lost",
    ChecksOnePhase: "test_a_network_is_refused_before_the_start_in_every_phase_or_in_none",
    KillsNothing: "test_a_sandbox_that_is_killed_by_its_id_is_lost",
    ListsEverything: "test_a_running_sandbox_is_listed_by_its_metadata",
    LeavesACancelledStart: "test_a_cancelled_start_leaves_nothing",
}


class ToyContract(SandboxContract):
    root_is_apart = False
    host_is_apart = False


@pytest.fixture
async def provider(request: pytest.FixtureRequest) -> AsyncIterator[ToyProvider]:
    """A toy, or the broken variant that the test names; its processes and files are gone afterwards."""
    variant = getattr(request, "param", ToySandbox)
    provider = variant() if issubclass(variant, ToyProvider) else ToyProvider(variant)
    yield provider
    for sandbox in provider.sandboxes:
        await ToySandbox.end_processes(sandbox)
        for process in sandbox.processes:
            ToySandbox.end_group(sandbox, process)
        sandbox.directory.cleanup()


async def run_contract_test(name: str, provider: SandboxProvider, tmp_path: Path, seconds: float = 30.0) -> None:
    """One test of the contract, for the first of its parameters when it has some."""
    sandbox = await provider.open(REQUEST, ignore)
    test = getattr(ToyContract(), name)
    fixtures: dict[str, Any] = {"sandbox": sandbox, "provider": provider, "tmp_path": tmp_path}
    fixtures |= {"seconds": 0.1, "network": Network(mode="hosts", hosts=("packages.example.com",))}
    await asyncio.wait_for(
        test(**{parameter: fixtures[parameter] for parameter in signature(test).parameters}), seconds
    )


@pytest.mark.parametrize("name", sorted(set(BROKEN.values())))
async def test_a_good_sandbox_passes(name: str, provider: ToyProvider, tmp_path: Path) -> None:
    await run_contract_test(name, provider, tmp_path)


@pytest.mark.family(8)
@pytest.mark.parametrize(
    ("provider", "name"), BROKEN.items(), indirect=["provider"], ids=lambda value: getattr(value, "__name__", "")
)
async def test_a_broken_sandbox_is_found(name: str, provider: ToyProvider, tmp_path: Path) -> None:
    try:
        await run_contract_test(name, provider, tmp_path, seconds=3.0)  # a test that hangs finds something too
    except (Exception, pytest.fail.Exception):
        return
    pytest.fail(f"{name} finds nothing wrong")


def test_another_package_can_use_the_contract(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(
        textwrap.dedent(
            """
            import pytest
            from flue_ci.core.ports import SandboxProvider
            from flue_ci.sandboxes.local.provider import LocalProvider
            from flue_ci.testing.sandbox_contract import SandboxContract

            class TestMine(SandboxContract):
                host_is_apart = root_is_apart = False

                @pytest.fixture
                def provider(self, tmp_path) -> SandboxProvider:
                    return LocalProvider(isolation=False, directory=tmp_path)
            """
        )
    )
    options = ["-q", "-p", "pytest_asyncio.plugin", "-o", "asyncio_mode=auto", "-k", "exit_code_zero or listed"]
    command = [sys.executable, "-m", "pytest", *options]
    # Without the plugins of this environment, which take seconds to load.
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    process = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout
    assert "3 passed" in process.stdout
