"""Images a second of ``fastalex train`` beside a loop of plain PyTorch that does the same.

The loop is written as torchvision's references/classification/train.py is (``train_one_epoch``, the transforms of
``presets.py``), without torchvision: the same network and recipe, the same batches and workers, loss and accuracy of
every step. The two take turns. It writes results/throughput.json and the table of docs/training.md.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Sequence

import numpy as np
import torch
from PIL import Image
from torch import nn

from benchmarks import files, records
from benchmarks.experiments.sources import FASHION_MNIST
from benchmarks.measure import machine
from benchmarks.report import machine as commits
from fastalex import variants
from fastalex.images import profiles
from fastalex.networks.architecture import Variant
from fastalex.train import augmentation, data, loop, recipes
from fastalex.train.settings import Settings

RESULT, DOCUMENT = Path(__file__).resolve().parent / "results" / "throughput.json", records.DOCS / "training.md"
#: torchvision's network at a quarter of its widths and half of its input, so that images and steps weigh, too.
ROW = variants.get("torchvision", widths=(16, 48, 96, 64, 64, 1024, 1024), input_size=112, num_classes=10)
RECIPE = recipes.get("torchvision", epochs=1, batch=128)
IMAGES, WARM_UP, TURNS, WORKERS = 1024, 256, 5, 2


class Pictures(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Images and classes with ``transform``, as torchvision's datasets are."""

    def __init__(self, samples: Sequence[Any], size: int) -> None:
        self.samples, self.size, self.profile = samples, size, profiles.get(ROW.profile)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        sample = self.samples[index]
        stream = np.random.default_rng(int(torch.randint(2**31, ())))
        picture = Image.fromarray(sample.source()).convert("RGB")
        pixels = augmentation.resized_crop(picture, self.size, stream)  # RandomResizedCrop
        if stream.integers(2):
            pixels = pixels[:, ::-1]
        values = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float().div_(255)
        mean, std = (torch.tensor(each).view(3, 1, 1) for each in (self.profile.mean, self.profile.std))
        return values.sub_(mean).div_(std), sample.label


def plain_network(row: Variant) -> nn.Module:
    """torchvision/models/alexnet.py with the widths of ``row``."""
    one, two, three, four, five, six, seven = row.widths
    return nn.Sequential(
        nn.Conv2d(3, one, 11, stride=4, padding=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(one, two, 5, padding=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(two, three, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(three, four, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(four, five, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2),
        nn.AdaptiveAvgPool2d((6, 6)),
        nn.Flatten(1),
        nn.Dropout(),
        nn.Linear(five * 36, six),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.Linear(six, seven),
        nn.ReLU(inplace=True),
        nn.Linear(seven, row.num_classes),
    )


def plain_epoch(samples: Sequence[Any]) -> float:
    """Seconds of ``train_one_epoch``."""
    model = plain_network(ROW)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=RECIPE.lr, momentum=RECIPE.momentum, weight_decay=RECIPE.weight_decay
    )
    criterion = nn.CrossEntropyLoss()
    loader = torch.utils.data.DataLoader(
        Pictures(samples, ROW.input_size), batch_size=RECIPE.batch, shuffle=True, num_workers=WORKERS
    )
    model.train()
    shown: List[float] = []
    began = time.perf_counter()
    for image, target in loader:
        output = model(image)
        loss = criterion(output, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.inference_mode():
            right = output.topk(5, 1).indices.eq(target[:, None])
            shown += [loss.item(), right[:, 0].sum().item(), right.sum().item()]
    return time.perf_counter() - began


class Epoch(loop.Run):
    """A run of one epoch that measures its steps, and validates and writes nothing after them."""

    seconds = 0.0

    def _one_epoch(self, began: float, at: float) -> None:
        start = time.perf_counter()
        super()._one_epoch(began, at)
        self.seconds = time.perf_counter() - start

    def _finish_epoch(self, rate: float) -> bool:
        self.epoch, self.done = self.epoch + 1, 0
        return False


def own_epoch(samples: Sequence[Any], classes: List[str]) -> float:
    """Seconds of the steps of ``fastalex train``."""
    images = data.Images(list(samples), classes)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data="", out=folder, workers=WORKERS, device="cpu", tensorboard=False, quiet=True)
        run = Epoch(settings, RECIPE, ROW, images, images)
        run.run()
        return run.seconds


def measure() -> None:
    """Take turns, print and write the result."""
    found = data.train_and_validation(str(FASHION_MNIST), None, 0.1, 0)[0]
    samples, few = found.samples[:IMAGES], found.samples[:WARM_UP]
    loops = {"fastalex train": lambda part: own_epoch(part, found.classes), "plain PyTorch": plain_epoch}
    rates: Dict[str, List[float]] = {name: [] for name in loops}
    for turn in range(TURNS + 1):
        for name, epoch in loops.items():
            part = samples if turn else few
            seconds = epoch(part)
            if turn:
                rates[name].append(round(len(part) / seconds, 1))
    record = {
        "network": ROW.to_dict(),
        "images": IMAGES,
        "batch": RECIPE.batch,
        "workers": WORKERS,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "commit": machine.commit(),
        "images_per_s": rates,
    }
    files.write_atomically(RESULT, files.as_json(record, sort_keys=False))
    text = table(json.loads(RESULT.read_text(encoding="utf-8")))
    print(text)
    files.replace_between(DOCUMENT, "throughput", text)


def table(record: Dict[str, Any]) -> str:
    lines = ["| loop | images/s, median | lowest | highest |", "| --- | ---: | ---: | ---: |"]
    for name, rates in record["images_per_s"].items():
        lines.append(f"| {name} | {statistics.median(rates):.0f} | {min(rates):.0f} | {max(rates):.0f} |")
    own, other = (statistics.median(rates) for rates in record["images_per_s"].values())
    said = f"`fastalex train` is {own / other:.2f} times as fast. {record['threads']} threads, {record['workers']} "
    said += f"workers, batch {record['batch']}, {len(next(iter(record['images_per_s'].values())))} turns of "
    said += f"{record['images']} images; PyTorch {record['torch']}, commit {commits.commit(record['commit'])}."
    return "\n".join([*lines, "", said, ""])
