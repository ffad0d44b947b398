"""KerasTuner's oracles: here they watch trials, refuse some, keep to a time, and are resumed."""

import copy
import functools
import json
import math
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner.engine.hyperparameters import HyperParameters
from keras_tuner.engine.trial import Trial
from sklearn.exceptions import ConvergenceWarning

from pipeline.files import write_json
from pipeline.tuning.pruning import RULES, Scores
from pipeline.tuning.search import METRIC, Search
from pipeline.tuning.space import Choice, Space, Values
from serving.errors import ConvoyError

# Proposals in a row that may be refused before a search gives up.
MOST_REFUSALS = 300
REFUSED = "refused: "
# What oracles add to the values of a trial.
OWN = "tuner/"
# Of a span on a grid.
GRID_POINTS = 5

Refusal = Callable[[Mapping[str, Any]], str | None]


class SweepOracle(keras_tuner.Oracle):
    """What all oracles of a search have in common; a mixin before one of KerasTuner's.

    All of its state is one file, which is whole at any moment. It counts `seconds`, those before
    a resumption too.

    Args:
        path: of that file.
        search: how long, and when to prune.
        refusal: says of values why they are not worth a training, or `None`.
        **kwargs: of KerasTuner's oracle.
    """

    def __init__(self, path: Path, search: Search, refusal: Refusal, **kwargs):
        super().__init__(
            objective=keras_tuner.Objective(METRIC, "max"),
            seed=search.seed + 1,
            allow_new_entries=False,
            **kwargs,
        )
        self.path, self.search, self.refusal = path, search, refusal
        self.rule = RULES[search.prune]
        self.began = time.monotonic()
        self.seconds_before = 0.0
        self.refused: list[dict[str, Any]] = []
        self.verbose = 0
        # Told of each trial that has ended.
        self.heard: Callable[[Trial], None] = lambda trial: None

    @property
    def seconds(self) -> float:
        """How long the search has taken."""
        return self.seconds_before + time.monotonic() - self.began

    @keras_tuner.synchronized
    def create_trial(self, tuner_id):
        if self.is_time_up() and tuner_id not in self.ongoing_trials:
            self.tuner_ids.discard(tuner_id)
            return Trial(self.get_space(), status="STOPPED")
        while True:
            self.max_trials = self.search.trials + self.count_refused()
            trial = super().create_trial(tuner_id)
            reason = self.refusal(values_of(trial)) if trial.status == "RUNNING" else None
            if reason is None:
                return trial
            self.refuse(trial, reason)

    @keras_tuner.synchronized
    def update_trial(self, trial_id, metrics, step=0):
        trial = super().update_trial(trial_id, metrics, step)
        others = [scores_of(each) for each in self.trials.values() if each is not trial]
        if self.rule(scores_of(trial), others):
            trial = copy.copy(trial)
            trial.status = "STOPPED"
        return trial

    @keras_tuner.synchronized
    def end_trial(self, trial):
        super().end_trial(trial)
        # What was saved so far counts it as under way.
        self.save()
        trial = self.trials[trial.trial_id]
        if not is_refused(trial):
            self.heard(trial)

    def refuse(self, trial: Trial, reason: str) -> None:
        """End a trial that is not worth its training."""
        trial.status, trial.message = "FAILED", REFUSED + reason
        self.end_trial(trial)
        if self.count_refused() >= MOST_REFUSALS:
            raise ConvoyError(too_tight(reason))

    def count_refused(self) -> int:
        """How many of the trials were refused."""
        return sum(map(is_refused, self.trials.values()))

    def refused_values(self, space: Space) -> list[dict[str, Any]]:
        """What was refused before it became a trial, and why."""
        return [{**each, "values": decode(space, each["values"])} for each in self.refused]

    def needed(self) -> set[str]:
        """Trials whose checkpoints may be asked for again."""
        return set()

    def is_time_up(self) -> bool:
        """Whether no training may begin any more."""
        minutes = self.search.minutes
        return minutes is not None and self.seconds >= 60 * minutes

    def _random_values(self):
        """Values by chance that are not refused; those of the recipe first."""
        if not self.trials and not self.refused:
            first = self.get_space()
            values = {each.name: each.default for each in first.space}
            if self.refusal(values) is None:
                return values
        for _ in range(MOST_REFUSALS):
            values = super()._random_values()
            reason = None if values is None else self.refusal(values)
            if reason is None:
                return values
            self.refused.append({"values": values, "reason": reason})
            self._tried_so_far.add(self._compute_values_hash(values))
        raise ConvoyError(too_tight(str(reason)))

    def _check_consecutive_failures(self):
        ended = [self.trials[each] for each in self.end_order]
        last = [each for each in ended if not is_refused(each)][
            -self.max_consecutive_failed_trials :
        ]
        if len(last) == self.max_consecutive_failed_trials and all(
            each.status == "FAILED" for each in last
        ):
            raise ConvoyError(
                f"the last {len(last)} trials failed: expected trainings that end, received: "
                f"{last[-1].message}; mend that, or change the space."
            )

    def score_trial(self, trial):
        super().score_trial(trial)
        if not math.isfinite(trial.score):
            trial.score = 0.0

    def get_state(self):
        return {
            **super().get_state(),
            "trials": [each.get_state() for each in self.trials.values()],
            "refused": self.refused,
            "seconds": self.seconds,
        }

    def set_state(self, state):
        self.trials = {each["trial_id"]: Trial.from_state(each) for each in state["trials"]}
        self.refused, self.seconds_before = state["refused"], state["seconds"]
        self.began = time.monotonic()
        super().set_state(state)

    def save(self):
        write_json(self.path, self.get_state())

    def reload(self):
        self.set_state(json.loads(self.path.read_text(encoding="utf-8")))
        # What was under way when the process ended comes first; KerasTuner saves trials that end
        # before it takes them from this list.
        under_way = [each for each in self.ongoing_trials.values() if each.status == "RUNNING"]
        self._retry_queue += [each.trial_id for each in under_way]
        self.ongoing_trials = {}

    def _save_trial(self, trial):
        """Trials are part of the state."""


def too_tight(reason: str) -> str:
    """What to say where nothing is worth a training."""
    return (
        f"the limits leave nothing to search: expected a network within them, received "
        f"{MOST_REFUSALS} in a row that are not, the last {reason}; raise --limits, or widen the "
        "space."
    )


class RandomOracle(SweepOracle, keras_tuner.oracles.RandomSearchOracle):
    """Values by chance."""


class BayesianOracle(SweepOracle, keras_tuner.oracles.BayesianOptimizationOracle):
    """Values where a Gaussian process expects most; what was refused counts as the worst."""

    def populate_space(self, trial_id):
        with warnings.catch_warnings():
            # That few trials say little of one of the fields.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return super().populate_space(trial_id)

    def _vectorize_trials(self):
        x, y = super()._vectorize_trials()
        refused = [each["values"] for each in self.refused]
        refused += [values_of(each) for each in self.trials.values() if is_refused(each)]
        if not refused:
            return x, y
        rows = [
            [each.value_to_prob(values[each.name]) for each in self._nonfixed_space()]
            for values in refused
        ]
        # The latest tell most, and the process slows down with their cube.
        rows = np.array(rows)[-len(y) :]
        return np.concatenate([x, rows]), np.concatenate([y, np.full(len(rows), y.max())])


class HyperbandOracle(SweepOracle, keras_tuner.oracles.HyperbandOracle):
    """Many short trainings, of which the best go on from where they stopped."""

    def __init__(self, *args, max_epochs, **kwargs):
        super().__init__(
            *args, max_epochs=max_epochs, factor=3, hyperband_iterations=10**6, **kwargs
        )

    def needed(self):
        rounds = [each for bracket in self._brackets for each in bracket["rounds"]]
        return {trial["id"] for each in rounds for trial in each}


class GridOracle(SweepOracle, keras_tuner.oracles.GridSearchOracle):
    """Every combination; of a span so many points."""

    def set_state(self, state):
        super().set_state(state)
        # KerasTuner forgets where in the grid it was: each trial may have a next one.
        by_values = functools.cmp_to_key(
            lambda one, other: self._compare(self.values_in(one), self.values_in(other))
        )
        before = None
        for name in sorted(self.trials, key=by_values):
            self._ordered_ids.insert(name, before)
            before = name
        self._populate_next = list(self.end_order)

    def values_in(self, trial_id):
        """The values of a trial."""
        return self.trials[trial_id].hyperparameters.values


def make_oracle(
    space: Space,
    defaults: Mapping[str, Any],
    path: Path,
    search: Search,
    refusal: Refusal,
    epochs: int,
) -> SweepOracle:
    """The oracle that a search asks for.

    Args:
        space: what it may change.
        defaults: the recipe's own values, to begin with.
        path: where it keeps its state.
        search: says which oracle, how long, and when to prune.
        refusal: says of values why they are not worth a training, or `None`.
        epochs: of a whole training.
    """
    hyperparameters = HyperParameters()
    for name, values in space.items():
        declare(hyperparameters, name, values, defaults[name], search.oracle == "grid")
    arguments: dict[str, Any] = {
        "path": path,
        "search": search,
        "refusal": decoded(space, refusal),
        "hyperparameters": hyperparameters,
    }
    if search.oracle == "hyperband":
        return HyperbandOracle(max_epochs=epochs, **arguments)
    if search.oracle == "bayesian":
        # KerasTuner begins with three times as many by chance; few searches last as long.
        arguments["num_initial_points"] = max(4, len(space))
    kinds = {"random": RandomOracle, "bayesian": BayesianOracle, "grid": GridOracle}
    return kinds[search.oracle](max_trials=search.trials, **arguments)


def declare(
    hyperparameters: HyperParameters, name: str, values: Values, default: Any, on_grid: bool
) -> None:
    """Tell KerasTuner of a field and its values."""
    if isinstance(values, Choice):
        # KerasTuner knows numbers and words alone.
        words = [repr(each) for each in values.values]
        first = repr(default) if default in values else words[0]
        hyperparameters.Choice(name, words, default=first)
        return
    start = default if default in values else values.low
    if values.kind == "integer":
        hyperparameters.Int(name, int(values.low), int(values.high), default=int(start))
        return
    sampling = "log" if values.kind == "log" else "linear"
    steps: dict[str, Any] = {}
    if on_grid:
        apart = GRID_POINTS - 1
        steps["step"] = (
            (values.high / values.low) ** (1 / apart)
            if sampling == "log"
            else (values.high - values.low) / apart
        )
        start = values.low
    hyperparameters.Float(name, values.low, values.high, sampling=sampling, default=start, **steps)


def decode(space: Space, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a recipe's fields, from those that KerasTuner knows."""
    found = {}
    for name, kind in space.items():
        value = values[name]
        if isinstance(kind, Choice):
            value = {repr(each): each for each in kind.values}[value]
        found[name] = value
    return found


def decoded(space: Space, refusal: Refusal) -> Refusal:
    """The same refusal, of values as KerasTuner knows them."""
    return lambda values: refusal(decode(space, values))


def values_of(trial: Trial) -> dict[str, Any]:
    """The values of a trial, without what its oracle adds."""
    values = trial.hyperparameters.values
    return {name: value for name, value in values.items() if not name.startswith(OWN)}


def is_refused(trial: Trial) -> bool:
    """Whether a trial was not worth a training."""
    return (trial.message or "").startswith(REFUSED)


def scores_of(trial: Trial) -> Scores:
    """The scores of a trial by epoch."""
    if not trial.metrics.exists(METRIC):
        return {}
    return {each.step: each.mean() for each in trial.metrics.get_history(METRIC)}
