"""Train a member of the AlexNet family on real handwritten digits and compare PyTorch with the native engine.

    python examples/train_digits.py                        # the network that ships with fastalex
    python examples/train_digits.py --evaluate digits      # the comparison alone
    python examples/train_digits.py --variant torchvision --weights alexnet.pth --epochs 3 --output mine.safetensors

Data: the 1797 images of ``sklearn.datasets.load_digits``, 8 x 8 pixels with levels 0 to 16, which comes with
scikit-learn, so nothing is downloaded. They are the test set of E. Alpaydin and C. Kaynak, "Optical Recognition of
Handwritten Digits", UCI Machine Learning Repository, 1998, https://doi.org/10.24432/C50P49. The repository gives it
under CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/); scikit-learn's own description states no license.
The images that this script writes, and the weights trained on them, are derived from it.

A fifth of each class is held out and never trained on. The number of epochs and the learning rate follow a fixed
schedule and the weights after the last epoch are kept: the accuracy on the held-out part is printed after each epoch,
but chooses nothing. scikit-learn does not say who wrote which image, so the same people appear in both parts; an
accuracy on new writers may be lower.

Needs PyTorch and scikit-learn. The final comparison also needs the native engine of fastalex.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
from PIL import Image

from fastalex import images, variants, weights
from fastalex.errors import UserError
from fastalex.networks import torch_reference
from fastalex.weights import initial

LABELS = [str(digit) for digit in range(10)]
HELD_OUT_FRACTION = 0.2
SPLIT_SEED = 0  # the split never changes: --seed only drives the training
LEVELS = 16  # the brightest level of the data
EVALUATION_BATCH = 60
SOURCE = {
    "data.source": "E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits (test set), UCI Machine Learning "
    "Repository, 1998, https://doi.org/10.24432/C50P49, as bundled with scikit-learn (sklearn.datasets.load_digits)",
    "data.licence": "CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/)",
}


def load_images() -> Tuple[np.ndarray, np.ndarray]:
    """``(uint8 [1797, 8, 8], int64 [1797])``: the images with level 16 as 255, and their digits."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return np.round(data.images * (255.0 / LEVELS)).astype(np.uint8), data.target.astype(np.int64)


def held_out_split(labels: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """``(training indices, held-out indices)``, each sorted: a fifth of every class is held out.

    numpy keeps the stream of ``RandomState`` fixed for all versions, so the split is the same everywhere.
    """
    random = np.random.RandomState(SPLIT_SEED)
    held_out: List[int] = []
    for digit in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == digit))
        held_out.extend(members[: round(HELD_OUT_FRACTION * len(members))])
    chosen = np.sort(np.array(held_out))
    return np.setdiff1d(np.arange(len(labels)), chosen), chosen


def prepare(gray: np.ndarray, row: variants.Variant) -> np.ndarray:
    """uint8 ``[N, 8, 8]`` -> float32 ``[N, 3, size, size]`` by the profile of the variant, as in classification."""
    return images.preprocess([np.stack([image] * 3, axis=-1) for image in gray], row.profile, row.input_size)


def start_arrays(row: variants.Variant, path: Optional[str], seed: int) -> Dict[str, np.ndarray]:
    """Random weights, or those of ``path``, whose last layer is random where it has other classes."""
    arrays = initial.random_weights(row, seed)
    if path is None:
        return arrays
    loaded = dict(weights.load(path).arrays)
    for name in list(arrays)[-2:]:
        if name in loaded and loaded[name].shape[:1] != (row.num_classes,):
            print(f"'{name}' has {loaded[name].shape[0]} classes and starts afresh")
            loaded[name] = arrays[name]
    return dict(zip(arrays, initial.check(row, loaded)))


def augment(batch: Any, black: Any) -> Any:
    """Rotate, scale, slant and shift each image of ``[N, 3, H, W]``; the area outside is black."""
    import torch

    def uniform(limit: float) -> Any:
        return (torch.rand(len(batch)) * 2 - 1) * limit

    angle, slant = uniform(0.2), uniform(0.15)  # radians; shear
    wide, high = 1 + uniform(0.12), 1 + uniform(0.12)
    matrix = torch.zeros(len(batch), 2, 3)
    matrix[:, 0, 0], matrix[:, 0, 1] = torch.cos(angle) * wide, (slant - torch.sin(angle)) * high
    matrix[:, 1, 0], matrix[:, 1, 1] = torch.sin(angle) * wide, torch.cos(angle) * high
    matrix[:, :, 2] = torch.stack([uniform(0.15), uniform(0.1)], 1)  # in halves of the image's side
    grid = torch.nn.functional.affine_grid(matrix, list(batch.shape), align_corners=False)
    return torch.nn.functional.grid_sample(batch - black, grid, align_corners=False) + black


def train(
    model: Any, row: variants.Variant, data: Dict[str, np.ndarray], args: Any, log: Callable[[str], None]
) -> None:
    """Train with AdamW, a linear rise and a cosine fall of the learning rate, over exactly ``args.epochs`` epochs."""
    import torch

    black = torch.from_numpy(prepare(np.zeros((1, 8, 8), np.uint8), row))
    count = len(data["train"])
    steps = args.epochs * -(-count // args.batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=steps, pct_start=0.15)
    for epoch in range(args.epochs):
        began, total = time.perf_counter(), 0.0
        model.train()
        for chosen in torch.randperm(count).split(args.batch):
            batch = augment(torch.from_numpy(prepare(data["train"][chosen.numpy()], row)), black)
            target = torch.from_numpy(data["train_labels"][chosen.numpy()])
            loss = torch.nn.functional.cross_entropy(model(batch), target, label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(chosen)
        accuracy = score(torch_logits(model, row), row, data)
        log(
            "epoch %3d of %d  training loss %.4f  held-out accuracy %6.2f%%  %.1f s"
            % (epoch + 1, args.epochs, total / count, 100 * accuracy, time.perf_counter() - began)
        )


def torch_logits(model: Any, row: variants.Variant) -> Callable[[np.ndarray], np.ndarray]:
    """uint8 images -> logits of the PyTorch model in evaluation mode."""
    import torch

    def run(gray: np.ndarray) -> np.ndarray:
        model.eval()
        with torch.no_grad():
            return model(torch.from_numpy(prepare(gray, row))).numpy()

    return run


def native_logits(
    row: variants.Variant, path: Path, threads: int, fc_weights: str
) -> Callable[[np.ndarray], np.ndarray]:
    """uint8 images -> logits of the native engine with the saved weights."""
    from fastalex import AlexNet

    net = AlexNet(variant=row, weights=str(path), device="cpu", fc_weights=fc_weights, threads=threads)
    return lambda gray: np.asarray(net(prepare(gray, row)))


def all_logits(run: Callable[[np.ndarray], np.ndarray], gray: np.ndarray) -> np.ndarray:
    """``run`` over ``gray`` in batches that keep the memory small."""
    parts = range(0, len(gray), EVALUATION_BATCH)
    return np.concatenate([run(gray[start : start + EVALUATION_BATCH]) for start in parts])


def score(run: Callable[[np.ndarray], np.ndarray], row: variants.Variant, data: Dict[str, np.ndarray]) -> float:
    """Share of the held-out images whose largest logit is the right one."""
    return float(np.mean(all_logits(run, data["held"]).argmax(1) == data["held_labels"]))


def compare(path: Path, data: Dict[str, np.ndarray], threads: int) -> None:
    """Print how the held-out part fares through PyTorch and through the native engine, fp32 and int8."""
    loaded = weights.load(path)
    row = loaded.variant()
    if row is None:
        raise UserError(f"{path} does not say its variant, so it was not saved by this script")
    model = torch_reference.build(row)
    torch_reference.load(model, loaded.arrays)
    expected = all_logits(torch_logits(model, row), data["held"])
    right = data["held_labels"]
    print(f"PyTorch          held-out accuracy {100 * np.mean(expected.argmax(1) == right):6.2f}%")
    try:
        import fastalex._core  # noqa: F401
    except ImportError as error:
        print(f"the native engine is not built here ({error}): install the package to compare with it")
        return
    for fc_weights in ("fp32", "int8"):
        got = all_logits(native_logits(row, path, threads, fc_weights), data["held"])
        print(
            f"native, {fc_weights} fc  held-out accuracy {100 * np.mean(got.argmax(1) == right):6.2f}%"
            f"  largest difference of a logit {np.abs(got - expected).max():.2e}"
            f"  same top-1 {100 * np.mean(got.argmax(1) == expected.argmax(1)):6.2f}%"
        )


def write_samples(folder: Path, gray: np.ndarray, labels: np.ndarray, per_class: int = 2) -> List[Path]:
    """The first held-out images of each class as 8 x 8 PNG files, named by digit and index in the data."""
    _, held_out = held_out_split(labels)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for digit in range(10):
        for index in held_out[labels[held_out] == digit][:per_class]:
            path = folder / (f"digit-{digit}-sample-{index:04}.png")
            Image.fromarray(gray[index]).save(path)
            written.append(path)
    return written


def parse(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train an AlexNet on scikit-learn's handwritten digits.")
    parser.add_argument("--variant", default="alexnet-digits", help="a variant's name (default: %(default)s)")
    parser.add_argument("--weights", metavar="START", help="a weights file to start from (default: random weights)")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, help="largest learning rate (default: 1e-3, with --weights 1e-4)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=int, help="train on this many images only, for a quick trial")
    parser.add_argument("--output", type=Path, default=Path("digits.safetensors"), help="default: %(default)s")
    parser.add_argument("--log", type=Path, help="also write the printed lines here")
    parser.add_argument(
        "--evaluate", metavar="FILE", help="compare a file that this script saved, or 'digits', and stop"
    )
    parser.add_argument("--write-samples", type=Path, metavar="DIR", help="write 20 held-out images there and stop")
    args = parser.parse_args(argv)
    for name in ("epochs", "batch", "threads"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1")
    if args.limit is not None and args.limit < 1:
        parser.error("--limit must be at least 1")
    if args.output.suffix not in weights.FORMATS or not args.output.parent.is_dir():  # checked before training
        parser.error(f"--output must end in {' or '.join(weights.FORMATS)}, in a folder that exists")
    args.lr = args.lr or (1e-4 if args.weights else 1e-3)
    return args


def run(args: argparse.Namespace) -> None:
    gray, labels = load_images()
    if args.write_samples:
        for path in write_samples(args.write_samples, gray, labels):
            print(path)
        return
    import torch

    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    training, held_out = held_out_split(labels)
    training = np.random.RandomState(args.seed).permutation(training)[: args.limit]
    data = {
        "train": gray[training],
        "train_labels": labels[training],
        "held": gray[held_out],
        "held_labels": labels[held_out],
    }
    if args.evaluate:
        known = args.evaluate in weights.BUNDLED
        compare(weights.bundled(args.evaluate) if known else Path(args.evaluate), data, args.threads)
        return
    learn(data, args)
    compare(args.output, data, args.threads)


def learn(data: Dict[str, np.ndarray], args: argparse.Namespace) -> None:
    """Train, save the weights to ``args.output`` and the printed lines to ``args.log``."""
    import torch

    row = variants.get(args.variant, num_classes=len(LABELS))
    start = "random weights" if args.weights is None else Path(args.weights).name
    lines: List[str] = []

    def log(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    log(f"{row.name}: {format(row.params, ',')} parameters, {row.input_size} x {row.input_size} input")
    log(f"{len(data['train'])} training images, {len(data['held'])} held out, seed {args.seed}")
    log(f"batch {args.batch}, largest learning rate {args.lr:g}, PyTorch {torch.__version__}")
    began = time.perf_counter()
    model = torch_reference.build(row)
    torch_reference.load(model, start_arrays(row, args.weights, args.seed))
    train(model, row, data, args, log)
    log(f"trained in {time.perf_counter() - began:.0f} s with {args.threads} threads")
    accuracy = score(torch_logits(model, row), row, data)
    metadata = {
        weights.VARIANT_KEY: json.dumps(row.to_dict()),
        weights.LABELS_KEY: json.dumps(LABELS),
        "training": "examples/train_digits.py, %d epochs, seed %d, started from %s; held-out accuracy %.2f%%"
        % (args.epochs, args.seed, start, 100 * accuracy),
    }
    metadata.update(SOURCE)
    weights.save(args.output, torch_reference.arrays_of(model), metadata)
    log(f"saved {args.output.name}, {args.output.stat().st_size} bytes")
    if args.log:
        args.log.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(argv: Optional[Sequence[str]] = None) -> int:
    args = parse(argv)
    try:
        run(args)
    except UserError as error:
        print(f"train_digits.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
