"""`flue-ci` and `python -m flue_ci`: the error boundary. Expected failure, interruption and bug are three things."""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Runs the command line and ends the process with its exit code."""
    gc.disable()  # start-up makes no garbage, and looking for it costs a fifth of it; `wiring` turns it on again
    code = guarded(sys.argv[1:])
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = code or 1  # a reader that went away (a closed pipe) has not seen everything
    os._exit(code)  # tearing down an interpreter with two large SDKs in it takes a quarter of a second


def guarded(arguments: list[str]) -> int:
    """The exit code of a command line. Prints what went wrong to standard error."""
    import click

    from flue_ci.cli import cli
    from flue_ci.errors import EXIT_BUG, EXIT_USAGE, FlueError

    try:
        code = cli.main(arguments, prog_name="flue-ci", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except FlueError as error:
        print(f"flue-ci: {error}", file=sys.stderr)
        if error.hint:
            print(f"  → {error.hint}", file=sys.stderr)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return EXIT_USAGE
    except (KeyboardInterrupt, click.Abort):
        print("flue-ci: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1
    except Exception:  # noqa: BLE001 (the boundary itself)
        import traceback

        traceback.print_exc()
        print("flue-ci: this is a bug of flue-ci; the lines above say where", file=sys.stderr)
        return EXIT_BUG


if __name__ == "__main__":
    main()
