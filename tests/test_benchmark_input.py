import itertools
import json
import time

import numpy as np
import PIL.Image
import pytest

from benchmarks import input as bench
from benchmarks import sides
from pipeline.data.splits import Examples
from pipeline.recipe import Data, Recipe, network
from pipeline.training.precision import POLICIES
from serving.errors import ConvoyError

MOST = 1


def examples(count=40):
    """Noise images whose label is their number."""
    images = np.random.default_rng(0).integers(1, 256, (count, 5, 6, 3), dtype=np.uint8)
    return Examples(images, np.arange(count, dtype=np.int32))


def variants(image):
    """The image and its mirror, moved by every offset, zeros coming in."""
    height, width, _ = image.shape
    padded = np.pad(image, [(MOST, MOST), (MOST, MOST), (0, 0)])
    offsets = list(itertools.product(range(2 * MOST + 1), repeat=2))
    moved = [padded[down : down + height, right : right + width] for down, right in offsets]
    padded = padded[:, ::-1]
    return moved + [padded[down : down + height, right : right + width] for down, right in offsets]


def by_maps(count):
    batches = sides.image_by_image(examples(), 8, MOST).as_numpy_iterator()
    return np.concatenate([images for images, _ in itertools.islice(batches, count)])


def by_numpy(count):
    return np.concatenate(list(itertools.islice(sides.in_numpy(examples(), 8, MOST), count)))


def by_ours(count):
    same = bench.alike(Data(batch_size=8, shift=MOST, erase=0.5))
    batches = bench.training_batches(examples(), same, 0).as_numpy_iterator()
    return np.concatenate([images for images, _ in itertools.islice(batches, count)])


@pytest.mark.parametrize("side", [by_maps, by_numpy, by_ours])
def test_all_sides_flip_and_shift_alike(side):
    known = {
        variant.tobytes(): kind
        for image in examples().images
        for kind, variant in enumerate(variants(image))
    }
    kinds = [known[image.tobytes()] for image in side(60)]
    counts = np.bincount(kinds, minlength=18)
    # 480 images in 18 kinds: 27 of each are expected, give or take 5.
    assert len(counts) == 18
    assert counts.min() > 27 - 5 * 5
    assert abs(np.array(kinds).__lt__(9).mean() - 0.5) < 6 * 0.5 / np.sqrt(480)


def test_a_slower_side_shows_as_slower(monkeypatch):
    monkeypatch.setattr(sides, "LEAST_SECONDS", 0.02)
    given = {
        name: sides.Side(lambda: None, lambda _, count, pause=pause: time.sleep(count * pause))
        for name, pause in (("slow", 0.004), ("fast", 0.001))
    }
    found = sides.rates_in_turn(given, batch_size=10, pairs=3)
    assert all(200 < each < 10 / 0.004 for each in found["slow"])
    assert 1.5 < bench.ratios(found["fast"], found["slow"])["median"] < 6


@pytest.mark.parametrize(
    ("times", "lost", "bottleneck"),
    [
        (48, 0.01, "step"),
        (0.5, 0.6, "input"),
        (3, 0.2, "input"),
        (1.2, 0.04, "step"),
        (222, 0.2, "step"),
    ],
)
def test_the_bottleneck_is_what_limits_the_two_together(times, lost, bottleneck):
    found = bench.verdict(Data(erase=0.5), "mixed_bfloat16", times, lost)
    assert found["bottleneck"] == bottleneck
    assert found["advice"].startswith(f"The {bottleneck} is the bottleneck")
    assert f"{times} times" in found["advice"]


def test_the_advice_names_what_the_recipe_can_change():
    dear = bench.verdict(Data(rand_augment=2, flip="none", shift=0), "mixed_bfloat16", 0.5, 0.5)
    assert "less of --data.rand-augment, smaller images" in dear["advice"]
    plain = bench.verdict(Data(flip="none", shift=0), "mixed_bfloat16", 0.5, 0.5)
    assert "less of" not in plain["advice"]


@pytest.mark.parametrize(("best", "helps"), [("bfloat16", True), ("float32", False)])
def test_another_precision_is_advised_where_it_is_faster_alone(monkeypatch, best, helps):
    monkeypatch.setattr(bench, "choose_precision", lambda wanted: best)
    assert ("bfloat16" in bench.verdict(Data(), "float32", 9, 0.0)["advice"]) == helps
    assert "bfloat16" not in bench.verdict(Data(), POLICIES[best], 9, 0.0)["advice"]


@pytest.fixture
def folder(tmp_path):
    """Two classes of 20 images each."""
    generator = np.random.default_rng(0)
    for label, number in itertools.product(("dark", "light"), range(20)):
        place = tmp_path / "images" / label
        place.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 128, (8, 9, 3)) + 127 * (label == "light")
        PIL.Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number}.png")
    return tmp_path / "images"


def test_an_image_folder_is_measured_and_told_what_to_change(folder, monkeypatch):
    monkeypatch.setattr(sides, "LEAST_SECONDS", 0.01)
    recipe = Recipe(
        name="mine",
        network=network("mlp"),
        data=Data(source=str(folder), batch_size=8, shift=MOST, mixup=0.2),
    )
    result = bench.run(recipe, pairs=2)
    assert json.loads(json.dumps(result))["batch_size"] == 8
    rates = [*result["input"]["images_per_second"].items()]
    rates += result["doctor"]["images_per_second"].items()
    assert [name for name, _ in rates] == ["ours", "maps", "numpy", "copy", "data", "step", "both"]
    assert all(rate["minimum"] > 0 for _, rate in rates)
    text = bench.table(result)
    assert text.splitlines()[0].startswith("8x9x3, batches of 8")
    assert result["doctor"]["advice"] in " ".join(text.split())


def test_too_few_pairs_are_refused():
    with pytest.raises(ConvoyError, match="`pairs` is too small.*pairs=1"):
        bench.run(Recipe(name="any", network=network("mlp")), pairs=1)
