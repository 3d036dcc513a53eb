"""A model of a read-out by many workers, of one CPU each, from the parts that one measured.

The rate is that of all workers together, or the lowest of the limits that they share; what sets it is the bottleneck.
The model knows no contention: no caches or memory bandwidth that the workers of a machine share, no slow store, no lost
worker.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Tuple

WORKERS = (10, 100, 1000)
IMAGES = 1281167  # of ImageNet's training set (ILSVRC 2012)
LINK = 1.25e9  # bytes a second that a store, or a node, takes or gives: 10 Gbit/s; an assumption
COMPUTE, IMAGE_LINK, RESULT_LINK = "the workers", "the link that images come from", "the link that results go to"
DRIVER, DRIVER_LINK = "the driver's process", "the driver's link"


def limits(network: Mapping[str, Any], workers: int, ray: bool) -> Dict[str, float]:
    """What bounds the rate, images a second."""
    rows = [row for row in network["rows"] if bool(row.get("ray")) == ray]
    one = next(row for row in rows if row["workers"] == 1)
    found = {COMPUTE: workers * one["images_per_s"], IMAGE_LINK: LINK / network["image_bytes"]}
    if not ray:
        return {**found, RESULT_LINK: LINK / network["row_bytes"]}
    largest = max((row for row in rows), key=lambda row: row["workers"])
    return {**found, DRIVER: 1 / largest["driver_s"], DRIVER_LINK: LINK / largest["received"]}


def predicted(network: Mapping[str, Any], ray: bool) -> List[Tuple[int, float, str, float]]:
    """(workers, images a second, bottleneck, hours for ImageNet) for each number of workers.

    The hours of shards include the merge, which one process does in the end.
    """
    rows = []
    for workers in WORKERS:
        found = limits(network, workers, ray)
        name = min(found, key=lambda key: found[key])
        merge = 0.0 if ray else network["parts"]["merge_s"]
        rows.append((workers, found[name], name, IMAGES * (1 / found[name] + merge) / 3600))
    return rows


def has_ray(network: Mapping[str, Any]) -> bool:
    return any(row.get("ray") for row in network["rows"])
