"""`flue-ci show --html`: makes the page of a saved run, and opens it."""

import webbrowser
from pathlib import Path

from flue_ci.core.errors import FlueError
from flue_ci.core.text import plain
from flue_ci.report.folder import write_page
from flue_ci.report.report import Report
from flue_ci.safety.redact import Redactor


def show_page(folder: Path, report: Report, patch: bytes, redact: Redactor, *, in_browser: bool) -> None:
    """Prints where the page is. It is always made anew: one that lies in a stranger's folder could hold any script.
    Raises `FlueError`."""
    try:
        page = write_page(folder, report, patch, redact).resolve()
    except OSError as error:
        message = f"the page cannot be made in {folder}: {error.strerror} ({error.filename})"
        raise FlueError(message, hint="copy the folder to a place where you may write") from error
    print(plain(str(page)))
    if in_browser and not webbrowser.open(page.as_uri()):
        raise FlueError("no browser could be started", hint=f"open {page.as_uri()} yourself")
