"""The images of the experiments: Fashion-MNIST, scikit-learn's digits, or CIFAR-10."""

from __future__ import annotations

from pathlib import Path
from typing import List, Optional, Sequence

from benchmarks.experiments.plan import Plan
from fastalex import UserError
from fastalex.train import data
from fastalex.train.data import Images

#: Debian's package dataset-fashion-mnist
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


def sets(plan: Plan, folder: Optional[Path]) -> Sequence[Images]:
    """``[training, held out]`` of ``plan``, from ``folder`` or the usual place.

    :raises UserError: if they are not there, or fewer than the plan says.
    """
    both = _all(plan.data, folder)
    for images, count in zip(both, (plan.training, plan.held_out)):
        if len(images.samples) < count:
            raise UserError(f"the plan {plan.name} needs {count} images of a set that has {len(images.samples)}")
    counts = (plan.training, plan.held_out)
    return [Images(images.samples[: count or None], images.classes) for images, count in zip(both, counts)]


def _all(name: str, folder: Optional[Path]) -> List[Images]:
    if name == "fashion-mnist":
        place = folder or FASHION_MNIST
        if not place.is_dir():
            raise UserError(f"there is no {place}: apt install dataset-fashion-mnist, or say --data DIR")
        return list(data.train_and_validation(str(place), None, 0.1, 0))
    if name == "digits":
        from benchmarks.experiments import digits_data

        return digits_data.sets()
    if name == "cifar10" and folder:
        from benchmarks.experiments import cifar_data

        return cifar_data.sets(folder)
    raise UserError(f"say --data DIR for the images of {name}" if name == "cifar10" else f"there are no data '{name}'")
