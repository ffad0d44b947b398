"""KerasTuner's loop over trials, each of them a training of a recipe."""

import time
from pathlib import Path
from typing import Any

import keras_tuner

from pipeline.data.splits import Splits
from pipeline.files import write_text
from pipeline.recipe import Recipe
from pipeline.task import Classification
from pipeline.tuning.oracles import OWN, SweepOracle, decode, values_of
from pipeline.tuning.search import METRIC
from pipeline.tuning.space import Space, with_values
from pipeline.tuning.trial import train_trial
from pipeline.tuning.workbench import Workbench
from serving.errors import ConvoyError

SECONDS_IDLE = 0.5
# In the folder of a trial: why it failed.
REASON = "reason.txt"


class RecipeTuner(keras_tuner.engine.base_tuner.BaseTuner):
    """Runs the trials that an oracle proposes.

    Args:
        oracle: proposes values.
        recipe: what they are put into.
        space: what they mean.
        folder: of the sweep; each trial has one within it.
    """

    def __init__(self, oracle: SweepOracle, recipe: Recipe, space: Space, folder: Path):
        super().__init__(oracle, directory=str(folder.parent), project_name=folder.name)
        self.recipe, self.space, self.folder = recipe, space, folder
        self.idle = False

    def run_trial(
        self, trial: Any, workbench: Workbench, splits: Splits, task: Classification
    ) -> None:
        """Train what a trial says, reporting each score.

        Raises:
            ConvoyError: its values do not suit each other.
        """
        own = trial.hyperparameters.values
        recipe = with_values(self.recipe, decode(self.space, values_of(trial)))

        def report(epoch: int, score: float) -> bool:
            heard = self.oracle.update_trial(trial.trial_id, {METRIC: score}, step=epoch)
            return heard.status != "STOPPED"

        train_trial(
            recipe,
            workbench.learner_for(recipe),
            splits,
            task,
            self.trial_folder(trial),
            own.get(f"{OWN}epochs", recipe.training.epochs),
            report,
        )

    def trial_folder(self, trial: Any) -> Path:
        """Where a trial is kept: for one that goes on from another, where that began."""
        earlier = trial.hyperparameters.values.get(f"{OWN}trial_id")
        if earlier:
            return self.trial_folder(self.oracle.get_trial(earlier))
        return self.folder / "trials" / trial.trial_id

    def _try_run_and_update_trial(self, trial, *fit_args, **fit_kwargs):
        try:
            self.run_trial(trial, *fit_args, **fit_kwargs)
            trial.status = "COMPLETED"
        except ConvoyError as error:
            trial.status, trial.message = "FAILED", str(error)
            # The protocol between workers and their chief has no place for messages.
            write_text(self.trial_folder(trial) / REASON, str(error))

    def pre_create_trial(self):
        # The oracle waits for what other workers do; ask again, but not at once.
        if self.idle:
            time.sleep(SECONDS_IDLE)
        self.idle = True

    def on_trial_begin(self, trial):
        self.idle = False

    def save(self):
        """Do nothing: the oracle keeps all there is to keep."""

    def reload(self):
        """Do nothing: the oracle is reloaded by who made it."""
