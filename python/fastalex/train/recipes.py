"""Training recipes as data: one literal row for each published way to train a member of the family.

Sources of the constants, named in the rows:

* [paper] Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep Convolutional Neural Networks",
  NIPS 2012, sections 4 and 5.
* [source] github.com/computerhistory/AlexNet-Source-Code: ``layers/layers-145.cfg``, whose first lines are the diary of
  the run, ``layers/layer-params-145.cfg``, ``convdata.py`` (``CroppedImageNetDP``), ``src/layer.cu`` (hs layer).
* [caffe] github.com/BVLC/caffe: ``models/bvlc_alexnet/solver.prototxt``, ``train_val.prototxt``;
  ``src/caffe/data_transformer.cpp``, ``src/caffe/layers/dropout_layer.cpp``.
* [torchvision] github.com/pytorch/vision: ``references/classification/train.py``, ``presets.py``, ``README.md``
  (AlexNet is trained with ``--lr 1e-2``); ``torchvision/transforms/transforms.py`` (``RandomResizedCrop``).
* [jetbot] github.com/NVIDIA-AI-IOT/jetbot: ``notebooks/collision_avoidance/train_model.ipynb``.
"""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Optional, Tuple, Union

from ..errors import UserError

UPDATES = ("paper", "sgd")
SCHEDULES = ("plateau", "epochs", "iterations", "constant")
INITS = ("normal", "he", "pytorch")
DROPOUTS = ("halved", "inverted", "off")
CROPS = ("paper", "inclusive", "resized", "center")
COLORS = ("off", "eigenvalues", "deviations")

LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
_ONES = ("conv2", "conv4", "conv5", "fc6", "fc7")  # [paper] section 5: second, fourth, fifth conv, hidden fc layers


@dataclass(frozen=True)
class Augmentation:
    """What is done to a training image after it was resized as the variant's profile says.

    ``crop``: ``paper`` (each place but the last of each axis: 32 x 32 of a 224 crop in 256), ``inclusive`` (the last
    too: 33 x 33), ``resized`` (``RandomResizedCrop``), ``center`` (as in evaluation). ``flip``: half of the images are
    mirrored. ``chunk`` consecutive images share one crop and flip.
    ``color``: principal components of the training set's RGB values are added, each times a normal number of
    standard deviation ``color_sigma`` and its eigenvalue or its standard deviation (the root), on a scale of 0 to 1;
    the image is then divided by ``1 + color_sigma`` if ``color_rescale``; it ends with epoch ``color_end``.
    ``jitter`` is the largest relative change of brightness, contrast and saturation, and the largest shift of the hue
    as a share of its circle. ``mean_image``: the mean of the training set is subtracted from each pixel, where the
    profile takes one.
    """

    crop: str = "paper"
    flip: bool = True
    chunk: int = 1
    color: str = "off"
    color_sigma: float = 0.1
    color_rescale: bool = False
    color_end: Optional[int] = None
    jitter: float = 0.0
    mean_image: bool = False


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. A changed copy comes from :func:`get`.

    ``update``: ``paper`` (:class:`fastalex.train.update.PaperSGD`) or ``sgd`` (``torch.optim.SGD``).
    ``schedule``: the learning rate is divided by 10 when the validation error stops falling for ``patience`` epochs, at
    most ``reductions`` times (``plateau``); after the epochs or iterations in ``cuts``; or never (``constant``).
    ``bias_lr`` is the biases' own learning rate; ``bias_follows`` says whether it is cut with the weights'.
    ``layer_lr`` replaces the learning rate of a layer's weights from an epoch on: ``(layer, epoch, rate)``; at rate 0
    the biases stop too. ``init``: ``normal`` with ``weight_std`` and its exceptions in ``weight_stds``; ``he``
    (:func:`fastalex.weights.initial.random_weights`), for narrow networks with a profile that divides by the pixels'
    deviation; ``pytorch`` (its modules' own).
    ``bias_layers`` start at ``bias``, the others at 0. ``dropout``: ``halved`` is the paper's: kept units as they are
    in training, all units times 0.5 in evaluation; ``inverted`` is today's: kept units times 2 in training.
    ``profile`` replaces the variant's preprocessing. ``batch`` is that of one update, over all devices.
    """

    name: str
    source: str
    variant: str
    lr: float
    batch: int = 128
    epochs: int = 90
    iterations: Optional[int] = None
    momentum: float = 0.9
    weight_decay: float = 5e-4
    update: str = "paper"
    schedule: str = "epochs"
    cuts: Tuple[int, ...] = ()
    reductions: int = 0
    patience: int = 3
    bias_lr: Optional[float] = None
    bias_follows: bool = True
    bias_decay: bool = True
    layer_lr: Tuple[Tuple[str, int, float], ...] = ()
    init: str = "normal"
    weight_std: float = 0.01
    weight_stds: Mapping[str, float] = field(default_factory=dict)
    bias: float = 1.0
    bias_layers: Tuple[str, ...] = _ONES
    dropout: str = "halved"
    profile: Optional[str] = None
    augmentation: Augmentation = Augmentation()

    def __post_init__(self) -> None:
        for name, allowed in (("update", UPDATES), ("schedule", SCHEDULES), ("init", INITS), ("dropout", DROPOUTS)):
            _one_of(name, getattr(self, name), allowed)
        _one_of("crop", self.augmentation.crop, CROPS)
        _one_of("color", self.augmentation.color, COLORS)
        if not self.lr > 0 or not 0 <= self.momentum < 1 or self.weight_decay < 0:
            raise UserError("lr must be above 0, momentum from 0 to below 1, and weight_decay not below 0")


def _one_of(name: str, value: Any, allowed: Tuple[str, ...]) -> None:
    if value not in allowed:
        raise UserError(f"{name} must be one of {', '.join(allowed)}, not '{value}'")


RECIPES: Dict[str, Recipe] = {
    row.name: row
    for row in (
        Recipe(
            name="paper",
            source="[paper] sections 4.1, 4.2 and 5; it states no patience for 'stopped improving'",
            variant="alexnet2012",
            lr=0.01,
            schedule="plateau",
            reductions=3,
            augmentation=Augmentation(crop="paper", color="eigenvalues", mean_image=True),
        ),
        Recipe(
            name="original",
            source="[source] configuration 145 and its diary: epochs 25, 51, 79 of 91; conv1 at 67 and 72; noise to 67",
            variant="alexnet2012-original",
            lr=0.01,
            epochs=91,
            schedule="epochs",
            cuts=(25, 51, 79),
            bias_lr=0.02,
            bias_follows=False,
            bias_decay=False,
            layer_lr=(("conv1", 67, 1e-5), ("conv1", 72, 0.0)),
            weight_stds={"conv3": 0.03, "conv4": 0.03, "conv5": 0.03},
            augmentation=Augmentation(
                crop="inclusive", chunk=32, color="deviations", color_rescale=True, color_end=67, mean_image=True
            ),
        ),
        Recipe(
            name="caffe",
            source="[caffe] solver.prototxt and train_val.prototxt: lr_mult 2 and decay_mult 0 of biases; batch 256",
            variant="bvlc_alexnet",
            lr=0.01,
            batch=256,
            epochs=90,  # 450000 iterations of 256 of 1.28 million images
            iterations=450_000,
            schedule="iterations",
            cuts=(100_000, 200_000, 300_000, 400_000),
            bias_lr=0.02,
            bias_decay=False,
            weight_stds={"fc6": 0.005, "fc7": 0.005},
            bias=0.1,
            dropout="inverted",
            augmentation=Augmentation(crop="inclusive", mean_image=True),
        ),
        Recipe(
            name="torchvision",
            source="[torchvision] train.py --lr 1e-2 on 8 GPUs: 8 x 32 images, a tenth every 30 of 90 epochs",
            variant="torchvision",
            lr=0.01,
            batch=256,
            weight_decay=1e-4,
            update="sgd",
            cuts=(30, 60),
            init="pytorch",
            dropout="inverted",
            augmentation=Augmentation(crop="resized"),
        ),
        Recipe(
            name="jetbot",
            source="[jetbot] ColorJitter(0.1, 0.1, 0.1, 0.1), Resize((224, 224)), batch 8, SGD 0.001, 30 epochs",
            variant="torchvision",
            lr=0.001,
            batch=8,
            epochs=30,
            weight_decay=0.0,
            update="sgd",
            schedule="constant",
            init="pytorch",
            dropout="inverted",
            profile="jetbot",
            augmentation=Augmentation(crop="center", flip=False, jitter=0.1),
        ),
    )
}
DEFAULT, FINETUNE = "paper", "jetbot"


def get(recipe: Union[str, Recipe], **overrides: Any) -> Recipe:
    """The row called ``recipe`` (or the row itself) with fields replaced, those of its augmentation too; ``None``
    leaves a field as it is.

    :raises UserError: for an unknown name, field or value.
    """
    row = recipe if isinstance(recipe, Recipe) else RECIPES.get(recipe)
    if row is None:
        close = difflib.get_close_matches(str(recipe), RECIPES, 1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        raise UserError(f"there is no recipe '{recipe}'{hint} (there are: {', '.join(RECIPES)})")
    given = {key: value for key, value in overrides.items() if value is not None}
    inner = {f.name for f in dataclasses.fields(Augmentation)}
    unknown = sorted(set(given) - inner - {f.name for f in dataclasses.fields(Recipe)})
    if unknown:
        raise UserError(f"a recipe has no field '{unknown[0]}'")
    changed = dataclasses.replace(row.augmentation, **{key: value for key, value in given.items() if key in inner})
    outer = {key: value for key, value in given.items() if key not in inner}
    if row.bias_lr is not None and "lr" in outer and "bias_lr" not in outer:
        outer["bias_lr"] = row.bias_lr * outer["lr"] / row.lr  # the multiple stays
    return dataclasses.replace(row, augmentation=changed, **outer)
