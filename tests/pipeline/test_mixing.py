import numpy as np
import pytest
import tensorflow as tf

from pipeline.data.mixing import beta, cutmix, mixup

EACH = pytest.mark.parametrize("mix", [mixup, cutmix])


def batch(count, shape=(6, 5, 3), dtype="uint8"):
    """Noise images, each of a class of its own."""
    images = np.random.default_rng(0).integers(0, 256, (count, *shape)).astype(dtype)
    return images, np.eye(count, dtype=np.float32)


def kept(targets):
    """Each row's share of its own class."""
    return np.diagonal(targets)


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 4.0])
def test_shares_have_the_moments_of_beta(alpha):
    drawn = beta(tf.constant(40_000), (0, 1), alpha).numpy()
    assert ((drawn >= 0) & (drawn <= 1)).all()
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(drawn.mean() - 0.5) < 6 * np.sqrt(variance / len(drawn))
    # The fourth central moment is at most a quarter of the variance.
    assert abs(drawn.var() - variance) < 6 * np.sqrt(variance / 4 / len(drawn))


def test_a_tiny_alpha_keeps_or_replaces_and_gives_numbers():
    drawn = beta(tf.constant(2000), (0, 1), 0.001).numpy()
    assert np.isfinite(drawn).all()
    assert ((drawn < 0.01) | (drawn > 0.99)).mean() > 0.9


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_mixup_is_the_weighted_mean_of_an_image_and_the_next(dtype):
    images, targets = batch(64, dtype=dtype)
    mixed, shares = (each.numpy() for each in mixup(images, targets, (1, 2), 1.0))
    for index, share in enumerate(kept(shares)):
        partner = (index + 1) % len(images)
        expected = share * images[index].astype(float) + (1 - share) * images[partner].astype(float)
        assert abs(mixed[index] - expected).max() <= (0.501 if dtype == "uint8" else 1e-3)
        np.testing.assert_allclose(shares[index, partner], 1 - share, atol=1e-6)
    assert 0 < kept(shares).min() < 0.1 < 0.9 < kept(shares).max() < 1


def test_cutmix_pastes_one_rectangle_and_shares_targets_as_the_pixels_are():
    count, (height, width) = 400, (20, 30)
    # Each image is of one value; the next is of another.
    images = np.broadcast_to(
        (np.arange(count) % 251).astype(np.uint8)[:, None, None, None], (count, height, width, 2)
    )
    mixed, shares = (
        each.numpy() for each in cutmix(images, np.eye(count, dtype="f4"), (1, 2), 1.0)
    )
    for index, share in enumerate(kept(shares)):
        pasted = mixed[index] != images[index]
        assert (mixed[index][pasted] == images[(index + 1) % count, 0, 0, 0]).all()
        rows, columns = pasted.any((1, 2)), pasted.any((0, 2))
        np.testing.assert_array_equal(pasted[..., 0], np.outer(rows, columns))
        np.testing.assert_array_equal(pasted[..., 0], pasted[..., 1])
        for side in (rows, columns):
            assert np.count_nonzero(np.diff(side.astype(int))) <= 2
        np.testing.assert_allclose(share, 1 - pasted.mean(), atol=1e-6)


def test_rectangles_of_cutmix_are_as_large_as_a_loop_over_images_makes_them():
    count, side = 4000, 32
    images = np.zeros((count, side, side, 1), np.uint8)
    targets = np.zeros((count, 2), np.float32)
    targets[::2, 0] = targets[1::2, 1] = 1
    _, shares = cutmix(images, targets, (3, 4), 1.0)
    found = np.where(targets == 1, shares, 0).sum(1)

    generator, expected = np.random.default_rng(0), []
    for _ in range(count):
        cut = int(side * np.sqrt(1 - generator.beta(1.0, 1.0)))
        lengths = []
        for centre in generator.integers(0, side, 2):
            first = centre - cut // 2
            lengths.append(min(first + cut, side) - max(first, 0))
        expected.append(1 - lengths[0] * lengths[1] / side**2)
    # Both are samples: twice the variance.
    tolerance = 6 * np.std(expected) * np.sqrt(2 / count)
    assert abs(found.mean() - np.mean(expected)) < tolerance
    assert abs(found.std() - np.std(expected)) < tolerance


@EACH
def test_no_label_is_lost(mix):
    images, targets = batch(50)
    smooth = (0.9 * targets + 0.1 / 50).astype(np.float32)
    _, shares = mix(images, smooth, (1, 2), 0.4)
    np.testing.assert_allclose(shares.numpy().sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(shares.numpy().sum(), 50, atol=1e-3)
    assert shares.dtype == "float32"


@EACH
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_type_shape_and_result_hang_on_the_seed_alone(mix, dtype):
    images, targets = batch(50, dtype=dtype)
    specs = [tf.TensorSpec((None,) * 4, dtype), tf.TensorSpec((None, None), tf.float32)]
    traced = tf.function(lambda *both: mix(*both, (1, 2), 1.0), input_signature=specs)
    first, again, other = (mix(images, targets, seed, 1.0) for seed in [(1, 2), (1, 2), (2, 2)])
    assert (first[0].dtype, first[0].shape) == (dtype, images.shape)
    for one, same, graph, changed in zip(first, again, traced(images, targets), other, strict=True):
        np.testing.assert_array_equal(one, same)
        np.testing.assert_array_equal(one, graph)
        assert (one != changed).numpy().any()


@EACH
def test_an_image_alone_is_mixed_with_itself(mix):
    images, targets = batch(1)
    mixed, shares = mix(images, targets, (1, 2), 1.0)
    np.testing.assert_array_equal(mixed, images)
    np.testing.assert_allclose(shares, targets)
