"""LitServe with onnxruntime and its own batching, as a user writes it: ``run.py measure.serve_litserve SPEC``.

SPEC is a JSON object: port, max_batch, batch_timeout_s, and what :func:`benchmarks.measure.serve_onnx.session` takes.
"""

import json  # no `annotations` from __future__: FastAPI reads them
from typing import Any, Dict, List, Sequence

import litserve
import numpy as np
from fastapi import UploadFile

from benchmarks.measure import serve_onnx


class Classify(litserve.LitAPI):
    def __init__(self, spec: Dict[str, Any]) -> None:
        super().__init__(max_batch_size=spec["max_batch"], batch_timeout=spec["batch_timeout_s"])
        self.settings = spec

    def setup(self, device: str) -> None:
        self.net = serve_onnx.session(self.settings)

    def decode_request(self, request: UploadFile) -> np.ndarray:
        return serve_onnx.prepare(request.file.read())

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.net.run(None, {"x": x})[0]

    def encode_response(self, output: np.ndarray) -> Dict[str, List[Dict[str, Any]]]:
        return {"classes": serve_onnx.best(output)}


def main(words: Sequence[str]) -> int:
    spec = json.loads(words[0])
    server = litserve.LitServer(Classify(spec), accelerator="cpu")
    server.run(host="127.0.0.1", port=spec["port"], generate_client_file=False)
    return 0
