"""`python -m benchmarks`: everything that is measured, in one run. `--quick` leaves out the large repository."""

from __future__ import annotations

import sys

from benchmarks import action, commit, loop, repository, text, verification

if __name__ == "__main__":
    quick = "--quick" in sys.argv[1:]
    loop.main(["--rounds", "3"] if quick else [])
    print()
    repository.main(["--quick"] if quick else [])
    print()
    action.main(["--quick"] if quick else [])
    print()
    text.main(["--quick"] if quick else [])
    print()
    verification.main(["--quick"] if quick else [])
    print()
    commit.main(["--quick"] if quick else [])
