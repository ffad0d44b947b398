"""When a training under way is ended, against the rules as their papers write them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tuning.pruning import RULES, TRIALS_FIRST, is_rung

trials = st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=10), max_size=12)


def by_epoch(scores):
    return {epoch: score for epoch, score in enumerate(scores, 1)}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10), trials)
def test_a_trial_is_ended_below_the_median_of_those_that_came_as_far(own, others):
    came_as_far = [max(each[: len(own)]) for each in others if len(each) >= len(own)]
    expected = len(came_as_far) >= TRIALS_FIRST and max(own) < np.median(came_as_far)
    assert RULES["median"](by_epoch(own), list(map(by_epoch, others))) == expected


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10), trials)
def test_at_its_rungs_a_trial_goes_on_among_the_best_third(own, others):
    came_as_far = [max(each[: len(own)]) for each in others if len(each) >= len(own)]
    better = sum(each > max(own) for each in came_as_far)
    expected = (
        len(own) in (1, 3, 9) and len(came_as_far) >= 2 and better >= (len(came_as_far) + 1) // 3
    )
    assert RULES["halving"](by_epoch(own), list(map(by_epoch, others))) == expected


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10), trials)
def test_without_a_rule_every_trial_goes_on(own, others):
    assert not RULES["none"](by_epoch(own), list(map(by_epoch, others)))


def test_rungs_are_powers_of_three():
    assert [epoch for epoch in range(1, 30) if is_rung(epoch)] == [1, 3, 9, 27]


@pytest.mark.parametrize("rule", RULES)
def test_the_best_of_all_is_never_ended(rule):
    others = [by_epoch([0.1 * k] * 9) for k in range(9)]
    assert not any(RULES[rule](by_epoch([0.9] * end), others) for end in range(1, 10))
