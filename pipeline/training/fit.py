"""Train a recipe's network and give it back in float32 with its best weights."""

import contextlib
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from models.quantize import is_fake_quantized
from pipeline.console import console
from pipeline.data.batches import (
    batch_spec,
    evaluation_batches,
    shuffled_positions,
    training_batches,
)
from pipeline.data.splits import Splits, fingerprint
from pipeline.files import whole
from pipeline.recipe import Recipe
from pipeline.run import Run
from pipeline.task import Classification
from pipeline.training import checkpoints
from pipeline.training.callbacks import Board, ProgressBar, Recorder
from pipeline.training.checkpoints import Progress
from pipeline.training.distribution import require_same_step
from pipeline.training.divergence import NAMED, Diverged, find_culprit, repeat_until_it_breaks
from pipeline.training.learner import Learner
from pipeline.training.precision import precision_of
from pipeline.training.prepare import in_float32
from pipeline.training.replicated import ReplicatedLearner
from pipeline.training.shares import evaluation_shares, shares_of
from serving.errors import ConvoyError


def fit(
    learner: Learner,
    recipe: Recipe,
    splits: Splits,
    task: Classification,
    run: Run,
    resume: bool = False,
) -> keras.Model:
    """Train, choosing the best weights on the validation split.

    Writes `history.csv`, `tensorboard/` and `checkpoints/` into the run and
    records seconds, precision and validation score in its metrics.

    Args:
        learner: what `prepare` made for the recipe.
        recipe: says how.
        splits: the data.
        task: what is learned.
        run: where it is kept.
        resume: go on from the run's last whole checkpoint, to the very same weights.

    Raises:
        ConvoyError: a number became infinite or none; or the run is of another recipe or data.

    Returns:
        The network under float32, whatever it was trained in.
    """
    identity = identity_of(recipe, splits)
    state = begin(learner, recipe, splits, run, identity, resume)
    recorder = Recorder(run, state, identity, task.metric, recipe.training.checkpoint_seconds)
    if state.step == 0 and is_fake_quantized(learner):
        # Training on may make it worse than calibration alone.
        recorder.set_model(learner)
        recorder.validation = evaluation_batches(splits.validation)
        recorder.choose(-1, {f"val_{task.metric}": recorder.scores()[task.metric]})
    bar = ProgressBar(recorder.metric, learner.steps_per_epoch * recipe.training.epochs, state.step)
    learner.watchers = [bar.watch]
    callbacks: list[keras.callbacks.Callback] = [bar]
    if learner.distribution.is_chief:
        callbacks.append(Board(run.folder / "tensorboard", write_graph=False))
    try:
        with contextlib.closing(bar):
            run_epochs(learner, recipe, splits, recorder, callbacks)
    except Diverged:
        raise ConvoyError(explain(learner, recipe, splits, run, identity)) from None
    except KeyboardInterrupt:
        recorder.save_within_epoch()
        raise
    if learner.distribution.is_chief:
        run.record(
            precision=learner.dtype_policy.name,
            training_seconds=round(state.seconds, 1),
            parameters=learner.count_params(),
            best_epoch=state.best_epoch,
            best_is_average=state.best_is_average,
            validation_accuracy=state.best_score,
        )
    return in_float32(state.best, recipe, splits)


def begin(
    learner: Learner,
    recipe: Recipe,
    splits: Splits,
    run: Run,
    identity: dict[str, Any],
    resume: bool,
) -> Progress:
    """Put the learner where the run's last checkpoint was, or make the first one."""
    learner.build_for(batch_spec(splits.train, recipe.data, len(splits.labels)))
    state = checkpoints.restore(run.checkpoints, learner, identity) if resume else Progress()
    require_same_step(learner.distribution, state.step, run.folder)
    learner.epoch = state.epoch
    # At the end of an epoch the metrics are those of the validation split, and begin anew.
    learner.resumed = state.step > state.epoch * learner.steps_per_epoch
    if state.step == 0:
        checkpoints.save(run.checkpoints, learner, state, identity)
    return state


def run_epochs(
    learner: Learner,
    recipe: Recipe,
    splits: Splits,
    recorder: Recorder,
    callbacks: Sequence[keras.callbacks.Callback],
    last: int | None = None,
) -> None:
    """Train from the present step to the end of the recipe, or of an epoch before.

    Args:
        learner: trained.
        recipe: says how.
        splits: the data.
        recorder: keeps what was reached.
        callbacks: hear of epochs after the recorder.
        last: the epoch to stop after, counted from one.

    Raises:
        Diverged: a number became infinite or none.
    """
    training, state = recipe.training, recorder.state
    distribution, validation = learner.distribution, evaluation_batches(splits.validation)
    if isinstance(learner, ReplicatedLearner):
        validation, learner.evaluation_steps = evaluation_shares(splits.validation, distribution)
    recorder.validation = validation
    learner.watchers = [*learner.watchers, recorder.watch]
    end = last or training.epochs
    looks = range(training.validate_every, end + 1, training.validate_every)
    learner.fit(
        shares_of(batches_from(state.step, recipe, splits), distribution),
        validation_data=validation,
        validation_steps=learner.evaluation_calls,
        validation_freq=sorted({*looks, end}),
        initial_epoch=state.epoch,
        epochs=end,
        # A call of the learner's trains a whole epoch.
        steps_per_epoch=1,
        callbacks=[recorder, *callbacks],
        # The data set shuffles by itself.
        shuffle=False,
        verbose=0,
    )


def batches_from(step: int, recipe: Recipe, splits: Splits) -> tf.data.Dataset:
    """What the training sees from this step on."""
    return training_batches(splits.train, recipe.data, recipe.seed, step, len(splits.labels))


def identity_of(recipe: Recipe, splits: Splits) -> dict[str, Any]:
    """What must be the same for a training to go on, and on all machines."""
    content = recipe.identity()
    content["training"]["precision"] = precision_of(recipe)
    return {**content, "images": fingerprint(splits.train, splits.validation)}


def explain(
    learner: Learner, recipe: Recipe, splits: Splits, run: Run, identity: dict[str, Any]
) -> str:
    """Say where a training went wrong, and keep the last good weights.

    The training is repeated from its last checkpoint, step by step.
    """
    reached = learner.steps_done
    somewhere = (
        f"training diverged before step {reached + 1}: expected finite numbers, received one that "
        "is not; lower --training.learning-rate"
    )
    if learner.distribution.replicas > 1:
        return f"{somewhere}, or learn where by `convoy train --resume {run.folder}` on one device."
    console.print("The training diverged; its last steps are repeated to see where ...")
    state = checkpoints.restore(run.checkpoints, learner, identity)
    batches = iter(batches_from(state.step, recipe, splits))
    batch = repeat_until_it_breaks(learner, batches, reached - state.step)
    if batch is None:
        return f"{somewhere}."
    step = learner.steps_done
    with whole(run.last_good) as scratch:
        in_float32(learner.get_weights(), recipe, splits).save(scratch)
    culprit = find_culprit(learner, batch)
    positions = shuffled_positions(len(splits.train), recipe.data, recipe.seed, step)
    images = next(iter(positions)).numpy()[culprit.rows[:NAMED]]
    return (
        f"training diverged in epoch {step // learner.steps_per_epoch + 1} at step {step + 1}: "
        f"expected finite numbers, received others in {culprit.what}"
        + (f" for training images {', '.join(map(str, images))}" if images.size else "")
        + "; lower --training.learning-rate"
        + f" (to begin with the last good weights, give --training.start-from {run.last_good})"
        * (recipe.quantize == "none")
        + "."
    )
