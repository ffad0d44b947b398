import numpy as np
import pytest
import tensorflow as tf

from pipeline.data.augment import flip, shift

MOST = 2
SHAPE = (5, 6, 3)
EACH = pytest.mark.parametrize(
    "vary", [flip, lambda images, seed: shift(images, seed, MOST)], ids=["flip", "shift"]
)


def noise(count, dtype="uint8"):
    """Images without a zero or a symmetry, so that no two moves look alike."""
    return np.random.default_rng(0).integers(1, 256, (count, *SHAPE)).astype(dtype)


def loop_shift(image, down, right):
    """The image moved, pixel by pixel; zeros come in."""
    moved = np.zeros_like(image)
    height, width, _ = image.shape
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                moved[row, column] = image[row - down, column - right]
    return moved


def offset(image, moved):
    """By how much `image` was moved; there is exactly one answer."""
    moves = range(-MOST, MOST + 1)
    (found,) = (
        (down, right)
        for down in moves
        for right in moves
        if np.array_equal(loop_shift(image, down, right), moved)
    )
    return found


def test_flip_gives_the_image_or_its_mirror_each_about_half_the_time():
    images = noise(10_000)
    flipped = flip(images, (0, 0)).numpy()
    kept = (flipped == images).all((1, 2, 3))
    mirrored = (flipped == images[:, :, ::-1]).all((1, 2, 3))
    assert (kept ^ mirrored).all()
    # Six standard deviations of a fair coin.
    assert abs(mirrored.mean() - 0.5) < 6 * 0.5 / np.sqrt(len(images))


def test_shift_moves_each_image_by_an_offset_of_its_own_and_all_offsets_occur():
    images = noise(1000)
    moved = shift(images, (0, 0), MOST).numpy()
    offsets = [offset(*pair) for pair in zip(images, moved, strict=True)]
    assert len(set(offsets)) == (2 * MOST + 1) ** 2
    # No offset is twice as likely as another: 40 of each are expected, give or take 6.
    assert np.unique(offsets, axis=0, return_counts=True)[1].min() > 12


def test_shift_by_nothing_changes_nothing():
    np.testing.assert_array_equal(shift(noise(8), (0, 0), 0), noise(8))


def test_a_shift_wider_than_the_image_may_leave_zeros_alone():
    moved = shift(noise(200), (0, 0), 9).numpy()
    assert moved.shape == (200, *SHAPE)
    assert (moved == 0).all((1, 2, 3)).any()


@EACH
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_type_of_the_pixels_is_kept(vary, dtype):
    assert vary(noise(4, dtype), (0, 0)).dtype == dtype


@EACH
def test_the_same_seed_gives_the_same_result_and_another_another(vary):
    first, again, other = (vary(noise(50), seed).numpy() for seed in [(1, 2), (1, 2), (2, 2)])
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@EACH
def test_a_traced_batch_of_unknown_size_gives_the_same(vary):
    unknown = tf.TensorSpec((None, None, None, None), tf.uint8)
    traced = tf.function(lambda images: vary(images, (1, 2)), input_signature=[unknown])
    np.testing.assert_array_equal(traced(noise(9)), vary(noise(9), (1, 2)))
