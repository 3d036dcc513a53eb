"""A process without a server: decoding, preprocessing and the engine in a loop. ``run.py measure.serve_loop SPEC``.

SPEC is a JSON object: network, weights, images (a folder), threads. It answers lines of JSON: ``{"batch", "seconds"}``
with images, seconds and processor seconds, ``{"answers": N}`` with the probabilities of the first N files. It sleeps in
between.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Sequence


def loop(net: Any, files: Sequence[bytes], batch: int, seconds: float) -> Dict[str, Any]:
    """Batches of ``batch`` files for ``seconds``, after one that is not counted."""
    images, at = 0, 0
    begin = used = 0.0
    while not begin or time.perf_counter() - begin < seconds:
        chosen = [files[(at + index) % len(files)] for index in range(batch)]
        net.predict_proba(net.preprocess(chosen))
        if begin:
            images += batch
        else:
            begin, used = time.perf_counter(), time.process_time()
        at += batch
    elapsed, used = time.perf_counter() - begin, time.process_time() - used
    row = {"images": images, "seconds": elapsed, "cpu_s": used, "batch": batch}
    return dict(row, images_per_s=images / elapsed, images_per_cpu_s=images / used)


def main(words: Sequence[str]) -> int:
    from fastalex import AlexNet

    spec = json.loads(words[0])
    files: List[bytes] = [path.read_bytes() for path in sorted(Path(spec["images"]).iterdir())]
    net = AlexNet(weights=spec["weights"], device="cpu", threads=spec["threads"])
    for line in sys.stdin:
        order = json.loads(line)
        if "answers" in order:
            answer: Any = net.predict_proba(net.preprocess(files[: order["answers"]])).tolist()
        else:
            answer = loop(net, files, order["batch"], order["seconds"])
        print(json.dumps(answer), flush=True)
    return 0
