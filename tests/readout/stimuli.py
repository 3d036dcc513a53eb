"""Small images in every kind of source, the same ones in each."""

from __future__ import annotations

import io
import os
import tarfile

import numpy as np
from PIL import Image

SIDE = 24


def pixels(number):
    """Noise around a level that follows from the number."""
    generator = np.random.default_rng(number)
    return (generator.integers(0, 128, (SIDE, SIDE, 3)) + 8 * (number % 16)).astype(np.uint8)


def png(number):
    content = io.BytesIO()
    Image.fromarray(pixels(number)).save(content, "PNG", compress_level=1)
    return content.getvalue()


def write_folder(folder, numbers, encode=png):
    os.makedirs(folder)
    for number in numbers:
        (folder / f"{number:06d}.png").write_bytes(encode(number))
    return folder


def add(tar, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def write_tar(path, numbers, encode=png):
    """A shard as WebDataset writes it: beside each image its class."""
    with tarfile.open(path, "w") as tar:
        for number in numbers:
            add(tar, f"{number:06d}.png", encode(number))
            add(tar, f"{number:06d}.cls", b"%d" % (number % 10))
    return path


def write_tars(folder, numbers, per_shard, encode=png):
    os.makedirs(folder)
    numbers = list(numbers)
    for shard, first in enumerate(range(0, len(numbers), per_shard)):
        write_tar(folder / f"shard-{shard:06d}.tar", numbers[first : first + per_shard], encode)
    return folder


def write_hdf5_arrays(path, numbers):
    import h5py

    with h5py.File(path, "w") as file:
        file["stimuli/images"] = np.stack([pixels(number) for number in numbers])
        file["stimuli/labels"] = np.array([number % 10 for number in numbers])
    return path


def write_hdf5_files(path, numbers, encode=png):
    import h5py

    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("images", (len(numbers),), h5py.vlen_dtype(np.uint8))
        for row, number in enumerate(numbers):
            dataset[row] = np.frombuffer(encode(number), np.uint8)
    return path


def write_parquet(path, numbers, nested=True, encode=png, group=3):
    """``nested``: Hugging Face's struct of bytes and path."""
    import pyarrow
    from pyarrow import parquet

    cells = [{"bytes": encode(number), "path": f"{number:06d}.png"} if nested else encode(number) for number in numbers]
    table = pyarrow.table({"image": cells, "label": [number % 10 for number in numbers]})
    parquet.write_table(table, path, row_group_size=group)
    return path
