"""Read-outs of many small images, killed at random moments and gone on with, beside one that is left alone.

``python -m tests.readout.killed FOLDER --images N --kills K`` writes N small images in tar shards, reads them out twice
and prints JSON: the seconds and the peak memory of each process, where the kills were, and what differs. Further
options, such as ``--format zarr --dtype int8 --pca 8``, go to ``fastalex readout``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np

from fastalex import readout
from fastalex.cli.main import main as command
from tests.readout import stimuli

DISTINCT = 500  # images that are drawn; more are these again, under other names
PER_SHARD = 10000
CORRUPT = 997  # every image of this number is none
ROWS = 4096  # that are compared at once
LATEST = 0.6  # of the images, until the last kill; large chunks make steps of the state
PAUSE_S = 0.3
SAVE_EVERY_S = 25e-6  # for each image; of a few more often than for users, so that more lies between two kills


def write_images(folder, count):
    drawn = [stimuli.png(number) for number in range(min(count, DISTINCT))]

    def encode(number):
        return b"no image" if number % CORRUPT == CORRUPT - 1 else drawn[number % DISTINCT]

    return stimuli.write_tars(folder, range(count), min(PER_SHARD, max(1, count // 4)), encode)


def forked(words, log, images):
    """Run a command in a new process, which writes to the file ``log``, and return the number of the process."""
    number = os.fork()
    if number:
        return number
    code = 70
    try:
        readout.run.SAVE_EVERY_S = min(1.0, SAVE_EVERY_S * images)
        said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1)
        os.dup2(said, 2)
        code = command(words)
    finally:
        os._exit(code)


def ended(number):
    """Wait for a process; return its exit code, or the negative number of a signal, and its peak memory in MiB."""
    _, status, used = os.wait4(number, 0)
    code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    return code, used.ru_maxrss / 1024


def images_done(out):
    """How far the saved state is; None before there is one."""
    try:
        return json.loads((out / readout.STATE).read_text())["done"]
    except FileNotFoundError:
        return None


def until(out, target, process, pause):
    """Wait until the saved state has come to ``target``, or the process has ended, and then for ``pause`` seconds."""
    while (images_done(out) or 0) < target:
        if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(0.005)
    time.sleep(pause)


def killed(words, out, log, images, kills, generator):
    """Run until the end with ``kills`` kills; return where they were, the peak memory of each process, the last code.

    A kill comes soon after a random image is done; where the kill before it was later, soon after the start.
    """
    moments, peaks = [], []
    for target in sorted(generator.uniform(0, LATEST * images) for _ in range(kills)):
        process = forked(words, log, images)
        until(out, target, process, generator.uniform(0, PAUSE_S))
        os.kill(process, signal.SIGKILL)
        code, peak = ended(process)
        assert code == -signal.SIGKILL, f"it ended by itself, with {code}: {log.read_text()}"
        moments.append(images_done(out))
        peaks.append(peak)
    code, peak = ended(forked(words, log, images))
    return moments, [*peaks, peak], code


def differences(one, other):
    """What of two results differs: the manifests but for the machine, the names, and each row."""
    first, second = (readout.Results(str(folder)) for folder in (one, other))
    found = [key for key in first.manifest if key != "machine" and first.manifest[key] != second.manifest.get(key)]
    if (one / readout.NAMES).read_bytes() != (other / readout.NAMES).read_bytes():
        found.append(readout.NAMES)
    for layer in first.layers:
        rows = [results.stored(layer) for results in (first, second)]
        for start in range(0, rows[0].shape[0], ROWS):
            a, b = (np.asarray(array[start : start + ROWS]) for array in rows)
            if a.dtype != b.dtype or a.tobytes() != b.tobytes():
                found.append(f"{layer} from row {start} on")
                break
    for path in [*one.glob("*.npz"), *one.glob("*.scales.npy")]:
        if path.read_bytes() != (other / path.name).read_bytes():
            found.append(path.name)
    return found


def main(words):
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--random", type=int, default=0, help="seed of the moments of the kills")
    parser.add_argument("--check", action="store_true", help="fail if anything differs")
    options, more = parser.parse_known_args(words)
    source = write_images(options.folder / "shards", options.images)
    whole, broken = options.folder / "whole", options.folder / "killed"
    read = ["readout", str(source), "--weights", "digits", "--device", "cpu", *more]
    if "--layers" not in more:
        read += ["--layers", "conv5"]
    log, began = options.folder / "log", time.monotonic()
    code, peak = ended(forked([*read, "--out", str(whole)], log, options.images))
    length = time.monotonic() - began
    generator = random.Random(options.random)
    moments, peaks, last = killed([*read, "--out", str(broken)], broken, log, options.images, options.kills, generator)
    report = {"images": options.images, "seconds": round(length, 2), "codes": [code, last], "kills": moments}
    report.update(peak_mib=round(peak), killed_peak_mib=round(max(peaks)), different=differences(whole, broken))
    report["left_out"] = len(readout.Results(str(whole)).manifest["left_out"])
    print(json.dumps(report))
    return int(options.check and bool(report["different"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
