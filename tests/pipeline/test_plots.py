"""The pictures are drawn whatever the number of classes, in a size one can open."""

import numpy as np
import PIL.Image
import pytest

from pipeline import plots


@pytest.mark.parametrize("classes", [2, 10, 100, 1000])
def test_a_confusion_of_any_number_of_classes_fits_a_screen(tmp_path, classes):
    counts = np.random.default_rng(0).integers(0, 50, (classes, classes))
    labels = tuple(f"class {index}" for index in range(classes))
    plots.confusion(counts, labels, tmp_path / "confusion.png")
    with PIL.Image.open(tmp_path / "confusion.png") as image:
        assert max(image.size) < 3000
