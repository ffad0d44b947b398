"""The requests a server replays before it lets traffic in, so the first user does not wait."""

from pathlib import Path

import numpy as np
import tensorflow as tf

# Where TensorFlow Serving looks for them, inside a version's folder.
WARMUP = Path("assets.extra/tf_serving_warmup_requests")


def write_warmup(saved_model: Path, name: str, image: np.ndarray) -> None:
    """Write one request for each signature of a bundle's SavedModel.

    Args:
        saved_model: folder of the version.
        name: of the model, as the server will know it.
        image: uint8 `(height, width, channels)`, a real one.
    """
    # Here, not above: it loads gRPC and every serving proto.
    from tensorflow_serving.apis import prediction_log_pb2

    encoded = tf.io.encode_png(image).numpy()
    requests = [
        predict_request(name, "serving_default", "image", image[None].astype(np.float32)),
        predict_request(name, "serve_bytes", "image_bytes", [encoded]),
        classify_request(name, encoded),
    ]
    path = saved_model / WARMUP
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for request in requests:
            writer.write(prediction_log_pb2.PredictionLog(**request).SerializeToString())


def predict_request(name: str, signature: str, argument: str, value: object) -> dict:
    """A Predict request as a field of PredictionLog."""
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    request.inputs[argument].CopyFrom(tf.make_tensor_proto(value))
    return {"predict_log": prediction_log_pb2.PredictLog(request=request)}


def classify_request(name: str, encoded: bytes) -> dict:
    """A Classify request with one tf.Example as a field of PredictionLog."""
    from tensorflow_serving.apis import classification_pb2, prediction_log_pb2

    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = "classify"
    request.input.example_list.examples.add().features.feature[
        "image_bytes"
    ].bytes_list.value.append(encoded)
    return {"classify_log": prediction_log_pb2.ClassifyLog(request=request)}
