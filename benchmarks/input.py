"""Is it the input or the step that training waits for, and how fast is our input beside others?

Our batches are made beside the same flips and shifts done image by image with tf.data, as tutorials
do, and batch by batch in NumPy. Then the recipe's own input, its step on one batch that stays, and
both as they are trained, take turns: what is lost between the last two is what the input costs.
"""

import os
import statistics
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.pairs import in_words, notes, ratios, require_pairs, spread, surroundings
from benchmarks.sides import (
    Side,
    copying,
    drawing,
    image_by_image,
    in_numpy,
    looping,
    rates_in_turn,
    training,
)
from pipeline.data.batches import training_batches
from pipeline.data.sources import load
from pipeline.data.splits import Examples
from pipeline.recipe import Data, Recipe
from pipeline.task import Classification
from pipeline.training.precision import POLICIES, choose_precision
from pipeline.training.prepare import prepare

# More than this share of the time lost, and the input is what to mend.
MOST_LOST = 0.05
# Settings of a recipe's data that cost time, dearest first.
COSTLY = ("rand_augment", "erase", "cutout", "cutmix", "mixup", "flip", "shift")


def alike(data: Data) -> Data:
    """The recipe's batches and shifts with random flips, and nothing else."""
    return Data(batch_size=data.batch_size, flip="random", shift=data.shift)


def compare(examples: Examples, data: Data, pairs: int) -> dict[str, Any]:
    """Our input beside others, all flipping and shifting alike."""
    batch_size, most = min(data.batch_size, len(examples)), data.shift
    batch_bytes = batch_size * int(np.prod(examples.images.shape[1:]))
    found = rates_in_turn(
        {
            "ours": drawing(training_batches(examples, alike(data), 0)),
            "maps": drawing(image_by_image(examples, batch_size, most)),
            "numpy": looping(lambda: in_numpy(examples, batch_size, most)),
            "copy": copying(batch_bytes),
        },
        batch_size,
        pairs,
    )
    bytes_per_image = batch_bytes / batch_size
    return {
        "images_per_second": {name: spread(values) for name, values in found.items()},
        "times_maps": ratios(found["ours"], found["maps"]),
        "times_numpy": ratios(found["ours"], found["numpy"]),
        "share_of_copy": ratios(found["ours"], found["copy"]),
        "copy_bytes_per_second": bytes_per_image * statistics.median(found["copy"]),
    }


def diagnose(recipe: Recipe, splits: Any, pairs: int) -> dict[str, Any]:
    """The recipe's input, its step, and both together.

    Raises:
        ConvoyError: the network does not suit the images.
    """
    learner = prepare(recipe, splits, Classification(splits.labels))
    batches = training_batches(splits.train, recipe.data, recipe.seed, 0, len(splits.labels))
    learner.build_for(batches.element_spec)
    resident = tf.data.Dataset.from_tensors(next(iter(batches))).repeat()
    train = training(learner)
    batch_size = min(recipe.data.batch_size, len(splits.train))
    found = rates_in_turn(
        {
            "data": drawing(batches),
            "step": Side(lambda: iter(resident), train),
            "both": Side(lambda: iter(batches), train),
        },
        batch_size,
        pairs,
    )
    lost = [1 - both / step for both, step in zip(found["both"], found["step"], strict=True)]
    times = ratios(found["data"], found["step"])
    return {
        "images_per_second": {name: spread(values) for name, values in found.items()},
        "data_over_step": times,
        "lost": spread(lost),
        **verdict(recipe.data, learner.dtype_policy.name, times["median"], statistics.median(lost)),
    }


def verdict(data: Data, precision: str, times: float, lost: float) -> dict[str, str]:
    """Name the bottleneck, and what to change.

    Args:
        data: of the recipe.
        precision: dtype policy of the training.
        times: images of the input for each that the step takes, both alone.
        lost: share of the training's time that the input was seen to cost.
    """
    # One after the other, both take that much longer; what else was lost is the machine's noise.
    lost = min(lost, 1 / (1 + times))
    said = f"the input alone delivers {times:.3g} times what the step takes"
    if times >= 1 and lost <= MOST_LOST:
        best = choose_precision("auto")
        faster = f"{best} (--training.precision), " if POLICIES[best] != precision else ""
        change = f"a smaller network, {faster}smaller images or more cores will help."
        return {"bottleneck": "step", "advice": f"The step is the bottleneck: {said}; {change}"}
    used = [
        name for name in COSTLY if getattr(data, name, 0) not in (0, (), None, False, "none", "")
    ]
    less = f"less of {', '.join('--data.' + name.replace('_', '-') for name in used)}, " * bool(
        used
    )
    return {
        "bottleneck": "input",
        "advice": f"The input is the bottleneck: {said}, and costs {max(lost, 0):.0%} of the time; "
        f"{less}smaller images or more cores will help.",
    }


def run(recipe: Recipe, pairs: int = 10) -> dict[str, Any]:
    """Measure a recipe's input, beside others and beside its step.

    Raises:
        ConvoyError: too few pairs, no such data, or the network does not suit them.
    """
    require_pairs(pairs, steady=10)
    before = os.getloadavg()
    splits = load(recipe.data)
    return {
        "recipe": recipe.name,
        "pairs": pairs,
        "image_shape": splits.image_shape,
        "batch_size": min(recipe.data.batch_size, len(splits.train)),
        "input": compare(splits.train, recipe.data, pairs),
        "doctor": diagnose(recipe, splits, pairs),
        **surroundings(before),
    }


def table(result: dict[str, Any]) -> str:
    """The result in words: images per second, ratios, and what to change."""
    ours, doctor = result["input"], result["doctor"]
    shape = "x".join(map(str, result["image_shape"]))
    head = f"{shape}, batches of {result['batch_size']}"

    def line(name: str, rates: dict[str, float], note: str = "") -> str:
        return f"{name:34}{rates['median']:>14,.0f}  {note}".rstrip()

    def times(side: str) -> str:
        return f"ours x {in_words(ours[side])}"

    rates, own = ours["images_per_second"], doctor["images_per_second"]
    return "\n".join(
        [
            f"{head:34}{'images/s':>14}",
            line("flip and shift, our batches", rates["ours"]),
            line("image by image, tf.data", rates["maps"], times("times_maps")),
            line("batch by batch, NumPy", rates["numpy"], times("times_numpy")),
            line("copied memory", rates["copy"], times("share_of_copy")),
            "",
            line(f"{result['recipe']}: input alone", own["data"]),
            line("step alone", own["step"]),
            line("both", own["both"], f"lost to the input {in_words(doctor['lost'])}"),
            "",
            *notes(result, doctor["advice"]),
        ]
    )
