"""A process that reads layers out, and says how fast: ``run.py measure.scale_worker TASK SPEC``.

TASK is "images" (which writes the weights and the images), "plain", "parts" or "ray"; it prints one JSON object. SPEC
has weights, layer, images, count and output; for "plain" cpu and shard; for "ray" cpus.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Sequence

import numpy as np

from benchmarks.measure import timing

BATCH = 16
BEGAN = time.time()  # near enough to the start of the process


def task_images(spec: Dict[str, Any]) -> Dict[str, Any]:
    """Write a folder of images of ``size``, and random weights unless they are named; say how large the files are."""
    from PIL import Image

    from fastalex import variants, weights
    from fastalex.weights import initial

    if spec["weights"].endswith(".safetensors"):
        row = variants.get("torchvision")
        weights.save(spec["weights"], initial.random_weights(row, seed=1), weights.metadata_for(row))
    random, folder = np.random.RandomState(0), Path(spec["images"])
    folder.mkdir()
    for number in range(spec["count"]):
        patches = Image.fromarray(random.randint(0, 256, (6, 8, 3)).astype(np.uint8))
        patches.resize(tuple(spec["size"]), Image.BICUBIC).save(folder / f"{number:05}.jpg", quality=90)
    return {"image_bytes": sum(path.stat().st_size for path in folder.iterdir()) / spec["count"]}


def job_of(spec: Dict[str, Any]) -> Any:
    from fastalex import AlexNet, readout

    net = AlexNet(weights=spec["weights"], device="cpu", threads=1)
    return readout.Job(net, spec["images"], spec["output"], [spec["layer"]], batch=BATCH, shard=spec.get("shard"))


class Clocked:
    """A source that writes down when each block is begun, in a file for each process."""

    def __init__(self, source: Any, folder: str) -> None:
        self.source, self.folder, self.address = source, folder, source.address
        self.alive = source.alive

    def read(self, start: int, stop: int) -> Any:
        with open(f"{self.folder}/{os.getpid()}", "a") as log:
            log.write(f"{time.time()} {stop - start}\n")
        return self.source.read(start, stop)


def timed(job: Any, *compute: Any) -> Dict[str, Any]:
    """Run a job; return when its first block came, and the images and seconds from when all workers had begun."""
    moments: List[float] = []
    with tempfile.TemporaryDirectory() as folder:
        job.source = Clocked(job.source, folder)
        job.run(lambda done: moments.append(time.time()), *compute)
        logs = [[line.split() for line in path.read_text().splitlines()] for path in Path(folder).iterdir()]
    begun = max(float(log[0][0]) for log in logs)
    images = sum(int(count) for log in logs for moment, count in log if float(moment) >= begun)
    return {"first_s": moments[0] - BEGAN, "steady_s": moments[-1] - begun, "images": images, "workers": len(logs)}


def task_plain(spec: Dict[str, Any]) -> Dict[str, Any]:
    """One process on one CPU: its threads for reading and decoding share that with the network's one."""
    timing.pin([spec["cpu"]])
    return dict(timed(job_of(spec)), peak_mib=timing.peak_rss_mib())


def task_parts(spec: Dict[str, Any]) -> Dict[str, Any]:
    """The seconds an image of each part of the work, one after the other, on one CPU; and those of a merge."""
    from fastalex import readout
    from fastalex.readout.work import spans

    timing.pin([spec["cpu"]])
    job = job_of(spec)
    os.makedirs(spec["output"])
    opened, seconds = job.opened(), {"read_and_decode_s": 0.0, "compute_s": 0.0, "write_s": 0.0}
    job.prepare(opened)
    for number, (start, stop) in enumerate(spans(0, job.stop, BATCH)):
        marks = [time.perf_counter()]
        items = job.source.read(start, stop)
        inputs = [job.work.input_of(item) for item in items]
        marks.append(time.perf_counter())
        block = job.work.block_of(start, items, inputs)
        marks.append(time.perf_counter())
        opened.add(block)
        marks.append(time.perf_counter())
        if number:  # the first warms up
            for key, before, after in zip(seconds, marks, marks[1:]):
                seconds[key] += (after - before) / (job.stop - BATCH)
    opened.end()
    opened.close()
    opened.finish()
    began = time.perf_counter()
    readout.merge(spec["merge"])
    return dict(seconds, merge_s=(time.perf_counter() - began) / job.stop)


class Metered:
    """Blocks of a cluster; ``driver_s`` is the time that the driver spends on them, and not waiting."""

    def __init__(self, cluster: Any) -> None:
        self.cluster, self.driver_s, self.images = cluster, 0.0, 0

    def blocks(self, *arguments: Any) -> Any:
        before = None
        for block in self.cluster.blocks(*arguments):
            if before is not None:
                self.images += block.stop - block.start
            before = time.perf_counter()
            yield block
            self.driver_s += time.perf_counter() - before


def task_ray(spec: Dict[str, Any]) -> Dict[str, Any]:
    """Actors of one CPU each, on a cluster that has ``cpus`` of them."""
    import ray

    from fastalex.readout import ray_data

    os.environ.update(ray_data.ENVIRONMENT)
    ray.init(
        address="local", num_cpus=spec["cpus"], include_dashboard=False, log_to_driver=False, logging_level="ERROR"
    )
    began = time.time()
    with ray_data.Cluster(ray_data.LOCAL) as cluster:
        metered = Metered(cluster)
        result = timed(job_of(spec), metered.blocks)
        numbers = [process.split()[1] for process in cluster.processes]
        peaks = [timing.peak_rss_mib(f"/proc/{number}/status") for number in numbers]
    result.update(cluster_s=began - BEGAN, driver_peak_mib=timing.peak_rss_mib())
    result.update(peak_mib=max(peaks), sent=cluster.sent, received=cluster.received / spec["count"])
    ray.shutdown()
    return dict(result, driver_s=metered.driver_s / max(1, metered.images))


TASKS = {"images": task_images, "plain": task_plain, "parts": task_parts, "ray": task_ray}


def main(words: Sequence[str]) -> int:
    print(json.dumps(TASKS[words[0]](json.loads(words[1]))))
    return 0
