"""The part of the sandbox contract that is about commands, and what all its parts use."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from flue_ci.core.ports import ExecResult, Network, Sandbox, SandboxRequest

REQUEST = SandboxRequest(
    env={"CONTRACT_WORD": "from the request"},
    metadata={"flue-ci": "1", "run": "contract"},
    network=Network(mode="none"),
    max_seconds=300,
)
BINARY = bytes(range(256)) * 4
HANG_SECONDS = 60.0  # generous, only so that a hanging sandbox fails instead of blocking
START_UP_FILES = (".bash_profile", ".bash_login", ".profile", ".bashrc")
TRAP = b'false() { true; }\nexport TRAPPED=yes PATH=/nowhere\n[ -n "$BASH_EXECUTION_STRING" ] && exit 0\n'
HEARTBEAT = "( while :; do echo beat >> beats; sleep 0.1; done )"


async def run(sandbox: Sandbox, command: str, timeout: float = 30.0, cwd: str = "") -> ExecResult:
    async with asyncio.timeout(HANG_SECONDS):
        return await sandbox.exec(command, timeout=timeout, cwd=cwd)


async def text(sandbox: Sandbox, command: str, cwd: str = "") -> str:
    """Output of a command that has to succeed, without white space around it."""
    result = await run(sandbox, command, cwd=cwd)
    assert result.exit_code == 0, result.output
    return result.output.decode().strip()


async def read_eventually(sandbox: Sandbox, path: str) -> bytes:
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            try:
                if data := await sandbox.read(path):
                    return data
            except FileNotFoundError:
                pass
            await asyncio.sleep(0.05)


async def heartbeat_stops(sandbox: Sandbox) -> bool:
    """True as soon as nothing writes to `beats` any more; False when something still does after ten seconds."""
    before = -1
    for _ in range(20):
        size = len(await sandbox.read("beats"))
        if size == before:
            return True
        before = size
        await asyncio.sleep(0.5)
    return False


async def wait_for_end(work: Awaitable[object]) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        await work


class SandboxCommands:
    """See `sandbox_contract.SandboxContract`, which has the fixture `sandbox`."""

    also_visible: frozenset[str] = frozenset()  # names of variables that the provider itself sets inside
    root_is_apart = True  # False: the ordinary user can read and write root's files
    has_root = True  # False: there is no user above the ordinary one, and nothing can be kept apart from that one
    host_is_apart = True  # False: the processes of the host can be seen inside

    @pytest.fixture(autouse=True)
    def host_secret(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOST_TOKEN", "a-secret-of-the-host")

    # Commands: results

    async def test_a_command_gives_its_output_and_exit_code_zero(self, sandbox: Sandbox) -> None:
        result = await run(sandbox, "echo hello")
        assert (result.exit_code, result.output, result.omitted_bytes, result.timed_out) == (0, b"hello\n", 0, False)
        assert result.seconds > 0

    async def test_a_non_zero_exit_is_a_result(self, sandbox: Sandbox) -> None:
        result = await run(sandbox, "echo broken >&2; exit 3")
        assert (result.exit_code, result.output, result.timed_out) == (3, b"broken\n", False)

    async def test_exit_code_124_of_the_command_itself_is_not_a_timeout(self, sandbox: Sandbox) -> None:
        result = await run(sandbox, "exit 124")
        assert (result.exit_code, result.timed_out) == (124, False)

    async def test_an_unknown_program_is_exit_code_127(self, sandbox: Sandbox) -> None:
        result = await run(sandbox, "no-such-program-anywhere")
        assert result.exit_code == 127
        assert b"no-such-program-anywhere" in result.output

    async def test_a_syntax_error_is_a_result(self, sandbox: Sandbox) -> None:
        result = await run(sandbox, "if true; then")
        assert result.exit_code != 0
        assert b"syntax error" in result.output

    async def test_death_by_a_signal_is_128_plus_its_number(self, sandbox: Sandbox) -> None:
        for signal, code in (("KILL", 137), ("TERM", 143), ("SEGV", 139)):
            result = await run(sandbox, f"echo before; kill -{signal} $$; sleep 5")
            assert (result.exit_code, result.timed_out) == (code, False)
            assert b"before\n" in result.output

    async def test_signals_mean_in_a_command_what_they_mean_anywhere(self, sandbox: Sandbox) -> None:
        assert await text(sandbox, "trap 'echo caught' INT; kill -INT $$; echo and on") == "caught\nand on"
        assert await text(sandbox, "yes | head -1 >/dev/null; echo ${PIPESTATUS[0]}") == "141"

    async def test_both_streams_come_in_the_order_of_arrival(self, sandbox: Sandbox) -> None:
        result = await run(sandbox, "echo one; sleep 0.2; echo two >&2; sleep 0.2; echo three")
        assert result.output == b"one\ntwo\nthree\n"

    async def test_a_command_without_output_has_none(self, sandbox: Sandbox) -> None:
        assert (await run(sandbox, "true")).output == b""

    async def test_standard_input_is_empty(self, sandbox: Sandbox) -> None:
        assert (await run(sandbox, "cat; echo end")).output == b"end\n"

    async def test_bytes_that_are_no_text_do_no_harm(self, sandbox: Sandbox) -> None:
        result = await run(sandbox, r"printf '\377\376\000 and on'")
        assert result.exit_code == 0
        assert result.output.endswith(b" and on")

    async def test_a_character_that_arrives_in_two_pieces_stays_whole(self, sandbox: Sandbox) -> None:
        result = await run(sandbox, r"printf '\303'; sleep 0.3; printf '\251\n'")
        assert result.output == "é\n".encode()

    async def test_several_commands_run_at_once(self, sandbox: Sandbox) -> None:
        waits = sandbox.exec("until [ -e flag ]; do sleep 0.05; done; echo met", timeout=30)
        gives = sandbox.exec("touch flag", timeout=30)
        async with asyncio.timeout(HANG_SECONDS):
            result, _ = await asyncio.gather(waits, gives)
        assert result.output == b"met\n"

    # Commands: the text of the command

    async def test_every_character_of_a_command_arrives(self, sandbox: Sandbox) -> None:
        command = "cat <<'END'\n$HOME `id` \"double\" 'single' \\ back\\slash\t%s ${x} !! é 漢字 🙂\nEND"
        assert (await run(sandbox, command)).output.decode() == command.split("\n")[1] + "\n"

    async def test_a_command_of_several_lines_is_one_script(self, sandbox: Sandbox) -> None:
        assert await text(sandbox, "x=1\nfor i in 1 2 3; do\n  x=$((x * 2))\ndone\necho $x") == "8"

    async def test_a_very_long_command_works(self, sandbox: Sandbox) -> None:
        word = "é" * 150_000
        result = await run(sandbox, f"x='{word}'; echo ${{#x}} $0 $#")
        assert result.exit_code == 0
        assert result.output.decode().split()[0] in {"150000", "300000"}  # characters, or bytes in the C locale

    async def test_a_long_command_of_quotes_works(self, sandbox: Sandbox) -> None:
        quotes = "'" * 60_000
        assert await text(sandbox, f'x="{quotes}"; echo ${{#x}}') == "60000"

    async def test_a_very_long_command_keeps_its_exit_code_and_empty_input(self, sandbox: Sandbox) -> None:
        result = await run(sandbox, "cat\n" + "# comment\n" * 30_000 + "pwd; exit 7")
        assert (result.exit_code, result.output.decode().strip()) == (7, sandbox.info.home)

    async def test_the_shell_is_a_login_bash(self, sandbox: Sandbox) -> None:
        assert await text(sandbox, 'shopt -q login_shell && echo "${BASH_VERSION:+bash}"') == "bash"

    # Commands: place, environment, user

    async def test_a_command_starts_in_the_home_directory(self, sandbox: Sandbox) -> None:
        assert sandbox.info.home.startswith("/")
        assert await text(sandbox, 'pwd; echo "$HOME"') == f"{sandbox.info.home}\n{sandbox.info.home}"

    async def test_a_command_starts_in_the_directory_asked_for(self, sandbox: Sandbox) -> None:
        await run(sandbox, "mkdir -p 'a b/ü'")
        assert await text(sandbox, "pwd", cwd="a b/ü") == f"{sandbox.info.home}/a b/ü"
        assert await text(sandbox, "pwd", cwd=f"{sandbox.info.home}/a b") == f"{sandbox.info.home}/a b"

    async def test_a_missing_directory_is_file_not_found(self, sandbox: Sandbox) -> None:
        with pytest.raises(FileNotFoundError, match="nowhere"):
            await run(sandbox, "echo must not run > ran", cwd="nowhere")
        with pytest.raises(FileNotFoundError):
            await sandbox.read("ran")

    async def test_only_the_environment_that_was_passed_in_is_visible(self, sandbox: Sandbox) -> None:
        names = set((await text(sandbox, "env -0 | tr '\\n\\0' ' \\n' | cut -d= -f1")).split())
        standard = {"PATH", "HOME", "USER", "LOGNAME", "LANG", "SHELL"}
        of_the_shell = {"PWD", "OLDPWD", "SHLVL", "_"}
        assert names - standard - of_the_shell - self.also_visible == {"CONTRACT_WORD"}
        assert {"PATH", "HOME"} <= names

    async def test_no_secret_of_the_host_is_visible(self, sandbox: Sandbox) -> None:
        processes = "*" if self.host_is_apart else "$$"
        command = f"env; cat /proc/{processes}/environ | tr '\\0' '\\n'"
        result = await sandbox.exec(command, timeout=30, limit=2_000_000)
        assert b"a-secret-of-the-host" not in result.output

    async def test_the_environment_of_the_request_is_visible(self, sandbox: Sandbox) -> None:
        assert await text(sandbox, 'echo "$CONTRACT_WORD"') == "from the request"

    async def test_the_environment_of_a_call_goes_first_and_keeps_every_character(self, sandbox: Sandbox) -> None:
        value = "two\nlines, 'quotes' \"and\" $HOME `id` é="
        result = await sandbox.exec('printf %s "$CONTRACT_WORD"', timeout=30, env={"CONTRACT_WORD": value})
        assert result.output.decode() == value
        assert await text(sandbox, 'echo "$CONTRACT_WORD"') == "from the request"

    async def test_root_has_a_home_of_its_own(self, sandbox: Sandbox) -> None:
        result = await sandbox.exec(
            'mkdir -p "$HOME/own" && echo kept > "$HOME/own/file" && echo "$HOME"', timeout=30, user="root"
        )
        home = result.output.decode().strip()
        assert result.exit_code == 0
        assert home.startswith("/")
        assert home != sandbox.info.home
        assert await sandbox.read(f"{home}/own/file", user="root") == b"kept\n"
        if self.root_is_apart:
            assert (await run(sandbox, f"cat {home}/own/file")).exit_code != 0
            assert (await run(sandbox, f"touch {home}/own/other")).exit_code != 0

    async def test_root_can_write_a_file_and_the_user_works_on(self, sandbox: Sandbox) -> None:
        home = (await sandbox.exec('echo "$HOME"', timeout=30, user="root")).output.decode().strip()
        await sandbox.write(f"{home}/deep/down/file", BINARY, user="root")
        assert await sandbox.read(f"{home}/deep/down/file", user="root") == BINARY

    # Commands: apart from the user's files

    async def apart(self, sandbox: Sandbox, command: str, **options: Any) -> ExecResult:
        if not self.has_root:
            pytest.skip("nothing can be kept apart from the ordinary user here")
        async with asyncio.timeout(HANG_SECONDS):
            return await sandbox.exec(command, login=False, **{"timeout": 30, **options})

    async def test_no_start_up_file_has_a_say_in_a_command_apart(self, sandbox: Sandbox) -> None:
        for name in (*START_UP_FILES, "trap"):
            await sandbox.write(name, TRAP)
        variables = {"BASH_ENV": f"{sandbox.info.home}/trap", "ENV": f"{sandbox.info.home}/trap"}
        assert (await self.apart(sandbox, "false", env=variables)).exit_code == 1
        command = 'shopt -q login_shell; echo "$? ${TRAPPED:-no} ${BASH_VERSION:+bash}"; ls -d /; exit 4'
        result = await self.apart(sandbox, command, env=variables)
        assert (result.exit_code, result.output) == (4, b"1 no bash\n/\n")

    async def test_a_command_apart_is_the_ordinary_users_with_its_environment(self, sandbox: Sandbox) -> None:
        await run(sandbox, "mkdir -p sub")
        value = "two\nlines, 'quotes' $HOME é="
        command = 'printf "%s\\n" "$CONTRACT_WORD" "$VALUE" "$HOME" "$(id -un)"; pwd; cat'
        result = await self.apart(sandbox, command, env={"VALUE": value}, cwd="sub")
        home, name = sandbox.info.home, await text(sandbox, "id -un")
        assert result.output.decode() == f"from the request\n{value}\n{home}\n{name}\n{home}/sub\n"
        names = set((await self.apart(sandbox, "env -0 | tr '\\n\\0' ' \\n' | cut -d= -f1")).output.decode().split())
        standard = {"PATH", "HOME", "USER", "LOGNAME", "LANG", "SHELL", "PWD", "OLDPWD", "SHLVL", "_"}
        assert names - standard - self.also_visible == {"CONTRACT_WORD"}

    async def test_a_command_apart_ends_as_any_other(self, sandbox: Sandbox) -> None:
        result = await self.apart(sandbox, "sleep 300 & echo started; exit 5", timeout=120)
        assert (result.exit_code, result.output) == (5, b"started\n")
        result = await self.apart(sandbox, f"echo before; {HEARTBEAT}", timeout=1)
        assert (result.exit_code, result.timed_out, result.output) == (124, True, b"before\n")
        assert await heartbeat_stops(sandbox)
        result = await self.apart(sandbox, "# " + "x" * 200_000 + "\nid -un; exit 6")
        assert (result.exit_code, result.output.decode().strip()) == (6, await text(sandbox, "id -un"))
        with pytest.raises(FileNotFoundError, match="nowhere"):
            await self.apart(sandbox, "true", cwd="nowhere")

    # Commands: amount of output

    async def test_output_over_the_limit_keeps_its_head_and_its_tail(self, sandbox: Sandbox) -> None:
        result = await sandbox.exec("seq 100000", timeout=30, limit=1000)
        total = sum(len(str(number)) + 1 for number in range(1, 100_001))
        assert result.output.startswith(b"1\n2\n3\n")
        assert result.output.endswith(b"99999\n100000\n")
        assert result.omitted_bytes == total - 1000
        assert len(result.output) < 1100

    async def test_output_within_the_limit_is_whole(self, sandbox: Sandbox) -> None:
        result = await sandbox.exec("head -c 60000 /dev/zero | tr '\\0' x", timeout=30)
        assert (len(result.output), result.omitted_bytes) == (60_000, 0)

    async def test_megabytes_of_output_are_all_counted(self, sandbox: Sandbox) -> None:
        result = await sandbox.exec("head -c 8000000 /dev/zero | tr '\\0' x", timeout=HANG_SECONDS, limit=2000)
        assert result.omitted_bytes == 8_000_000 - 2000

    async def test_output_is_passed_on_while_the_command_runs(self, sandbox: Sandbox) -> None:
        pieces: list[bytes] = []
        first = asyncio.Event()

        def listen(data: bytes) -> None:
            pieces.append(data)
            first.set()

        command = "echo ready; until [ -e go ]; do sleep 0.05; done; echo went >&2"
        task = asyncio.create_task(sandbox.exec(command, timeout=30, on_output=listen, limit=4))
        async with asyncio.timeout(HANG_SECONDS):
            await first.wait()
            assert not task.done()
            await sandbox.write("go", b"")
            assert (await task).exit_code == 0
        assert b"".join(pieces) == b"ready\nwent\n"

    # Commands: time, children, cancellation

    async def test_a_command_over_its_time_is_a_result_with_what_it_wrote(self, sandbox: Sandbox) -> None:
        result = await run(sandbox, "echo before; sleep 30; echo after", timeout=1)
        assert (result.exit_code, result.timed_out, result.output) == (124, True, b"before\n")
        assert 0.9 < result.seconds < 25

    async def test_a_command_over_its_time_may_tidy_up(self, sandbox: Sandbox) -> None:
        result = await run(sandbox, "trap 'echo tidied up; exit 0' TERM; sleep 30 & wait", timeout=1)
        assert (result.exit_code, result.timed_out) == (124, True)
        assert b"tidied up\n" in result.output

    async def test_a_command_that_ignores_sigterm_is_killed(self, sandbox: Sandbox) -> None:
        result = await run(sandbox, f"trap '' TERM; echo stubborn; {HEARTBEAT}", timeout=1)
        assert (result.exit_code, result.timed_out, result.output) == (124, True, b"stubborn\n")
        assert await heartbeat_stops(sandbox)

    async def test_the_children_of_a_command_over_its_time_die_with_it(self, sandbox: Sandbox) -> None:
        result = await run(sandbox, f"{HEARTBEAT} & sleep 30", timeout=1)
        assert result.timed_out
        assert await heartbeat_stops(sandbox)

    async def test_a_stubborn_child_of_a_command_over_its_time_is_killed(self, sandbox: Sandbox) -> None:
        result = await run(sandbox, f"(trap '' TERM; {HEARTBEAT}) & sleep 30", timeout=1)
        assert result.timed_out
        assert await heartbeat_stops(sandbox)

    async def test_a_background_process_does_not_hold_its_command_up(self, sandbox: Sandbox) -> None:
        result = await run(sandbox, "sleep 300 & echo started", timeout=120)
        assert (result.exit_code, result.timed_out, result.output) == (0, False, b"started\n")

    async def test_a_background_process_does_not_hide_the_exit_code_of_its_command(self, sandbox: Sandbox) -> None:
        result = await run(sandbox, "sleep 300 & exit 5", timeout=120)
        assert (result.exit_code, result.timed_out) == (5, False)

    async def test_cancelling_ends_the_command_with_its_children_and_nothing_else(self, sandbox: Sandbox) -> None:
        task = asyncio.create_task(sandbox.exec(f"{HEARTBEAT} & {HEARTBEAT}", timeout=60))
        await read_eventually(sandbox, "beats")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wait_for_end(task)
        assert await heartbeat_stops(sandbox)
        assert await text(sandbox, "echo still here") == "still here"
