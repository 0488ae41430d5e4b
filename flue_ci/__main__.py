"""`flue-ci` and `python -m flue_ci`: the error boundary. Expected failure, interruption and bug are three things."""

import io
import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Runs the command line and ends the process with its exit code."""
    _hide_memory()
    _open_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file's name may hold invalid UTF-8; printing it must not fail
            stream.reconfigure(errors="backslashreplace")
    try:
        code = run_command_line(sys.argv[1:])
    except KeyboardInterrupt:  # before the command line was even read
        code = 130
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = code or 1  # a reader that went away (a closed pipe) has not seen everything
    os._exit(code)  # tearing down an interpreter with two large SDKs in it takes a quarter of a second


def _hide_memory() -> None:
    """Keys stand in our environment and memory: other processes of the same user may not read or trace us (Linux)."""
    if sys.platform == "linux":
        import ctypes

        set_dumpable = 4
        ctypes.CDLL(None).prctl(set_dumpable, 0, 0, 0, 0)


def _open_streams() -> None:
    """Opens the null device for every standard stream that the caller closed: the next file would take its number
    otherwise, and receive what is printed."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8")  # noqa: SIM115 (for as long as the process lives)
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8")  # noqa: SIM115


def run_command_line(arguments: list[str]) -> int:
    """The exit code of a command line. Prints what went wrong to standard error."""
    from flue_ci.core.startup import fast_startup

    with fast_startup():
        import click

        from flue_ci.cli import cli
        from flue_ci.core.errors import EXIT_BUG, EXIT_USAGE, FlueError
        from flue_ci.core.network_variables import client_variables

    os.environ.update(client_variables(os.environ))
    if level := os.environ.get("ANTHROPIC_LOG"):
        from flue_ci.safety import log_handler

        log_handler.install_log_handler(_log)
        log_handler.set_level(level)
    try:
        code = cli.main(arguments, prog_name="flue-ci", standalone_mode=False)
    except FlueError as error:
        text = f"flue-ci: {error}"
        if error.hint:
            text += f"\n  → {error.hint}"
        _print_error(text)
        return error.exit_code
    except click.ClickException as error:
        message = io.StringIO()
        error.show(message)
        _print_error(message.getvalue().rstrip())
        return EXIT_USAGE
    except (KeyboardInterrupt, click.Abort):
        print("flue-ci: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1
    except OSError as error:
        if not (text := _machine_trouble(error)):
            _print_bug()
            return EXIT_BUG
        _print_error(f"flue-ci: {text}")
        return EXIT_USAGE
    except Exception:  # noqa: BLE001 (the error boundary: anything else is a bug of ours)
        _print_bug()
        return EXIT_BUG
    return code if isinstance(code, int) else 0


def _machine_trouble(error: OSError) -> str:
    """What of this machine stands in the way, and what to do; empty for an error that is a bug of ours."""
    import errno

    text = error.strerror or ""
    if text.startswith("No usable temporary directory"):  # `tempfile`, which looks at these variables
        return f"{text[0].lower()}{text[1:]}\n  → set TMPDIR to a directory that can be written"
    hints = {
        errno.EROFS: "choose places that can be written: --out, TMPDIR, HOME",
        errno.EACCES: "see who may use it (ls -ld), or choose another place: --out, TMPDIR, HOME",
        errno.ENOSPC: "make space, or choose another place: --out, TMPDIR, HOME",
        errno.EDQUOT: "make space, or choose another place: --out, TMPDIR, HOME",
        errno.EMFILE: "allow more open files: ulimit -n 4096",
    }
    if error.errno not in hints:
        return ""
    place = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else "a file"
    return f"{place}: {text}\n  → {hints[error.errno]}"


def _print_bug() -> None:
    import traceback

    _print_error(f"{traceback.format_exc()}flue-ci: this is a bug of flue-ci; the lines above say where")


def _print_error(text: str) -> None:
    """Prints to standard error, without secrets of the environment and without what moves a terminal's cursor."""
    from flue_ci.core.text import plain
    from flue_ci.terminal.screen import say

    say(plain(_without_secrets(text)), sys.stderr)


def _log(text: str) -> None:
    """The same as one line of bounded length."""
    from flue_ci.core.text import one_line
    from flue_ci.terminal.screen import say

    say(one_line(_without_secrets(text), 2_000), sys.stderr)


def _without_secrets(text: str) -> str:
    from flue_ci.safety.redact import Redactor, secrets_of

    return Redactor(secrets_of(os.environ))(text)


if __name__ == "__main__":
    main()
