"""The `bash` tool: one command of the shell, its output bounded and kept whole in a file inside the sandbox."""

import shlex
from collections.abc import Mapping
from dataclasses import replace

from flue_ci.agent.tools.tool import RESULT_BYTES, ToolContext, ToolError, ToolOutput, built_in_spec
from flue_ci.core.messages import JSON
from flue_ci.core.screen_text import screen_text
from flue_ci.core.shell import load_script, shell_script
from flue_ci.core.text import human_seconds

DEFAULT_SECONDS = 120.0
HEAD_BYTES = 4_500  # errors tend to stand at the end, the cause at the beginning
OUTPUT_FOLDER = ".flue-output"  # in the sandbox's home, so that two runs without isolation do not share it


class Bash:
    """Runs commands in the repository. May overlap with itself."""

    spec = built_in_spec("bash")
    writes = False

    def __init__(self) -> None:
        self._commands = 0

    async def call(self, arguments: Mapping[str, JSON], context: ToolContext) -> ToolOutput:
        """A command that fails is an error result; so is one that took too long, with its output until then."""
        timeout = arguments.get("timeout", DEFAULT_SECONDS)
        if not timeout > 0:  # also for NaN
            raise ToolError("`timeout` must be more than 0 seconds.")
        seconds = float(min(timeout, context.command_seconds))  # a whole number may be larger than any float
        self._commands += 1
        box = context.sandbox
        file = f"{box.info.home}/{OUTPUT_FOLDER}/{self._commands}.txt"
        show = shell_script(
            {"file": file, "limit": str(RESULT_BYTES), "head": str(HEAD_BYTES)},
            load_script("flue_ci.agent.tools", "show_output.sh"),
        )
        limit = RESULT_BYTES + 1_000
        script = _capture(arguments["command"], file, show)
        result = await box.exec(script, timeout=seconds, cwd=context.workdir, limit=limit)
        if result.timed_out:  # the script could not print: fetch what the command had written by then
            tail = await box.exec(show, timeout=30, limit=limit)
            result = replace(result, exit_code=124, output=tail.output)
        ending = f"exit code {result.exit_code}"
        if result.timed_out:
            ending = f"timed out after {human_seconds(seconds)}; it and what it started were ended (exit code 124)"
            if seconds < context.command_seconds:
                ending += f"; `timeout` may be up to {context.command_seconds:.0f}"
        output = _clip(screen_text(result.output.decode("utf-8", "replace")), file)
        text = output.rstrip("\n") + f"\n[{ending}]" if output.strip() else f"[no output; {ending}]"
        return ToolOutput(text=text, note=ending.split(";")[0], is_error=result.exit_code != 0)


def _capture(command: str, file: str, show: str) -> str:
    """The script that runs `command` with its output in `file`, then shows it.

    A file and not a pipe: a background process that keeps the output open holds nothing up, and what a killed command
    had written is still there. The subshell keeps `exit` and `cd` from ending the script; the command is part of the
    script, so that it sees no variable of ours.
    """
    folder, target = shlex.quote(file.rsplit("/", 1)[0]), shlex.quote(file)
    return (
        f"[ -d {folder} ] || mkdir -p {folder}\n"
        f"( eval {shlex.quote(command)} ) >{target} 2>&1 </dev/null\n"
        f"code=$?\n{show}\nexit $code"
    )


def _clip(output: str, file: str) -> str:
    """Bytes that are not UTF-8 triple when they are decoded; then the output is cut once more."""
    data = output.encode()
    if len(data) <= RESULT_BYTES + 500:  # what `show_output.sh` adds
        return output
    head, tail = data[:HEAD_BYTES].decode(errors="ignore"), data[HEAD_BYTES - RESULT_BYTES :].decode(errors="ignore")
    return f"{head}\n[… not text, cut here; the whole output is in {file} …]\n{tail}"
