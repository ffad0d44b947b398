"""Training itself, in every precision, on images small enough to do it often."""

import dataclasses
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest

from pipeline.recipe import Data, Recipe, Training, network
from pipeline.run import create_run
from pipeline.task import Classification
from pipeline.training.fit import fit
from pipeline.training.prepare import prepare
from serving.errors import ConvoyError
from tests.pipeline.stripes import stripe_splits, stripes

PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


@pytest.fixture
def splits():
    return stripe_splits()


def recipe(runs, **training):
    return Recipe(
        name="stripes",
        network=network("lenet", width=3),
        data=Data(batch_size=32),
        training=Training(epochs=3, learning_rate=0.1, **training),
        runs=runs,
    )


def trained(recipe, splits):
    task = Classification(splits.labels)
    compiled = prepare(recipe, splits, task)
    run = create_run(recipe)
    return fit(compiled, recipe, splits, task, run), run, compiled


def accuracy(model, examples):
    logits = model.predict(examples.images.astype("float32"), verbose=0)["logits"]
    return np.mean(logits.argmax(-1) == examples.labels)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_learns_and_gives_back_a_float32_network(tmp_path, splits, precision):
    # Looked at once, so that the last weights are the best.
    model, run, compiled = trained(recipe(tmp_path, precision=precision, validate_every=3), splits)
    for weight, same in zip(compiled.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, same)
    assert compiled.dtype_policy.name == PRECISIONS[precision] == run.metrics["precision"]
    assert compiled.output["logits"].dtype == "float32"
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    assert accuracy(model, splits.validation) > 0.9


def test_float16_scales_its_loss_and_bfloat16_need_not(tmp_path, splits):
    task = Classification(splits.labels)
    scaled = {
        precision: isinstance(
            prepare(recipe(tmp_path, precision=precision), splits, task).optimizer,
            keras.optimizers.LossScaleOptimizer,
        )
        for precision in PRECISIONS
    }
    assert scaled == {"float32": False, "bfloat16": False, "float16": True}


def test_the_policy_of_the_process_is_left_as_it_was(tmp_path, splits):
    before = keras.config.dtype_policy().name
    trained(recipe(tmp_path, precision="bfloat16"), splits)
    assert keras.config.dtype_policy().name == before


def test_a_training_that_diverges_is_ended_with_the_remedy(tmp_path, splits):
    wild = dataclasses.replace(recipe(tmp_path).training, learning_rate=1e9, weight_decay=1.0)
    with pytest.raises(
        ConvoyError, match="^training diverged in epoch 1 at step .* lower --training"
    ):
        trained(dataclasses.replace(recipe(tmp_path), training=wild), splits)


def test_training_never_sees_the_test_split(tmp_path, splits):
    trained(recipe(tmp_path), dataclasses.replace(splits, test=None))


def test_the_same_seed_gives_the_same_network_and_another_seed_another(tmp_path, splits):
    def weights(seed):
        exact = recipe(tmp_path, precision="float32")
        model, _, _ = trained(dataclasses.replace(exact, seed=seed), splits)
        return np.concatenate([weight.ravel() for weight in model.get_weights()])

    first = weights(seed=1)
    np.testing.assert_array_equal(weights(seed=1), first)
    assert not np.allclose(weights(seed=2), first, atol=1e-2)


def test_only_kernels_decay(tmp_path, splits):
    compiled = prepare(recipe(tmp_path), splits, Classification(splits.labels))
    decayed = {
        weight.name
        for weight in compiled.trainable_variables
        if compiled.optimizer._use_weight_decay(weight)
    }
    assert decayed == {"kernel"}


def test_a_set_smaller_than_a_batch_trains(tmp_path, splits):
    few = dataclasses.replace(splits, train=stripes(10, 0))
    _, run, _ = trained(recipe(tmp_path), few)
    assert run.metrics["best_epoch"] in (1, 2, 3)


@pytest.mark.parametrize(
    ("architecture", "words"),
    [
        ("vgg16", "cannot build `vgg16`: `input_shape` must have a height and a width of at least"),
        ("textcnn", "cannot build `textcnn`: `input_shape` must be a tuple of 1 positive ints"),
        ("autoencoder", r"does not classify images: .* for each of \[12, 12\] positions; choose"),
    ],
)
def test_a_network_that_does_not_suit_the_images_gets_one_sentence(
    tmp_path, splits, architecture, words
):
    wanted = dataclasses.replace(recipe(tmp_path), network=network(architecture, width=2))
    with pytest.raises(ConvoyError, match=words):
        prepare(wanted, splits, Classification(splits.labels))


def in_a_process_of_its_own(lines, folder):
    """What comes of lines of Python that find `folder` in the environment, as RUNS."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(lines)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "RUNS": str(folder)},
    )


def test_a_deterministic_training_gives_the_same_bits_twice(tmp_path):
    # TensorFlow does not leave that mode again.
    done = in_a_process_of_its_own(
        """
        import os
        from pathlib import Path
        from tensorflow.python.framework import config
        from tests.pipeline.stripes import stripe_splits
        from tests.pipeline.test_fit import recipe, trained

        wanted = recipe(Path(os.environ["RUNS"]), deterministic=True, precision="bfloat16")
        one, other = (trained(wanted, stripe_splits())[0].get_weights() for _ in range(2))
        print(all((a == b).all() for a, b in zip(one, other, strict=True)))
        print(config.is_op_determinism_enabled())
        """,
        tmp_path,
    )
    assert done.stdout.split() == ["True", "True"], done.stderr


def test_a_disk_that_fills_up_while_events_are_written_gets_one_sentence(tmp_path):
    done = in_a_process_of_its_own(
        """
        import os, resource, signal
        from pathlib import Path
        from pipeline.training.callbacks import Board
        from tests.pipeline.stripes import stripe_splits
        from tests.pipeline.test_fit import recipe, trained

        # No file is to grow from the first validation on.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        Board.on_test_begin = lambda *_: resource.setrlimit(resource.RLIMIT_FSIZE, (8, 8))
        trained(recipe(Path(os.environ["RUNS"])), stripe_splits())
        """,
        tmp_path,
    )
    assert "ConvoyError: cannot write" in done.stderr.splitlines()[-1]
    assert "tensorboard: expected a writable folder" in done.stderr.splitlines()[-1]
