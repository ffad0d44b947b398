"""The ResNet-20 of `benchmarks/train.py` in PyTorch: channels last, eager or compiled.

A process of its own, because two libraries' threads get into each other's way. For every line on
stdin it trains a turn and prints the images it saw a second.
"""

import sys
import time

import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]

BATCH = 128


class Block(nn.Module):
    """Two convolutions and what is added to them; a shortcut projects where shapes change."""

    def __init__(self, given, filters, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(given, filters, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(filters)
        self.shortcut = nn.Identity()
        if stride > 1:
            projection = nn.Conv2d(given, filters, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(filters))

    def forward(self, images):
        x = functional.relu(self.norm1(self.conv1(images)))
        return functional.relu(self.norm2(self.conv2(x)) + self.shortcut(images))


def resnet20():
    """The network, ready to train."""
    layers = [nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    given = 16
    for filters in (16, 32, 64):
        for index in range(3):
            layers.append(Block(given, filters, 2 if index == 0 and filters > 16 else 1))
            given = filters
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last).train()


def stepper(compiled, precision):
    """What trains a step on one batch that stays."""
    network = resnet20()
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, nesterov=True)
    forward = torch.compile(network) if compiled else network
    images = torch.randint(0, 256, (BATCH, 1, 28, 28)).float() / 255
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (BATCH,))

    def step():
        with torch.autocast("cpu", getattr(torch, precision), enabled=precision != "float32"):
            logits = forward(images)
        functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def main():
    """Take turns for as long as there are lines."""
    way, precision, steps, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    step = stepper(way == "compiled", precision)
    for _ in range(3):
        step()
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        for _ in range(int(steps)):
            step()
        print(int(steps) * BATCH / (time.perf_counter() - began), flush=True)


if __name__ == "__main__":
    main()
