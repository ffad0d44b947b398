"""Conversion and the runtimes of devices, for tests: arrays in, arrays out, by name."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from tensorflow.lite.python.convert_phase import ConverterError

import models

# Compiled without optimization, which would take minutes and is not what is tested.
JAX = {
    "KERAS_BACKEND": "jax",
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
}


def run_on_jax(program, *arguments):
    """Run a program in a process of its own, in which Keras stands on JAX."""
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, **JAX},
        cwd=Path(models.__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )


def export(model, folder, shape):
    """Write a SavedModel that takes inputs of a fixed `shape`, batch included, and return it."""
    (inputs,) = model.inputs
    archive = keras.export.ExportArchive()
    archive.track(model)
    signature = tf.TensorSpec(shape, inputs.dtype, name=inputs.name)
    archive.add_endpoint("serving_default", lambda x: named(model(x, training=False)), [signature])
    archive.write_out(folder, verbose=False)
    return folder


def named(outputs):
    """A model's outputs as a dict."""
    return outputs if isinstance(outputs, dict) else {"output": outputs}


def convert(saved_model, examples=None):
    """Return a TFLite file of builtin operations, full int8 where `examples` set the ranges."""
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
    if examples is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([example[None]] for example in examples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def run_tflite(content, x):
    """Answer each example of `x` in LiteRT."""
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()

    def answer(example):
        interpreter.set_tensor(source["index"], to_integers(example, source))
        interpreter.invoke()
        return to_floats(interpreter.get_tensor(target["index"]), target)

    return np.concatenate([answer(example[None]) for example in x])


def run_micro(content, x):
    """Answer each example of `x` in TFLite Micro, the runtime of microcontrollers."""
    from tflite_micro.python.tflite_micro import runtime

    # The arena is far larger than needed: small files need more than its guess from their size.
    interpreter = runtime.Interpreter.from_bytes(content, arena_size=2**24)
    source, target = interpreter.get_input_details(0), interpreter.get_output_details(0)

    def answer(example):
        interpreter.set_input(to_integers(example, source), 0)
        interpreter.invoke()
        return to_floats(np.array(interpreter.get_output(0)), target)

    return np.concatenate([answer(example[None]) for example in x])


def scale_and_zero(detail):
    """Scale and zero point of a quantized tensor; both runtimes tell them in another form."""
    parameters = detail["quantization_parameters"]
    return parameters["scales"][0], parameters["zero_points"][0]


def to_integers(x, detail):
    """Quantize `x` as an int8 input asks; other inputs take it as it is."""
    if detail["dtype"] != np.int8:
        return x.astype(detail["dtype"])
    scale, zero = scale_and_zero(detail)
    return np.clip(np.round(x / scale) + zero, -128, 127).astype(np.int8)


def to_floats(y, detail):
    """Undo the quantization of an int8 output."""
    if detail["dtype"] != np.int8:
        return y
    scale, zero = scale_and_zero(detail)
    return ((y.astype(np.int32) - zero) * scale).astype(np.float32)


def float_operations(content):
    """Names of the tensors of a TFLite file that hold floats: none in a full int8 file."""
    interpreter = Interpreter(model_content=content)
    return [
        each["name"] for each in interpreter.get_tensor_details() if each["dtype"] == np.float32
    ]


def is_full_int8(saved_model, examples):
    """Whether the converter writes a file without floats that also runs."""
    try:
        content = convert(saved_model, examples)
        run_tflite(content, examples[:1])
    except (ConverterError, RuntimeError):
        return False
    return not float_operations(content)


def runs_on_micro(content, x):
    """Whether TFLite Micro answers `x` at all."""
    try:
        run_micro(content, x)
    except RuntimeError:
        return False
    return True
