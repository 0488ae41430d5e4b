"""What every `Sandbox` does, as one test class. A test file subclasses `SandboxContract` and gives it an opened `box`.

Open the box with `REQUEST` (its environment and its closed network are part of what is checked).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path

import pytest

from flue_ci.core.errors import SandboxLost
from flue_ci.core.ports import ExecResult, Network, Sandbox, SandboxRequest

REQUEST = SandboxRequest(
    env={"CONTRACT_WORD": "from the request"},
    metadata={"flue-ci": "1", "run": "contract"},
    network=Network(mode="none"),
    max_seconds=300,
)
BINARY = bytes(range(256)) * 4
HANG_GUARD = 60.0  # seconds; generous, only so that a hanging sandbox fails instead of blocking

BEATS = "( while :; do echo beat >> beats; sleep 0.1; done )"


async def run(box: Sandbox, command: str, timeout: float = 30.0, cwd: str = "") -> ExecResult:
    async with asyncio.timeout(HANG_GUARD):
        return await box.exec(command, timeout=timeout, cwd=cwd)


async def text(box: Sandbox, command: str, cwd: str = "") -> str:
    """Output of a command that has to succeed, without white space around it."""
    result = await run(box, command, cwd=cwd)
    assert result.exit_code == 0, result.output
    return result.output.decode().strip()


async def eventually_readable(box: Sandbox, path: str) -> bytes:
    async with asyncio.timeout(HANG_GUARD):
        while True:
            try:
                if data := await box.read(path):
                    return data
            except FileNotFoundError:
                pass
            await asyncio.sleep(0.05)


async def heart_stops(box: Sandbox) -> bool:
    """True as soon as nobody writes to `beats` any more; False when somebody still does after some seconds."""
    before = -1
    for _ in range(20):
        size = len(await box.read("beats"))
        if size == before:
            return True
        before = size
        await asyncio.sleep(0.5)
    return False


async def ended(work: Awaitable[object]) -> None:
    async with asyncio.timeout(HANG_GUARD):
        await work


class SandboxContract:
    """Subclasses override the fixture `box`, and the attributes where their sandbox honestly differs."""

    also_visible: frozenset[str] = frozenset()  # names of variables that the provider itself sets inside
    root_is_apart = True  # False only where the test machine cannot separate `root` from `user`

    @pytest.fixture
    def box(self) -> Sandbox:
        raise NotImplementedError("a subclass opens the sandbox")

    @pytest.fixture(autouse=True)
    def a_secret_of_the_host(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOST_TOKEN", "a-secret-of-the-host")

    # Commands: results

    async def test_a_command_gives_its_output_and_exit_code_zero(self, box: Sandbox) -> None:
        result = await run(box, "echo hello")
        assert (result.exit_code, result.output, result.omitted_bytes, result.timed_out) == (0, b"hello\n", 0, False)
        assert result.seconds > 0

    async def test_a_non_zero_exit_is_a_result(self, box: Sandbox) -> None:
        result = await run(box, "echo broken >&2; exit 3")
        assert (result.exit_code, result.output, result.timed_out) == (3, b"broken\n", False)

    async def test_exit_code_124_of_the_command_itself_is_not_a_timeout(self, box: Sandbox) -> None:
        result = await run(box, "exit 124")
        assert (result.exit_code, result.timed_out) == (124, False)

    async def test_an_unknown_program_is_exit_code_127(self, box: Sandbox) -> None:
        result = await run(box, "no-such-program-anywhere")
        assert result.exit_code == 127
        assert b"no-such-program-anywhere" in result.output

    async def test_a_syntax_error_is_a_result(self, box: Sandbox) -> None:
        result = await run(box, "if true; then")
        assert result.exit_code != 0
        assert b"syntax error" in result.output

    @pytest.mark.parametrize(("signal", "code"), [("KILL", 137), ("TERM", 143), ("SEGV", 139)])
    async def test_death_by_a_signal_is_128_plus_its_number(self, box: Sandbox, signal: str, code: int) -> None:
        result = await run(box, f"echo before; kill -{signal} $$; sleep 5")
        assert (result.exit_code, result.timed_out) == (code, False)
        assert b"before\n" in result.output

    async def test_signals_mean_in_a_command_what_they_mean_anywhere(self, box: Sandbox) -> None:
        assert await text(box, "trap 'echo caught' INT; kill -INT $$; echo and on") == "caught\nand on"
        assert await text(box, "yes | head -1 >/dev/null; echo ${PIPESTATUS[0]}") == "141"

    async def test_both_streams_come_in_the_order_of_arrival(self, box: Sandbox) -> None:
        result = await run(box, "echo one; sleep 0.2; echo two >&2; sleep 0.2; echo three")
        assert result.output == b"one\ntwo\nthree\n"

    async def test_a_command_without_output_has_none(self, box: Sandbox) -> None:
        assert (await run(box, "true")).output == b""

    async def test_standard_input_is_empty(self, box: Sandbox) -> None:
        assert (await run(box, "cat; echo end")).output == b"end\n"

    async def test_bytes_that_are_no_text_do_no_harm(self, box: Sandbox) -> None:
        result = await run(box, r"printf '\377\376\000 and on'")
        assert result.exit_code == 0
        assert result.output.endswith(b" and on")

    async def test_a_character_that_arrives_in_two_pieces_stays_whole(self, box: Sandbox) -> None:
        result = await run(box, r"printf '\303'; sleep 0.3; printf '\251\n'")
        assert result.output == "é\n".encode()

    async def test_several_commands_run_at_once(self, box: Sandbox) -> None:
        waits = box.exec("until [ -e flag ]; do sleep 0.05; done; echo met", timeout=30)
        gives = box.exec("touch flag", timeout=30)
        async with asyncio.timeout(HANG_GUARD):
            met, _ = await asyncio.gather(waits, gives)
        assert met.output == b"met\n"

    # Commands: the text of the command

    async def test_every_character_of_a_command_arrives(self, box: Sandbox) -> None:
        command = "cat <<'END'\n$HOME `id` \"double\" 'single' \\ back\\slash\t%s ${x} !! é 漢字 🙂\nEND"
        assert (await run(box, command)).output.decode() == command.split("\n")[1] + "\n"

    async def test_a_command_of_several_lines_is_one_script(self, box: Sandbox) -> None:
        assert await text(box, "x=1\nfor i in 1 2 3; do\n  x=$((x * 2))\ndone\necho $x") == "8"

    async def test_a_very_long_command_works(self, box: Sandbox) -> None:
        word = "é" * 150_000
        result = await run(box, f"x='{word}'; echo ${{#x}} $0 $#")
        assert result.exit_code == 0
        assert result.output.decode().split()[0] in {"150000", "300000"}  # characters, or bytes in the C locale

    async def test_a_very_long_command_keeps_its_exit_code_and_empty_input(self, box: Sandbox) -> None:
        result = await run(box, "cat\n" + "# comment\n" * 30_000 + "pwd; exit 7")
        assert (result.exit_code, result.output.decode().strip()) == (7, box.info.home)

    async def test_the_shell_is_a_login_bash(self, box: Sandbox) -> None:
        assert await text(box, 'shopt -q login_shell && echo "${BASH_VERSION:+bash}"') == "bash"

    # Commands: place, environment, user

    async def test_a_command_starts_in_the_home_directory(self, box: Sandbox) -> None:
        assert box.info.home.startswith("/")
        assert await text(box, 'pwd; echo "$HOME"') == f"{box.info.home}\n{box.info.home}"

    async def test_a_command_starts_in_the_directory_asked_for(self, box: Sandbox) -> None:
        await run(box, "mkdir -p 'a b/ü'")
        assert await text(box, "pwd", cwd="a b/ü") == f"{box.info.home}/a b/ü"
        assert await text(box, "pwd", cwd=f"{box.info.home}/a b") == f"{box.info.home}/a b"

    async def test_a_missing_directory_is_file_not_found(self, box: Sandbox) -> None:
        with pytest.raises(FileNotFoundError, match="nowhere"):
            await run(box, "echo must not run > ran", cwd="nowhere")
        with pytest.raises(FileNotFoundError):
            await box.read("ran")

    async def test_only_the_environment_that_was_passed_in_is_visible(self, box: Sandbox) -> None:
        names = set((await text(box, "env -0 | tr '\\n\\0' ' \\n' | cut -d= -f1")).split())
        standard = {"PATH", "HOME", "USER", "LOGNAME", "LANG", "SHELL"}
        of_the_shell = {"PWD", "OLDPWD", "SHLVL", "_"}
        assert names - standard - of_the_shell - self.also_visible == {"CONTRACT_WORD"}
        assert {"PATH", "HOME"} <= names

    async def test_no_secret_of_the_host_is_visible(self, box: Sandbox) -> None:
        result = await box.exec("env; cat /proc/*/environ | tr '\\0' '\\n'", timeout=30, limit=2_000_000)
        assert b"a-secret-of-the-host" not in result.output

    async def test_the_environment_of_the_request_is_visible(self, box: Sandbox) -> None:
        assert await text(box, 'echo "$CONTRACT_WORD"') == "from the request"

    async def test_the_environment_of_a_call_goes_first_and_keeps_every_character(self, box: Sandbox) -> None:
        value = "two\nlines, 'quotes' \"and\" $HOME `id` é="
        result = await box.exec('printf %s "$CONTRACT_WORD"', timeout=30, env={"CONTRACT_WORD": value})
        assert result.output.decode() == value
        assert await text(box, 'echo "$CONTRACT_WORD"') == "from the request"

    async def test_root_has_a_home_of_its_own(self, box: Sandbox) -> None:
        result = await box.exec(
            'mkdir -p "$HOME/own" && echo kept > "$HOME/own/file" && echo "$HOME"', timeout=30, user="root"
        )
        home = result.output.decode().strip()
        assert result.exit_code == 0
        assert home.startswith("/")
        assert home != box.info.home
        assert await box.read(f"{home}/own/file", user="root") == b"kept\n"
        if self.root_is_apart:
            assert (await run(box, f"cat {home}/own/file")).exit_code != 0
            assert (await run(box, f"touch {home}/own/other")).exit_code != 0

    async def test_root_can_write_a_file_and_the_user_works_on(self, box: Sandbox) -> None:
        home = (await box.exec('echo "$HOME"', timeout=30, user="root")).output.decode().strip()
        await box.write(f"{home}/deep/down/file", BINARY, user="root")
        assert await box.read(f"{home}/deep/down/file", user="root") == BINARY

    # Commands: amount of output

    async def test_output_over_the_limit_keeps_its_head_and_its_tail(self, box: Sandbox) -> None:
        result = await box.exec("seq 100000", timeout=30, limit=1000)
        total = sum(len(str(number)) + 1 for number in range(1, 100_001))
        assert result.output.startswith(b"1\n2\n3\n")
        assert result.output.endswith(b"99999\n100000\n")
        assert result.omitted_bytes == total - 1000
        assert len(result.output) < 1100

    async def test_output_within_the_limit_is_whole(self, box: Sandbox) -> None:
        result = await box.exec("head -c 60000 /dev/zero | tr '\\0' x", timeout=30)
        assert (len(result.output), result.omitted_bytes) == (60_000, 0)

    async def test_megabytes_of_output_are_all_counted(self, box: Sandbox) -> None:
        result = await box.exec("head -c 8000000 /dev/zero | tr '\\0' x", timeout=HANG_GUARD, limit=2000)
        assert result.omitted_bytes == 8_000_000 - 2000

    async def test_output_is_passed_on_while_the_command_runs(self, box: Sandbox) -> None:
        pieces: list[bytes] = []
        first = asyncio.Event()

        def listen(data: bytes) -> None:
            pieces.append(data)
            first.set()

        command = "echo ready; until [ -e go ]; do sleep 0.05; done; echo went >&2"
        task = asyncio.create_task(box.exec(command, timeout=30, on_output=listen, limit=4))
        async with asyncio.timeout(HANG_GUARD):
            await first.wait()
            assert not task.done()
            await box.write("go", b"")
            assert (await task).exit_code == 0
        assert b"".join(pieces) == b"ready\nwent\n"

    # Commands: time, children, cancellation

    async def test_a_command_over_its_time_is_a_result_with_what_it_wrote(self, box: Sandbox) -> None:
        result = await run(box, "echo before; sleep 30; echo after", timeout=1)
        assert (result.exit_code, result.timed_out, result.output) == (124, True, b"before\n")
        assert 0.9 < result.seconds < 25

    async def test_a_command_over_its_time_may_tidy_up(self, box: Sandbox) -> None:
        result = await run(box, "trap 'echo tidied up; exit 0' TERM; sleep 30 & wait", timeout=1)
        assert (result.exit_code, result.timed_out) == (124, True)
        assert b"tidied up\n" in result.output

    async def test_a_command_that_ignores_sigterm_is_killed(self, box: Sandbox) -> None:
        result = await run(box, f"trap '' TERM; echo stubborn; {BEATS}", timeout=1)
        assert (result.exit_code, result.timed_out, result.output) == (124, True, b"stubborn\n")
        assert await heart_stops(box)

    async def test_the_children_of_a_command_over_its_time_die_with_it(self, box: Sandbox) -> None:
        result = await run(box, f"{BEATS} & sleep 30", timeout=1)
        assert result.timed_out
        assert await heart_stops(box)

    async def test_a_stubborn_child_of_a_command_over_its_time_is_killed(self, box: Sandbox) -> None:
        result = await run(box, f"(trap '' TERM; {BEATS}) & sleep 30", timeout=1)
        assert result.timed_out
        assert await heart_stops(box)

    async def test_a_background_process_does_not_hold_its_command_up(self, box: Sandbox) -> None:
        result = await run(box, "sleep 300 & echo started", timeout=120)
        assert (result.exit_code, result.timed_out, result.output) == (0, False, b"started\n")

    async def test_a_background_process_of_a_failing_command_does_not_hide_its_exit_code(self, box: Sandbox) -> None:
        result = await run(box, "sleep 300 & exit 5", timeout=120)
        assert (result.exit_code, result.timed_out) == (5, False)

    async def test_cancelling_ends_the_command_with_its_children_and_the_box_stays_usable(self, box: Sandbox) -> None:
        task = asyncio.create_task(box.exec(f"{BEATS} & {BEATS}", timeout=60))
        await eventually_readable(box, "beats")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ended(task)
        assert await heart_stops(box)
        assert await text(box, "echo still here") == "still here"

    # Files

    async def test_bytes_come_back_as_they_were_written(self, box: Sandbox) -> None:
        await box.write("data", BINARY)
        assert await box.read("data") == BINARY
        assert await box.read(f"{box.info.home}/data") == BINARY

    async def test_an_empty_file_is_empty(self, box: Sandbox) -> None:
        await box.write("empty", b"")
        assert await box.read("empty") == b""

    async def test_writing_replaces_what_was_there(self, box: Sandbox) -> None:
        await box.write("file", b"a long text that has to go")
        await box.write("file", b"short")
        assert await box.read("file") == b"short"

    async def test_writing_makes_the_directories_on_the_way(self, box: Sandbox) -> None:
        await box.write("one/two/three/file", b"deep")
        assert await text(box, "cat one/two/three/file; touch one/two/beside && echo mine") == "deepmine"

    async def test_a_file_of_the_host_is_sent(self, box: Sandbox, tmp_path: Path) -> None:
        source = tmp_path / "large"
        source.write_bytes(BINARY * 5000)
        await box.write("sub/large", source)
        assert await box.read("sub/large") == BINARY * 5000

    @pytest.mark.parametrize(
        "name", ["with space", "ünï/漢字", "-dash", "it's", 'say "x"', "100%25", "a#b?c&d=e;f", "dot..dot"]
    )
    async def test_names_are_kept_as_they_are(self, box: Sandbox, name: str) -> None:
        await box.write(f"names/{name}", name.encode())
        assert await box.read(f"names/{name}") == name.encode()
        assert await text(box, "cd names && find . -type f -printf '%P'") == name

    async def test_commands_and_files_see_the_same_thing(self, box: Sandbox) -> None:
        await box.write("shared", b"one\n")
        assert await text(box, "echo two >> shared && cat shared") == "one\ntwo"
        assert await box.read("shared") == b"one\ntwo\n"

    async def test_a_link_is_followed(self, box: Sandbox) -> None:
        await run(box, "echo target > real && ln -s real link")
        assert await box.read("link", limit=100) == b"target\n"

    async def test_a_missing_file_is_file_not_found(self, box: Sandbox) -> None:
        for limit in (None, 10):
            with pytest.raises(FileNotFoundError, match="missing"):
                await box.read("no/such/missing", limit=limit)

    async def test_reading_a_directory_is_is_a_directory(self, box: Sandbox) -> None:
        await run(box, "mkdir folder")
        for limit in (None, 10):
            with pytest.raises(IsADirectoryError, match="folder"):
                await box.read("folder", limit=limit)

    async def test_writing_to_a_directory_is_is_a_directory(self, box: Sandbox) -> None:
        await run(box, "mkdir folder")
        with pytest.raises(IsADirectoryError, match="folder"):
            await box.write("folder", b"no")

    async def test_a_file_on_the_way_is_file_not_found(self, box: Sandbox) -> None:
        await box.write("plain", b"a file")
        with pytest.raises(FileNotFoundError):
            await box.write("plain/below", b"no")
        with pytest.raises(FileNotFoundError):
            await box.read("plain/below")
        assert await box.read("plain") == b"a file"

    async def test_a_file_over_the_limit_is_refused_with_its_size(self, box: Sandbox) -> None:
        await box.write("large", b"x" * 5001)
        with pytest.raises(ValueError, match=r"5,?001"):
            await box.read("large", limit=5000)
        assert len(await box.read("large", limit=5001)) == 5001

    async def test_an_endless_file_is_refused(self, box: Sandbox) -> None:
        await run(box, "ln -s /dev/zero endless; mkfifo pipe")
        async with asyncio.timeout(HANG_GUARD):
            for name in ("endless", "pipe"):
                with pytest.raises((PermissionError, ValueError)):
                    await box.read(name, limit=1000)

    # Network and end

    async def test_switching_the_network_keeps_the_files(self, box: Sandbox) -> None:
        await box.write("before", b"kept")
        await box.set_network(Network(mode="open"))
        await box.set_network(Network(mode="none"))
        assert await box.read("before") == b"kept"
        assert await text(box, "cat before") == "kept"

    async def test_the_sandbox_says_who_it_is(self, box: Sandbox) -> None:
        assert box.info.provider
        assert box.info.id
        assert await text(box, "id -un; test -w ~ && echo writable") != ""

    async def test_a_closed_sandbox_is_lost(self, box: Sandbox) -> None:
        await ended(box.close())
        with pytest.raises(SandboxLost):
            await run(box, "echo hello")
        with pytest.raises(SandboxLost):
            await box.read("file")
        with pytest.raises(SandboxLost):
            await box.write("file", b"x")
        with pytest.raises(SandboxLost):
            await box.set_network(Network(mode="none"))

    async def test_closing_twice_and_at_once_is_fine(self, box: Sandbox) -> None:
        await ended(asyncio.gather(box.close(), box.close()))
        await ended(box.close())

    async def test_closing_ends_what_still_runs(self, box: Sandbox) -> None:
        task = asyncio.create_task(box.exec(f"{BEATS}", timeout=60))
        await eventually_readable(box, "beats")
        await ended(box.close())
        with pytest.raises(SandboxLost):
            await ended(task)
