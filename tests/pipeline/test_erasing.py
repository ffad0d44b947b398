import numpy as np
import pytest
import tensorflow as tf

from pipeline.data.erasing import cutout, erase, noise

SHAPE = (40, 40, 1)


def ones(count, shape=SHAPE, dtype="uint8"):
    return np.ones((count, *shape), dtype)


def rectangle(lost):
    """Top, bottom, left and right of what was lost of one image, which must be one rectangle."""
    rows, columns = np.flatnonzero(lost.any((1, 2))), np.flatnonzero(lost.any((0, 2)))
    assert lost[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert lost.sum() == len(rows) * len(columns) * lost.shape[2]
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


def rectangles(erased):
    return np.array([rectangle(image == 0) for image in erased if (image == 0).any()])


def test_each_image_loses_one_rectangle_with_the_probability_asked_for():
    erased = erase(ones(6000), (0, 1), probability=0.3, fill="zeros").numpy()
    share = len(rectangles(erased)) / len(erased)
    # Six standard deviations.
    assert abs(share - 0.3) < 6 * np.sqrt(0.3 * 0.7 / len(erased))
    assert (erase(ones(50), (0, 1), 0.0, fill="zeros") == ones(50)).numpy().all()
    assert len(rectangles(erase(ones(50), (0, 1), 1.0, fill="zeros").numpy())) == 50


def test_areas_aspects_and_places_are_distributed_as_in_the_formula():
    top, bottom, left, right = rectangles(
        erase(ones(3000, (100, 100, 1)), (0, 1), 1.0, fill="zeros").numpy()
    ).T
    height, width = bottom - top, right - left
    area, stretch = height * width / 100**2, np.log(height / width)
    # Uniform between a and b: mean (a + b) / 2, standard deviation (b - a) / sqrt(12).
    # Rounding to whole pixels and the edge move them by less than a hundredth of the range.
    for found, (least, most) in ((area, (0.02, 0.33)), (stretch, (np.log(0.3), -np.log(0.3)))):
        extent = most - least
        deviation = extent / np.sqrt(12)
        tolerance = 6 * deviation / np.sqrt(len(found)) + 0.01 * extent
        assert abs(found.mean() - (least + most) / 2) < tolerance
        assert abs(found.std() - deviation) < tolerance
    for first, room in ((top, 101 - height), (left, 101 - width)):
        place = (first + 0.5) / room
        assert abs(place.mean() - 0.5) < 6 / np.sqrt(12 * len(place))
    # Independent: areas tell nothing of aspects, rows nothing of columns.
    for one, other in ((area, stretch), (top / (101 - height), left / (101 - width))):
        assert abs(np.corrcoef(one, other)[0, 1]) < 6 / np.sqrt(len(one)) + 0.02


def test_the_noise_has_all_values_equally_often_and_differs_between_images():
    erased = erase(np.zeros((2000, *SHAPE), np.uint8), (0, 1), 1.0, area=(0.3, 0.3)).numpy()
    found = erased[erased.any(-1)]
    counts = np.bincount(found.ravel(), minlength=256)[1:]
    expected = counts.mean()
    assert abs(counts - expected).max() < 6 * np.sqrt(expected)
    assert noise(tf.zeros([0, 2, 2, 1], tf.uint8), (0, 1)).shape == (0, 2, 2, 1)


def test_what_is_outside_the_rectangle_stays_as_it_was():
    images = np.random.default_rng(0).integers(1, 256, (200, 9, 12, 3), dtype=np.uint8)
    erased = erase(images, (3, 4), 1.0, fill="zeros").numpy()
    for image, after in zip(images, erased, strict=True):
        top, bottom, left, right = rectangle(after == 0)
        expected = image.copy()
        expected[top:bottom, left:right] = 0
        np.testing.assert_array_equal(after, expected)


def test_cutout_zeroes_a_square_cut_at_the_edge_around_any_pixel():
    cut = cutout(ones(4000, (12, 9, 2)), (0, 1), side=4).numpy()
    found = rectangles(cut)
    assert len(found) == len(cut)
    seen = {tuple(each) for each in found}
    expected = {
        (max(row - 2, 0), min(row + 2, 12), max(column - 2, 0), min(column + 2, 9))
        for row in range(12)
        for column in range(9)
    }
    assert seen == expected


@pytest.mark.parametrize(
    "vary", [lambda images, seed: erase(images, seed, 0.7), lambda i, seed: cutout(i, seed, 3)]
)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_type_shape_and_result_hang_on_the_seed_alone(vary, dtype):
    images = np.random.default_rng(0).integers(1, 256, (50, 8, 6, 3)).astype(dtype)
    unknown = tf.TensorSpec((None, None, None, None), dtype)
    traced = tf.function(lambda images: vary(images, (1, 2)), input_signature=[unknown])
    first, again, other = (vary(images, seed) for seed in [(1, 2), (1, 2), (2, 2)])
    assert (first.dtype, first.shape) == (dtype, images.shape)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, traced(images))
    assert (first != other).numpy().any()
