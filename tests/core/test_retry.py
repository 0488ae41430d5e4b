"""When something is tried again, and when it is given up."""

from __future__ import annotations

import pytest

from flue_ci.core.retry import Retry, RetryPolicy, parse_retry_after


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def waits(policy: RetryPolicy, *, chance: float = 0.5, most: int = 20) -> list[float]:
    """The waits of an operation that always fails at once."""
    clock = Clock()
    retry = Retry(policy, clock=clock, chance=lambda: chance)
    result: list[float] = []
    while len(result) < most and (wait := retry.next_wait()) is not None:
        result.append(wait)
        clock.now += wait
    return result


def test_waits_grow_to_a_maximum_and_end_with_the_time() -> None:
    policy = RetryPolicy(timeout=30, first_wait=1, max_wait=8, growth=2)
    assert waits(policy) == [1, 2, 4, 8, 8]


def test_attempts_are_counted_with_the_first() -> None:
    assert waits(RetryPolicy(attempts=3, first_wait=0.3)) == [0.3, 0.6]
    assert waits(RetryPolicy(attempts=1)) == []


@pytest.mark.parametrize(("chance", "factor"), [(0.0, 0.75), (0.5, 1.0), (1.0, 1.25)])
def test_jitter_spreads_waits_around_their_value(chance: float, factor: float) -> None:
    assert waits(RetryPolicy(attempts=2, first_wait=4, jitter=0.25), chance=chance) == [4 * factor]


def test_a_wait_that_the_service_asked_for_is_taken_as_it_is() -> None:
    retry = Retry(RetryPolicy(timeout=60), clock=lambda: 0.0, chance=lambda: 1.0)
    assert retry.next_wait(17.0) == 17.0
    assert retry.next_wait(61.0) is None


def test_a_restart_gives_the_whole_time_again() -> None:
    clock = Clock()
    retry = Retry(RetryPolicy(timeout=10, first_wait=1, jitter=0), clock=clock)
    clock.now += 9.5
    assert retry.next_wait() is None
    retry.restart()
    assert retry.next_wait() == 2
    assert retry.elapsed == 0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after": "Sat, 28 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Sat, 28 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": " "}, None),
        ({"retry-after-ms": "many"}, None),
        ({"retry-after-ms": "-5"}, 0.0),
        ({"retry-after": "20", "retry-after-ms": "500"}, 0.5),
        ({}, None),
    ],
)
def test_the_headers_of_a_wait_are_read(headers: dict[str, str], seconds: float | None) -> None:
    assert parse_retry_after(headers, now=1_795_867_200.0) == seconds
