"""A process that measures one row of the comparison of clients: ``run.py measure.clients_worker TASK SPEC``.

TASK is "weights" (which writes the files), "jetbot" or "readout"; it prints one JSON object. SPEC has weights, images
(paths), threads, count, side, and options or output where the task needs them.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence

import numpy as np

from benchmarks import neighbors
from benchmarks.measure import timing

MODULES = ("features.10", "classifier.4")  # thingsvision's README and tests
BATCH = 32


def task_weights(spec: Dict[str, Any]) -> Dict[str, Any]:
    """Write best_model.pth and the folder of JPEG files."""
    import torch
    from PIL import Image

    import fastalex
    from fastalex.networks import torch_reference

    torch.manual_seed(0)
    model = torch_reference.build(fastalex.variants.get("torchvision", num_classes=2))
    with torch.no_grad():
        for value in model.parameters():
            if value.dim() > 1:
                value *= 6**0.5  # He's bound, so that the signal stays alive
    torch.save(model.state_dict(), spec["weights"])
    random = np.random.RandomState(0)
    os.mkdir(spec["images"])
    for number in range(spec["count"]):
        patches = Image.fromarray(random.randint(0, 256, (6, 8, 3)).astype(np.uint8))
        patches.resize((500, 375), Image.BICUBIC).save(f"{spec['images']}/{number:04}.jpg", quality=90)
    return {}


def frames() -> List[np.ndarray]:
    from PIL import Image

    random = np.random.RandomState(1)
    patches = [Image.fromarray(random.randint(0, 256, (5, 5, 3)).astype(np.uint8)) for _ in range(4)]
    return [np.ascontiguousarray(np.asarray(one.resize((224, 224), Image.BICUBIC))) for one in patches]


def jetbot_fastalex(spec: Dict[str, Any]) -> Callable[[np.ndarray], float]:
    from fastalex.jetbot import CollisionAvoidance

    return CollisionAvoidance(spec["weights"], device="cpu", threads=spec["threads"], **spec["options"])


def jetbot_pytorch(spec: Dict[str, Any]) -> Callable[[np.ndarray], float]:
    import torch

    jetbot_demo = neighbors.load(neighbors.JETBOT_DEMO)
    pytorch_alexnet = neighbors.load(neighbors.PYTORCH_ALEXNET)
    torch.set_num_threads(spec["threads"])
    model = pytorch_alexnet.load(spec["weights"], 2)
    if not spec["options"]["careful"]:
        return lambda frame: jetbot_demo.original(model, frame)
    model.eval()

    def careful(frame: np.ndarray) -> float:
        with torch.no_grad():
            return jetbot_demo.original(model, frame)

    return careful


def task_jetbot(spec: Dict[str, Any]) -> Dict[str, Any]:
    began = time.perf_counter()
    blocked = {"fastalex": jetbot_fastalex, "pytorch": jetbot_pytorch}[spec["side"]](spec)
    shown = frames()
    answers = [blocked(frame) for frame in shown[:1]]
    first_s = time.perf_counter() - began
    answers += [blocked(frame) for frame in shown[1:]]
    times = timing.time_calls(lambda: blocked(shown[0]), spec["warmup_s"], spec["measure_s"], 10)
    return dict(timing.summarize(times, 1), first_s=first_s, answers=answers, peak_rss_mib=timing.peak_rss_mib())


def readout_fastalex(spec: Dict[str, Any]) -> None:
    from fastalex import AlexNet, readout

    net = AlexNet(weights=spec["weights"], device="cpu", threads=spec["threads"])
    readout.read_out(net, spec["images"], spec["output"], MODULES, "torchvision", BATCH)


def readout_pytorch(spec: Dict[str, Any]) -> None:
    """thingsvision's way: PIL transforms, batches, hooks that clone, everything kept and saved at the end."""
    import torch
    from PIL import Image

    pytorch_alexnet = neighbors.load(neighbors.PYTORCH_ALEXNET)
    torch.set_num_threads(spec["threads"])
    model = pytorch_alexnet.load(spec["weights"], 2).eval()
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])

    def transform(path: str) -> Any:
        picture = Image.open(path).convert("RGB")
        short = min(picture.size)
        picture = picture.resize([256 * side // short for side in picture.size], Image.BILINEAR)
        left, top = (round((side - 224) / 2) for side in picture.size)
        pixels = np.array(picture.crop((left, top, left + 224, top + 224)))
        tensor = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
        return (tensor - mean[:, None, None]) / deviation[:, None, None]

    paths = sorted(str(path) for path in Path(spec["images"]).iterdir())
    kept: Dict[str, List[np.ndarray]] = {name: [] for name in MODULES}
    for start in range(0, len(paths), BATCH):
        batch = torch.stack([transform(path) for path in paths[start : start + BATCH]])
        for name, values in pytorch_alexnet.hooked(model, batch, MODULES).items():
            kept[name].append(values)
    os.makedirs(spec["output"])
    for name, values in kept.items():
        np.save(f"{spec['output']}/{name}.npy", np.concatenate(values))


def task_readout(spec: Dict[str, Any]) -> Dict[str, Any]:
    began = time.perf_counter()
    {"fastalex": readout_fastalex, "pytorch": readout_pytorch}[spec["side"]](spec)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "images_per_s": spec["count"] / seconds, "peak_rss_mib": timing.peak_rss_mib()}


TASKS = {"weights": task_weights, "jetbot": task_jetbot, "readout": task_readout}


def main(words: Sequence[str]) -> int:
    print(json.dumps(TASKS[words[0]](json.loads(words[1]))))
    return 0
