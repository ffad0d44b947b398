"""When a training under way is not worth its time any more, by how others did at its epoch."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

# Scores of a trial by epoch, counted from one; higher is better.
Scores = Mapping[int, float]
Rule = Callable[[Scores, Sequence[Scores]], bool]

# Trials that are seen to their end before others are measured by them.
TRIALS_FIRST = 4
# Of so many trials one goes on, at epochs that grow by this factor.
FACTOR = 3


def best_until(scores: Scores, epoch: int) -> float | None:
    """The best score up to an epoch; `None` where it came no further than before."""
    reached = [value for at, value in scores.items() if at <= epoch]
    return max(reached) if reached and max(scores) >= epoch else None


def below_median(own: Scores, others: Sequence[Scores]) -> bool:
    """Whether a trial did worse than half of the others up to its epoch.

    Reference:
        Golovin et al., 2017. https://doi.org/10.1145/3097983.3098043 (the median stopping rule)
    """
    epoch = max(own)
    reached = [best for each in others if (best := best_until(each, epoch)) is not None]
    return len(reached) >= TRIALS_FIRST and max(own.values()) < float(np.median(reached))


def outside_best_third(own: Scores, others: Sequence[Scores]) -> bool:
    """Whether a trial is not among the best third of those that came to its rung.

    Reference:
        Li et al., 2018. https://arxiv.org/abs/1810.05934 (asynchronous successive halving)
    """
    epoch = max(own)
    if not is_rung(epoch):
        return False
    reached = [best for each in others if (best := best_until(each, epoch)) is not None]
    if len(reached) + 1 < FACTOR:
        return False
    places = (len(reached) + 1) // FACTOR
    return sum(best > max(own.values()) for best in reached) >= places


def is_rung(epoch: int) -> bool:
    """Whether an epoch is 1, 3, 9, ..."""
    while epoch > 1 and epoch % FACTOR == 0:
        epoch //= FACTOR
    return epoch == 1


def never(_own: Scores, _others: Sequence[Scores]) -> bool:
    """See every trial to its end."""
    return False


RULES: Mapping[str, Rule] = {
    "median": below_median,
    "halving": outside_best_third,
    "none": never,
}
