"""A trained classifier slides over a canvas of several items, and answers at every place.

    convoy train fashion --network.architecture topology --training.epochs 3
    python docs/sliding.py runs/latest sliding.png

`topology` pads nothing, so each answer is exactly that for the crop it stands for.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from models.convert import to_convolutional
from pipeline.export.verify import load_network
from pipeline.run import Run
from pipeline.stages import recall

SIDE, STEP = 112, 2  # Pixels; the one pool of `topology` makes a place of every second pixel.
CORNERS = ((4, 6), (10, 76), (42, 40), (78, 8), (80, 80))
COLOURS = ("#0b6bcb", "#d1495b", "#2a9d8f", "#e9a23b", "#7b5ea7")


def items_of(examples):
    """The first item of every second class."""
    classes = np.unique(examples.labels)[1::2][: len(CORNERS)]
    chosen = [int(np.argmax(examples.labels == each)) for each in classes]
    return examples.images[chosen], examples.labels[chosen]


def lay_out(items):
    """A black canvas with the items at their corners."""
    height, width, channels = items.shape[1:]
    canvas = np.zeros((1, SIDE, SIDE, channels), "float32")
    for item, (top, left) in zip(items, CORNERS, strict=False):
        canvas[0, top : top + height, left : left + width] = item
    return canvas


def slide(network, canvas):
    """The class answered at each place, and its probability."""
    logits = np.array(to_convolutional(network)(canvas, training=False)["logits"][0])
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    return shares.argmax(axis=-1), shares.max(axis=-1)


def draw(canvas, classes, answers, shares, names, size, path):
    """Draw the canvas beside what the network sees there."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.imshow(canvas[0, ..., 0], cmap="gray_r")
    left.set_title("canvas")
    # A place stands in the middle of the crop it answers for.
    begin = size / 2 - STEP / 2
    end = begin + STEP * len(answers)
    picture = np.ones((*answers.shape, 3))
    for colour, index in zip(COLOURS, classes, strict=False):
        # White where the network is torn between two classes, full where it is sure of one.
        sure = np.where(answers == index, np.maximum(2 * shares - 1, 0), 0)[..., np.newaxis]
        picture = (1 - sure) * picture + sure * np.array(to_rgb(colour))
    right.imshow(picture, extent=(begin, end, end, begin), interpolation="nearest")
    for colour, index, (top, first) in zip(COLOURS, classes, CORNERS, strict=False):
        for axes in (left, right):
            axes.add_patch(Rectangle((first, top), size, size, fill=False, color=colour))
        right.text(first, top - 1.5, names[index], color=colour, fontsize=8)
    right.set(title="answers, stronger where surer", xlim=(0, SIDE), ylim=(SIDE, 0))
    for axes in (left, right):
        axes.set_xticks([])
        axes.set_yticks([])
    figure.savefig(path, dpi=110)


def main(folder, path):
    """Draw the picture, and return what is answered where an item stands, and what stands there."""
    run = Run(Path(folder))
    splits, task = recall(run)
    items, classes = items_of(splits.test)
    canvas = lay_out(items)
    answers, shares = slide(load_network(run), canvas)
    draw(canvas, classes, answers, shares, task.labels, items.shape[1], path)
    return [int(answers[top // STEP, left // STEP]) for top, left in CORNERS], classes.tolist()


if __name__ == "__main__":
    found, true = main(*sys.argv[1:])
    print(f"{sum(map(int.__eq__, found, true))} of {len(true)} items found")
