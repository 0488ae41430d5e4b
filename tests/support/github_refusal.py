"""What the GitHub of the tests refuses: the status and GitHub's own words."""


class Refusal(Exception):
    """`headers` are those of the answer, by name; `errors` what was wrong with the fields of a request."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers
        self.errors: list[dict[str, str]] = []
