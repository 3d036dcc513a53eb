"""FastAPI with onnxruntime, as a user writes it, under uvicorn: ``run.py measure.serve_fastapi SPEC``.

SPEC is a JSON object: port, and what :func:`benchmarks.measure.serve_onnx.session` takes.
"""

import json  # no `annotations` from __future__: FastAPI reads them
from typing import Any, Dict, Sequence

import uvicorn
from fastapi import FastAPI, UploadFile

from benchmarks.measure import serve_onnx

app = FastAPI()


@app.post("/classify")
async def classify(image: UploadFile) -> Dict[str, Any]:
    batch = serve_onnx.prepare(await image.read())[None]
    return {"classes": serve_onnx.best(app.state.net.run(None, {"x": batch})[0][0])}


def main(words: Sequence[str]) -> int:
    spec = json.loads(words[0])
    app.state.net = serve_onnx.session(spec)
    uvicorn.run(app, host="127.0.0.1", port=spec["port"])
    return 0
