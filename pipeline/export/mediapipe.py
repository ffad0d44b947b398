"""A TFLite file for MediaPipe Tasks: colour images in, labels inside, both told by its metadata.

MediaPipe's own writer needs a native module that its packages lack. What it would write is a small
FlatBuffer after `metadata_schema.fbs` of TensorFlow Lite Support, as one more buffer of the model,
and a zip archive with the labels behind it.
"""

import io
import zipfile
from pathlib import Path
from typing import NamedTuple

import flatbuffers
import keras
import numpy as np

from pipeline.export.tflite import write_tflite
from pipeline.task import Classification

# How Pillow and `serving.image` weigh red, green and blue.
GREY = np.array([19595, 38470, 7471], np.float32) / 65536
LABELS = "labels.txt"
SCHEMA_VERSION = "1.0.0"


class Choice(NamedTuple):
    """A field that holds a byte: a member of an enumeration, or which table a union holds."""

    value: int


FEATURE, IMAGE = Choice(1), Choice(2)
RGB, NORMALIZATION, AXIS_LABELS = Choice(1), Choice(1), Choice(2)


def write_mediapipe(
    network: keras.Model, task: Classification, name: str, version: int, target: Path
) -> None:
    """Convert `network` to float32 TFLite that takes `image` in colour and knows its labels.

    Raises:
        ConvoyError: the converter refuses the network, crashes or hangs.
    """
    write_tflite(in_colour(network), task, None, {"fp32": target})
    content = with_metadata(target.read_bytes(), metadata(name, version, task.output))
    target.write_bytes(content + archive("\n".join(task.labels), at=len(content)))


def in_colour(network: keras.Model) -> keras.Model:
    """The network behind a layer that makes colour images grey, where it takes grey ones."""
    (image,) = network.inputs
    *size, channels = image.shape[1:]
    if channels == 3:
        return network
    colour = keras.Input((*size, 3), name="image")
    grey = keras.layers.Conv2D(1, 1, use_bias=False, name="grey")
    model = keras.Model(colour, network(grey(colour)), name=network.name)
    grey.set_weights([GREY.reshape(1, 1, 3, 1)])
    return model


def metadata(name: str, version: int, output: str) -> bytes:
    """What the file says of itself: one image in, one probability for each label out."""
    builder = flatbuffers.Builder(1024)

    def text(value: str) -> int:
        return builder.CreateString(value)

    def floats(value: float) -> int:
        return builder.CreateNumpyVector(np.array([value], np.float32))

    def list_of(item: int) -> int:
        builder.StartVector(4, 1, 4)
        builder.PrependUOffsetTRelative(item)
        return builder.EndVector()

    def table(*fields: int | Choice | None) -> int:
        builder.StartObject(len(fields))
        for slot, field in enumerate(fields):
            if isinstance(field, Choice):
                builder.PrependUint8Slot(slot, field.value, 0)
            elif field is not None:
                builder.PrependUOffsetTRelativeSlot(slot, field, 0)
        return builder.EndObject()

    # Pixels as they are: MediaPipe subtracts a mean of 0 and divides by 1.
    unit = table(NORMALIZATION, table(floats(0.0), floats(1.0)))
    stats = table(floats(255.0), floats(0.0))
    content = table(IMAGE, table(RGB))
    image = table(text("image"), text("Pixels, 0-255."), None, content, list_of(unit), stats)
    labels = table(text(LABELS), text("A class on each line."), AXIS_LABELS)
    content = table(FEATURE, table())
    answer = table(
        text(output), text("One for each class."), None, content, None, None, list_of(labels)
    )
    graph = table(None, None, list_of(image), list_of(answer))
    about = (text(name), text("Made and proven by Convoy."), text(str(version)), list_of(graph))
    builder.Finish(table(*about, None, None, None, text(SCHEMA_VERSION)), b"M001")
    return bytes(builder.Output())


def with_metadata(model: bytes, described: bytes) -> bytes:
    """The TFLite file with its description as one more of its buffers."""
    from tensorflow.lite.python import schema_py_generated as schema

    content = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(model, 0))
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(described, np.uint8)
    entry = schema.MetadataT()
    entry.name, entry.buffer = b"TFLITE_METADATA", len(content.buffers)
    content.buffers.append(buffer)
    content.metadata = [*(content.metadata or ()), entry]
    builder = flatbuffers.Builder(len(model))
    builder.Finish(content.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def archive(labels: str, at: int) -> bytes:
    """A zip archive of the labels, for a file that has `at` bytes before it."""
    stream = io.BytesIO(bytes(at))
    with zipfile.ZipFile(stream, "a") as file:
        # Always of the same time, so that the same network gives the same file.
        file.writestr(zipfile.ZipInfo(LABELS), labels)
    return stream.getvalue()[at:]
