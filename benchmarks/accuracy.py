"""What each precision of the CPU engine costs in accuracy: logits against the naive backend's, on real images.

    python benchmarks/accuracy.py              # measure, write the result and docs/accuracy.md
    python benchmarks/accuracy.py --quick      # fewer images, nothing written
    python benchmarks/accuracy.py --report     # docs/accuracy.md again, from the results

Images: views of the two photographs that come with scikit-learn (china.jpg, flower.jpg) and this repository's digits.
``alexnet-digits`` has its trained weights, and its accuracy on the digits that examples/train_digits.py holds out; the
standard networks have random weights, since none of the published ones come with fastalex: their figures show what the
arithmetic does, not what a user's photographs would be taken for. The reference has float32 weights and accumulates in
double, so what quantising the weights costs is in the figures.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "examples"))

import fastalex  # noqa: E402
import results_table  # noqa: E402
import train_digits  # noqa: E402
from fastalex import AlexNet, BackendError, UserError, _core, devices, placement, quantize, weights  # noqa: E402
from fastalex.calibration import METHODS, Calibration  # noqa: E402
from fastalex.weights import initial  # noqa: E402

RESULTS = HERE / "results" / "accuracy" / "cpu"
REPORT = HERE.parent / "docs" / "accuracy.md"
NETWORKS = ("alexnet-digits", "alexnet2012", "torchvision")
TRAINED = "alexnet-digits"
CALIBRATION_IMAGES = 128
SEED = 0
BATCH = 16


class Setting(NamedTuple):
    """One way to compute: the arguments of :class:`fastalex.AlexNet`, and how int8 is calibrated."""

    precision: str
    fc_weights: str
    exact: bool = False
    method: Optional[str] = None


def settings() -> List[Setting]:
    """Every combination that the CPU engine has, int8 with every method of calibration."""
    found = []
    for precision, kinds in placement.NUMBERS["cpu"].items():
        for kind in kinds:
            methods: Sequence[Optional[str]] = METHODS if precision == "int8" else (None,)
            found += [Setting(precision, kind, False, method) for method in methods]
        if precision == "fp32":
            found.insert(1, Setting("fp32", "fp32", True))
    return found


# Images -------------------------------------------------------------------------------------------------------------


def photographs() -> List[Image.Image]:
    from sklearn.datasets import load_sample_images

    return [Image.fromarray(pixels) for pixels in load_sample_images().images]


def views(picture: Image.Image) -> List[Image.Image]:
    """The picture, its quarters and its middle, each also mirrored: twelve."""
    w, h = picture.size
    boxes = [(0, 0, w, h), (w // 4, h // 4, 3 * w // 4, 3 * h // 4)]
    boxes += [(x, y, x + w // 2, y + h // 2) for x in (0, w // 2) for y in (0, h // 2)]
    cut = [picture.crop(box) for box in boxes]
    return cut + [one.transpose(Image.FLIP_LEFT_RIGHT) for one in cut]


def random_views(pictures: Sequence[Image.Image], count: int) -> List[Image.Image]:
    """Crops at random places, of a fifth to four fifths of each side: none of them is among :func:`views`."""
    random = np.random.RandomState(SEED)
    found = []
    for index in range(count):
        picture = pictures[index % len(pictures)]
        sides = [int(side * random.uniform(0.2, 0.8)) for side in picture.size]
        left, top = (random.randint(0, whole - side) for whole, side in zip(picture.size, sides))
        found.append(picture.crop((left, top, left + sides[0], top + sides[1])))
    return found


def digit_files() -> List[str]:
    return [str(path) for path in sorted((HERE.parent / "examples" / "digits").glob("*.png"))]


class Data(NamedTuple):
    """Preprocessed float32 ``[N, 3, S, S]``; ``held`` and ``labels`` are None but for the trained network."""

    images: np.ndarray
    calibration: np.ndarray
    held: Optional[np.ndarray] = None
    labels: Optional[np.ndarray] = None


def data_for(net: AlexNet, quick: bool) -> Data:
    pictures = photographs()
    chosen: List[Any] = [view for picture in pictures for view in views(picture)] + list(digit_files())
    images = net.preprocess(chosen[:: 4 if quick else 1])
    count = CALIBRATION_IMAGES // 8 if quick else CALIBRATION_IMAGES
    if net.variant.name != TRAINED:
        return Data(images, net.preprocess(random_views(pictures, count)))
    grey, labels = train_digits.load_images()
    training, held = train_digits.held_out_split(labels)
    training = np.random.RandomState(SEED).permutation(training)[:count]
    held = held[:: 8 if quick else 1]
    return Data(
        images,
        train_digits.prepare(grey[training], net.variant),
        train_digits.prepare(grey[held], net.variant),
        labels[held],
    )


# Measuring ----------------------------------------------------------------------------------------------------------


def logits(net: AlexNet, x: np.ndarray) -> np.ndarray:
    parts = range(0, len(x), BATCH)
    return np.concatenate([np.asarray(net(x[first : first + BATCH])) for first in parts]).astype(np.float64)


def compare(found: np.ndarray, reference: np.ndarray) -> Dict[str, float]:
    """Figures of logits ``[N, classes]``: the worst error in parts of the largest reference logit of its image, the
    least cosine of an image, and the share of images with the same largest logit."""
    error = np.abs(found - reference).max(axis=1) / np.abs(reference).max(axis=1)
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(reference, axis=1)
    return {
        "max_relative_error": float(error.max()),
        "cosine": float(((found * reference).sum(axis=1) / norms).min()),
        "top1_agreement": float((found.argmax(axis=1) == reference.argmax(axis=1)).mean()),
    }


def measure_network(name: str, options: argparse.Namespace, chosen: Sequence[Setting]) -> List[Dict[str, Any]]:
    arrays = weights.load_named("digits").arrays if name == TRAINED else initial.random_weights(name, SEED)
    plain = AlexNet(name, weights=arrays, device="cpu", threads=options.threads)
    data = data_for(plain, options.quick)
    reference = logits(AlexNet(name, weights=arrays, device="naive", threads=options.threads), data.images)
    calibrations: Dict[str, Calibration] = {}
    rows = []
    for setting in chosen:
        if setting.method is not None and setting.method not in calibrations:
            calibrations[setting.method] = quantize.calibrate(plain, [data.calibration], setting.method)
        net = AlexNet(
            name,
            weights=arrays,
            device="cpu",
            precision=setting.precision,
            fc_weights=setting.fc_weights,
            exact=setting.exact,
            threads=options.threads,
            calibration=calibrations.get(setting.method or ""),
        )
        row: Dict[str, Any] = {"variant": name, "weights": "trained" if name == TRAINED else "random"}
        row.update(setting._asdict(), images=len(data.images), **compare(logits(net, data.images), reference))
        row["calibration_images"] = len(data.calibration) if setting.method else None
        row["held_out_images"] = None if data.held is None else len(data.held)
        row["held_out_accuracy"] = None
        if data.held is not None:
            row["held_out_accuracy"] = float((logits(net, data.held).argmax(axis=1) == data.labels).mean())
        print(line(row), file=sys.stderr)
        rows.append(row)
    return rows


def line(row: Mapping[str, Any]) -> str:
    return "%s, %s%s, fc %s%s: error %.2e, cosine %.7f, same top-1 %.1f %%" % (
        row["variant"],
        row["precision"],
        " exact" if row["exact"] else "",
        row["fc_weights"],
        ", " + row["method"] if row["method"] else "",
        row["max_relative_error"],
        row["cosine"],
        100 * row["top1_agreement"],
    )


def record(rows: List[Dict[str, Any]], quick: bool) -> Dict[str, Any]:
    cpu = devices.cpu()
    return {
        "schema": 1,
        "device": "accuracy",
        "title": cpu.model,
        "quick": quick,
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "machine": {"architecture": cpu.machine, "isa": str(_core.cpu_isa())},
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "pillow": Image.__version__,
            "fastalex": fastalex.__version__,
        },
        "rows": rows,
    }


# The document -------------------------------------------------------------------------------------------------------

INTRODUCTION = """\
# Accuracy of the CPU engine's precisions

Generated by `python benchmarks/accuracy.py --report` from `benchmarks/results/accuracy/`. The reference is the `naive`
backend: float32 weights, sums in double.

- **Error**: the largest difference of a logit from the reference, in parts of the largest logit of its image; the worst
  of all images.
- **Cosine**: between the logits and the reference's; the least of all images.
- **Same top-1**: images whose most probable class is the reference's.
- **Held-out digits**: the accuracy on the handwritten digits that `examples/train_digits.py` never trained on.

Images: twelve views of each photograph that comes with scikit-learn, and the digits in `examples/digits`. int8 is
calibrated on other images: of `alexnet-digits` on digits that it was trained on, of the others on random crops of the
photographs. Networks with random weights show what the arithmetic does to logits; their top-1 is a class by chance,
often by a narrow margin, so that any rounding may change it.
"""


def table(rows: Sequence[Mapping[str, Any]]) -> List[str]:
    held = any(row["held_out_accuracy"] is not None for row in rows)
    head = ["precision", "fully connected weights", "calibration", "error", "cosine", "same top-1"]
    lines = ["| %s |" % " | ".join(head + ["held-out digits"] * held)]
    lines.append("| --- | --- | --- | ---: | ---: | ---: |" + " ---: |" * held)
    for row in rows:
        cells = [
            row["precision"] + (", exact" if row["exact"] else ""),
            row["fc_weights"],
            row["method"] or "",
            "%.1e" % row["max_relative_error"],
            "%.7f" % row["cosine"],
            "%.1f %%" % (100 * row["top1_agreement"]),
        ]
        if held:
            cells.append("%.2f %%" % (100 * row["held_out_accuracy"]))
        lines.append("| %s |" % " | ".join(cells))
    return lines


def render(records: Sequence[Mapping[str, Any]]) -> str:
    """The whole of docs/accuracy.md."""
    lines = [INTRODUCTION] if records else [INTRODUCTION + "\nNothing is measured yet.\n"]
    for one in records:
        lines.append("## %s (%s)\n" % (one["title"], one["machine"]["isa"]))
        lines.append("%s, fastalex %s.\n" % (one["date"], one["versions"]["fastalex"]))
        for name in dict.fromkeys(row["variant"] for row in one["rows"]):
            rows = [row for row in one["rows"] if row["variant"] == name]
            facts = (name, rows[0]["weights"], rows[0]["images"])
            lines.append("### `%s`, %s weights, %d images\n" % facts)
            lines += table(rows)
            lines.append("")
    return "\n".join(lines)


def load_records(folder: Path = RESULTS) -> List[Dict[str, Any]]:
    """:raises UserError: for a file that is no result of this program."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            one = json.loads(path.read_text(encoding="utf-8"))
            if one["device"] != "accuracy":
                raise KeyError("device")
            render([one])
        except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
            raise UserError("%s is not a result of accuracy.py: %s" % (path, error)) from None
        found.append(one)
    return found


def report() -> None:
    results_table.write_atomically(REPORT, render(load_records()))


# The command --------------------------------------------------------------------------------------------------------


def parse(argv: Optional[Sequence[str]]) -> Tuple[argparse.Namespace, List[Setting]]:
    parser = argparse.ArgumentParser(description="Measure what each precision of the CPU engine costs in accuracy.")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS, help="default: all")
    parser.add_argument("--precision", nargs="+", choices=list(placement.NUMBERS["cpu"]), help="default: all")
    parser.add_argument("--threads", type=int, help="CPU threads; default: all this process may use")
    parser.add_argument("--quick", action="store_true", help="a quarter of the images, and nothing is written")
    parser.add_argument("--output", type=Path, help="write the result there, and no document")
    parser.add_argument("--report", action="store_true", help="write docs/accuracy.md from the results, and stop")
    options = parser.parse_args(argv)
    chosen = [one for one in settings() if options.precision is None or one.precision in options.precision]
    options.whole = not (options.quick or options.precision or set(options.networks) < set(NETWORKS))
    return options, chosen


def main(argv: Optional[Sequence[str]] = None) -> int:
    options, chosen = parse(argv)
    try:
        if options.report:
            report()
            return 0
        rows = [row for name in options.networks for row in measure_network(name, options, chosen)]
        result = record(rows, options.quick)
        text = json.dumps(result, indent=1, sort_keys=True) + "\n"
        if options.output:
            results_table.write_atomically(options.output, text)
        elif options.whole:  # a part is no result
            results_table.write_atomically(RESULTS / (results_table.slug(result["title"]) + ".json"), text)
            report()
        print(render([result])[len(INTRODUCTION) :].strip())
        return 0
    except (UserError, BackendError) as error:
        print("accuracy.py: %s" % error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
