"""How alike images are to people: LPIPS of two files, of the files of two folders, or of all pairs in one folder.

    python examples/lpips_distance.py one.png other.png
    python examples/lpips_distance.py originals/ compressed/        # files of the same name
    python examples/lpips_distance.py folder/                       # all pairs
    python examples/lpips_distance.py one.png other.png --map where.png

These are what the scripts lpips_2imgs.py, lpips_2dirs.py and lpips_1dir_allpairs.py of the original do. It needs the
heads of the package lpips (pip install --no-deps lpips, or --heads) and AlexNet's convolutions: --weights, or
torchvision's, which are downloaded once.

A file that cannot be read, or is of another size than its partner, gets one sentence; the rest goes on. The exit code
is 1 then, and 2 if nothing could be compared.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from PIL import Image

from fastalex import LPIPS, BackendError, UserError, images
from fastalex.images import listing

Pair = Tuple[str, str]


def read(path: str) -> np.ndarray:
    """Read an image as uint8 ``[1, 3, H, W]``. :raises UserError: if it cannot be read."""
    return np.ascontiguousarray(np.asarray(images.open_image(path)).transpose(2, 0, 1))[None]


def same_names(first: str, second: str) -> Tuple[List[Pair], List[str]]:
    """Pairs of files, and a sentence for each file without a partner."""
    names = [{os.path.relpath(path, folder): path for path in listing.below(folder)} for folder in (first, second)]
    pairs = [(names[0][name], names[1][name]) for name in names[0] if name in names[1]]
    alone = [path for own, other in (names, names[::-1]) for name, path in own.items() if name not in other]
    return pairs, [f"'{path}' has no partner in the other folder" for path in alone]


def compared(metric: Any, pairs: Sequence[Pair], complain: Any) -> Iterator[Tuple[Pair, Any]]:
    """Yield each pair with its distance, without pairs that cannot be compared."""
    for pair in pairs:
        try:
            yield pair, metric(*(read(path) for path in pair))
        except UserError as error:
            complain(f"{' and '.join(pair)}: {error}")


def all_pairs(metric: Any, paths: Sequence[str], complain: Any) -> Iterator[Tuple[Pair, float]]:
    """Yield all pairs of the files, with features computed once; images are compared with those of the same size."""
    features: Dict[Any, List[Any]] = {}
    for path in paths:
        try:
            features_of = metric.features(read(path))
        except UserError as error:
            complain(str(error))
            continue
        features.setdefault(features_of.size, []).append((path, features_of))
    if len(features) > 1:
        complain(f"the images have {len(features)} sizes; only those of one size are compared")
    for group in features.values():
        names = [path for path, _ in group]
        distances = metric.matrix(type(group[0][1]).concatenate([features_of for _, features_of in group]))
        for i, one in enumerate(names):
            for j in range(i + 1, len(names)):
                yield (one, names[j]), float(distances[i, j])


def write_map(path: str, distances: np.ndarray) -> None:
    """The distance at each pixel as a gray image, the largest white; whole or not at all."""
    values = distances[0, 0]
    gray = Image.fromarray(np.round(255 * values / max(float(values.max()), 1e-12)).astype(np.uint8))
    stream = io.BytesIO()
    gray.save(stream, format="PNG")
    temporary = path + ".tmp"
    try:
        Path(temporary).write_bytes(stream.getvalue())
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"cannot write '{path}': {error.strerror or error}") from None


def parse(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", help="an image, or a folder")
    parser.add_argument("second", nargs="?", help="the same; without it, all pairs in the folder")
    parser.add_argument("--weights", help="AlexNet's weights, or 'random'; default: torchvision's, downloaded once")
    parser.add_argument("--heads", help="weights/v0.1/alex.pth of the package lpips; default: the installed package's")
    parser.add_argument("--version", default="0.1", choices=("0.1", "0.0"))
    parser.add_argument("--eps", default="lpips", help="whose convention: lpips, torchmetrics, piq or stargan-v2")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--map", metavar="PNG", help="of two files: write the distance at each pixel there")
    return parser.parse_args(argv)


def run(options: argparse.Namespace, complain: Any) -> int:
    folders = [os.path.isdir(path) for path in (options.first, options.second) if path is not None]
    if folders == [False]:
        raise UserError("give a second image, or a folder")
    if len(set(folders)) > 1:
        raise UserError("give two images or two folders, not one of each")
    if options.map and folders[0]:
        raise UserError("--map is of two files, not of folders")
    metric = LPIPS(
        version=options.version,
        weights=options.weights,
        heads=options.heads,
        eps=options.eps,
        device=options.device,
        spatial=bool(options.map),
    )
    if len(folders) == 1:
        distances: Iterator[Tuple[Pair, Any]] = all_pairs(metric, listing.below(options.first), complain)
    elif folders[0]:
        pairs, alone = same_names(options.first, options.second)
        for sentence in alone:
            complain(sentence)
        distances = compared(metric, pairs, complain)
    else:
        distances = compared(metric, [(options.first, options.second)], complain)
    values = []
    for (one, other), distance in distances:
        if options.map:
            write_map(options.map, distance)
        values.append(float(np.mean(distance)))
        print(f"{one}\t{other}\t{values[-1]:.6f}")
    if len(values) > 1:
        print(f"mean of {len(values)}\t\t{np.mean(values):.6f}")
    return len(values)


def main(argv: Optional[Sequence[str]] = None) -> int:
    options = parse(argv)
    said: List[str] = []

    def complain(sentence: str) -> None:
        said.append(sentence)
        print(f"lpips_distance.py: {sentence}", file=sys.stderr)

    try:
        done = run(options, complain)
    except (UserError, BackendError) as error:
        complain(str(error))
        return 2
    if not done:
        return 2
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
