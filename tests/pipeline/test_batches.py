import itertools

import numpy as np
import pytest

from pipeline.data.batches import evaluation_batches, training_batches
from pipeline.data.splits import Examples
from pipeline.recipe import Data

PLAIN = {"flip": "none", "shift": 0}
COUNT = 48


def numbered(count=COUNT):
    """Noise images whose label is their number."""
    images = np.random.default_rng(0).integers(1, 256, (count, 6, 5, 1), dtype=np.uint8)
    return Examples(images, np.arange(count, dtype=np.int32))


def take(batches, count):
    """The first batches as arrays."""
    return list(itertools.islice(batches.as_numpy_iterator(), count))


def joined(batches):
    """The images and labels of several batches, one after the other."""
    return tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))


def by_label(images, labels):
    return images[np.argsort(labels)]


def test_an_epoch_holds_every_image_exactly_once_with_its_label():
    examples = numbered()
    steps = COUNT // 16
    batches = take(training_batches(examples, Data(batch_size=16, **PLAIN), seed=0), 3 * steps)
    orders = []
    for epoch in range(3):
        images, labels = joined(batches[epoch * steps : (epoch + 1) * steps])
        np.testing.assert_array_equal(by_label(images, labels), examples.images)
        assert sorted(labels) == list(range(COUNT))
        orders.append(labels.tolist())
    # Shuffled, and in every epoch anew.
    assert len({tuple(order) for order in [*orders, range(COUNT)]}) == 4


def test_training_batches_are_endless_and_all_of_one_size():
    batches = training_batches(numbered(10), Data(batch_size=4), seed=0)
    assert batches.element_spec[0].shape == (4, 6, 5, 1)
    assert batches.element_spec[0].dtype == "uint8"
    assert batches.element_spec[1].dtype == "int32"
    for images, labels in take(batches, 11):
        assert (images.dtype, images.shape) == (np.uint8, (4, 6, 5, 1))
        assert (labels.dtype, labels.shape) == (np.int32, (4,))


def test_a_set_smaller_than_a_batch_makes_batches_of_its_size():
    for images, labels in take(training_batches(numbered(5), Data(batch_size=256), seed=0), 3):
        assert images.shape == (5, 6, 5, 1)
        assert sorted(labels) == list(range(5))


@pytest.mark.parametrize("seed", [0, 1, 2**31 + 5])
def test_the_same_seed_gives_the_same_batches_and_another_another(seed):
    runs = [
        joined(take(training_batches(numbered(), Data(batch_size=16), one), 6))
        for one in (seed, seed, seed + 1)
    ]
    for first, again, other in zip(*runs, strict=True):
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()


@pytest.mark.parametrize("options", [{"flip": "random", "shift": 0}, {"flip": "none", "shift": 2}])
def test_augmentation_differs_between_epochs(options):
    same = Examples(np.repeat(numbered(1).images, COUNT, axis=0), np.arange(COUNT))
    batches = training_batches(same, Data(batch_size=COUNT, **options), seed=0)
    (first, _), (second, _) = take(batches, 2)
    assert (first != second).any()
    assert (first != same.images).any()


@pytest.mark.parametrize("flip", ["random", "alternating"])
def test_a_flipping_run_mirrors_some_images_and_leaves_the_others(flip):
    batches = take(training_batches(numbered(), Data(batch_size=COUNT, flip=flip, shift=0), 0), 2)
    sides = []
    for batch in batches:
        images, originals = by_label(*batch), numbered().images
        kept = (images == originals).all((1, 2, 3))
        mirrored = (images == originals[:, :, ::-1]).all((1, 2, 3))
        assert (kept ^ mirrored).all()
        assert 0 < kept.sum() < COUNT
        sides.append(mirrored)
    # In turn, or by chance.
    assert (sides[0] == ~sides[1]).all() == (flip == "alternating")


@pytest.mark.parametrize("step", [1, 3, 7])
def test_a_training_sees_the_same_from_any_step_on(step):
    data = Data(batch_size=16, shift=1, erase=0.5, cutout=2, mixup=0.2, cutmix=1.0)
    whole = take(training_batches(numbered(), data, seed=3, num_classes=COUNT), 9)
    rest = take(training_batches(numbered(), data, 3, step, num_classes=COUNT), 9 - step)
    for expected, batch in zip(whole[step:], rest, strict=True):
        for one, other in zip(expected, batch, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "options",
    [{"erase": 1.0}, {"cutout": 3}, {"rand_augment": 2}, {"mixup": 1.0}, {"cutmix": 1.0}],
    ids=lambda options: next(iter(options)),
)
def test_every_variation_of_a_recipe_changes_the_images(options):
    plain, varied = (
        training_batches(numbered(), Data(batch_size=COUNT, **PLAIN, **more), 0, 0, COUNT)
        for more in ({}, options)
    )
    ((images, labels),), ((changed, targets),) = take(plain, 1), take(varied, 1)
    assert (images != changed).any((1, 2, 3)).mean() > 0.5
    if targets.ndim == 1:
        np.testing.assert_array_equal(targets, labels)
    else:
        np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-6)
        assert targets[np.arange(COUNT), labels].min() >= 0


def test_evaluation_holds_all_images_once_in_order_and_as_they_are():
    examples = numbered()
    batches = take(evaluation_batches(examples, batch_size=20), 99)
    assert [len(labels) for _, labels in batches] == [20, 20, 8]
    images, labels = joined(batches)
    np.testing.assert_array_equal(images, examples.images)
    np.testing.assert_array_equal(labels, examples.labels)
    assert images.dtype == np.uint8
