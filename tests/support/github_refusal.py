"""What the GitHub of the tests refuses: the status and GitHub's own words."""


class Refusal(Exception):
    """`headers` are those of the answer, by name."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers
