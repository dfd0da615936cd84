"""Ratios of times, on a clock that the tests turn by hand."""

import itertools

import pytest

import ratios


class Clock:
    """A clock that functions advance by as many seconds as they are said to take."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def taking(self, name: str, *seconds: float):
        """Return a function that takes these seconds, call after call, over and over."""
        durations = itertools.cycle(seconds)

        def function() -> None:
            self.calls.append(name)
            self.now += next(durations)

        return function


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(ratios.time, "perf_counter", lambda: clock.now)
    return clock


def test_the_ratio_is_baseline_over_candidate_pair_by_pair(clock: Clock):
    # The machine is ten times slower in the second pair, for both: the ratio does not notice.
    result = ratios.interleave(clock.taking("b", 6, 60), clock.taking("c", 2, 20), 4, warm_up=0)
    assert result["ratio"] == {"min": 3, "median": 3, "max": 3}
    assert result["baseline_seconds"] == {"min": 6, "median": 33, "max": 60}
    assert result["candidate_seconds"] == {"min": 2, "median": 11, "max": 20}
    assert result["repetitions"] == 4


def test_neither_side_always_comes_first(clock: Clock):
    ratios.interleave(clock.taking("b", 1), clock.taking("c", 1), 4, warm_up=0)
    assert "".join(clock.calls) == "bccbbccb"


def test_warming_up_is_not_timed(clock: Clock):
    result = ratios.interleave(clock.taking("b", 100, 4, 4), clock.taking("c", 100, 1, 1), 2)
    assert result["ratio"] == {"min": 4, "median": 4, "max": 4}


def test_no_repetition_is_refused(clock: Clock):
    with pytest.raises(ValueError, match="Got 0"):
        ratios.interleave(clock.taking("b", 1), clock.taking("c", 1), 0)
