"""A KServe predictor on fastalex: encoded images in, probabilities out.

    pip install kserve
    python examples/kserve_model.py --weights torchvision --model_name alexnet --http_port 8080

KServe brings the protocol (Open Inference Protocol v2, also over gRPC), scaling and routing. A request is a BYTES
tensor of images in base64, because its Python server takes no other bytes than text over HTTP. On one machine `fastalex
serve` does without all that (docs/serving.md).
"""

from __future__ import annotations

import argparse
import base64
import uuid
from typing import Any

import kserve

from fastalex import AlexNet


class Classifier(kserve.Model):
    def __init__(self, name: str, weights: str) -> None:
        super().__init__(name)
        self.net = AlexNet(weights=weights)
        self.ready = True

    def predict(self, payload: kserve.InferRequest, headers: Any = None, response_headers: Any = None) -> Any:
        try:
            images = [base64.b64decode(text, validate=True) for text in payload.inputs[0].as_numpy().ravel()]
            found = self.net.predict_proba(self.net.preprocess(images))
        except (ValueError, TypeError) as error:  # of base64; and UserError, which is a ValueError
            raise kserve.errors.InvalidInput(str(error)) from None
        output = kserve.InferOutput("probabilities", list(found.shape), "FP32")
        output.set_data_from_numpy(found, binary_data=False)
        return kserve.InferResponse(payload.id or str(uuid.uuid4()), self.name, [output])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[kserve.model_server.parser])
    parser.add_argument("--weights", default="digits", help="a file, or the name of published weights")
    options = parser.parse_args()
    kserve.ModelServer().start([Classifier(options.model_name, options.weights)])
