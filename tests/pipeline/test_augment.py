import numpy as np
import pytest
import tensorflow as tf

from pipeline.data.augment import alternate, coins, mirror, shift

MOST = 2
SHAPE = (5, 6, 3)


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


def test_a_mirror_image_has_its_columns_in_reverse():
    for channels in (1, 3):
        images = noise(20)[..., :channels]
        np.testing.assert_array_equal(mirror(images), images[:, :, ::-1])


def test_each_image_is_mirrored_in_every_second_epoch_and_half_of_them_in_each():
    positions = tf.constant(np.random.default_rng(1).permutation(60_000)[:3000])
    sides = np.array([alternate(positions, tf.constant(e, tf.int64), 5) for e in range(4)])
    assert set(np.unique(sides)) == {0, 1}
    # Six standard deviations of a fair coin.
    assert abs(sides.mean(1) - 0.5).max() < 6 * 0.5 / np.sqrt(sides.shape[1])
    np.testing.assert_array_equal(sides[:-1], 1 - sides[1:])


def test_how_an_image_begins_hangs_on_its_position_and_the_seed_alone():
    positions, epoch = np.arange(50), tf.constant(0, tf.int64)
    order = np.random.default_rng(0).permutation(50)
    whole = np.array(alternate(tf.constant(positions), epoch, 1))
    other = np.array(alternate(tf.constant(positions[order]), epoch, 1))
    np.testing.assert_array_equal(whole[order], other)


def test_coins_are_fair_and_tell_nothing_of_each_other():
    seeds = [0, 1, 2, 1000, 2**32 - 1]
    sides = np.array([coins(tf.range(60_000, dtype=tf.int64), seed) for seed in seeds]) * 2 - 1
    tolerance = 6 / np.sqrt(sides.shape[1])
    assert abs(sides.mean(1)).max() < tolerance
    for distance in (1, 2, 3, 64, 256, 257):
        assert abs((sides[:, distance:] * sides[:, :-distance]).mean(1)).max() < tolerance
    between = sides @ sides.T / sides.shape[1]
    assert abs(between - np.eye(len(seeds))).max() < tolerance


def test_a_coin_is_the_last_bit_that_splitmix_gives():
    def scrambled(position, seed):
        state = ((seed + 1) * 0xD1B54A32D192ED03 + position * 0x9E3779B97F4A7C15) % 2**64
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
        return (state ^ (state >> 31)) & 1

    positions = [0, 1, 2, 77, 59_999, 2**40 + 3]
    for seed in (0, 7, 2**32 - 1):
        expected = [scrambled(position, seed) for position in positions]
        np.testing.assert_array_equal(coins(tf.constant(positions, tf.int64), seed), expected)


def test_shift_moves_each_image_by_an_offset_of_its_own_and_all_offsets_occur():
    images = noise(1000)
    moved = shift(images, (0, 0), MOST).numpy()
    offsets = [offset(*pair) for pair in zip(images, moved, strict=True)]
    assert len(set(offsets)) == (2 * MOST + 1) ** 2
    # No offset is twice as likely as another: 40 of each are expected, give or take 6.
    assert np.unique(offsets, axis=0, return_counts=True)[1].min() > 12


def test_shift_by_nothing_changes_nothing():
    np.testing.assert_array_equal(shift(noise(8), (0, 0), 0), noise(8))


def test_shift_gives_what_a_loop_over_images_gives():
    images = noise(200, "float32")
    for image, moved in zip(images, shift(images, (3, 4), MOST).numpy(), strict=True):
        np.testing.assert_array_equal(moved, loop_shift(image, *offset(image, moved)))


def test_a_shift_wider_than_the_image_may_leave_zeros_alone():
    moved = shift(noise(200), (0, 0), 9).numpy()
    assert moved.shape == (200, *SHAPE)
    assert (moved == 0).all((1, 2, 3)).any()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_type_of_the_pixels_is_kept(dtype):
    assert shift(noise(4, dtype), (0, 0), MOST).dtype == dtype


def test_the_same_seed_gives_the_same_result_and_another_another():
    first, again, other = (
        shift(noise(50), seed, MOST).numpy() for seed in [(1, 2), (1, 2), (2, 2)]
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_traced_batch_of_unknown_size_gives_the_same():
    unknown = tf.TensorSpec((None, None, None, None), tf.uint8)
    traced = tf.function(lambda images: shift(images, (1, 2), MOST), input_signature=[unknown])
    np.testing.assert_array_equal(traced(noise(9)), shift(noise(9), (1, 2), MOST))
