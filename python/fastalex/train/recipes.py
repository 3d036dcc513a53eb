"""Training recipes as data: a literal row for each published way to train a member of the family.

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
    """The random changes of a training image, after it was resized according to the variant's profile.

    :ivar crop: ``paper`` (every position except the last of each axis: 32 x 32 of a 224 crop in 256), ``inclusive``
        (every position: 33 x 33), ``resized`` (``RandomResizedCrop``) or ``center`` (as in evaluation).
    :ivar flip: mirror half of the images.
    :ivar chunk: number of consecutive images that share a crop and flip.
    :ivar color: add the principal components of the training set's RGB values (0 to 1), each multiplied by a normal
        random number and by its eigenvalue (``eigenvalues``) or the square root of it (``deviations``); or ``off``.
    :ivar color_sigma: standard deviation of these random numbers.
    :ivar color_rescale: divide the image by ``1 + color_sigma`` afterwards.
    :ivar color_end: first epoch without color noise.
    :ivar jitter: largest relative change of brightness, contrast and saturation, and largest shift of the hue as a
        fraction of the color wheel.
    :ivar mean_image: subtract the mean image of the training set, if the profile uses one.
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
    """The hyperparameters of a training run. :func:`get` returns a changed copy.

    :ivar source: where the values were published.
    :ivar batch: images per update, over all devices.
    :ivar update: ``paper`` (:class:`fastalex.train.update.PaperSGD`) or ``sgd`` (``torch.optim.SGD``).
    :ivar schedule: when the learning rate is divided by 10: ``plateau``, when the validation error has not fallen for
        ``patience`` epochs, up to ``reductions`` times; ``epochs`` or ``iterations``, at those in ``cuts``; or
        ``constant``, never.
    :ivar bias_lr: learning rate of the biases; None: that of the weights.
    :ivar bias_follows: cut the rate of the biases together with that of the weights.
    :ivar bias_decay: apply the weight decay to biases.
    :ivar layer_lr: ``(layer, epoch, rate)``, a learning rate for a layer's weights from that epoch on. A rate of 0
        applies to its biases too.
    :ivar init: ``normal`` with standard deviation ``weight_std``, or that of the layer in ``weight_stds``; ``he``
        (:func:`fastalex.weights.initial.random_weights`), for narrow networks with a profile that divides by the
        standard deviation of the pixels; ``pytorch``, the defaults of its modules.
    :ivar bias: initial bias of the layers in ``bias_layers``; that of the others is 0.
    :ivar dropout: ``halved``, as in the paper: in evaluation all units are multiplied by 0.5; ``inverted``, the usual
        one today: in training the kept units are multiplied by 2; or ``off``.
    :ivar profile: preprocessing profile in place of the variant's.
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
        if not 0 < self.lr < 1e38 or not 0 <= self.momentum < 1 or self.weight_decay < 0:
            raise UserError("lr must be above 0 and below 1e38, momentum from 0 to below 1, weight_decay at least 0")


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
    """Return the recipe of this name, or the recipe itself, with fields of it and of its augmentation replaced.

    A value of None leaves a field unchanged. A new ``lr`` also scales ``bias_lr``.

    :raises UserError: for an unknown name, field or value.
    """
    row = recipe if isinstance(recipe, Recipe) else RECIPES.get(recipe)
    if row is None:
        close = difflib.get_close_matches(str(recipe), RECIPES, 1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        raise UserError(f"there is no recipe '{recipe}'{hint} (there are: {', '.join(RECIPES)})")
    changes = {key: value for key, value in overrides.items() if value is not None}
    inner = {f.name for f in dataclasses.fields(Augmentation)}
    unknown = sorted(set(changes) - inner - {f.name for f in dataclasses.fields(Recipe)})
    if unknown:
        raise UserError(f"a recipe has no field '{unknown[0]}'")
    augmentation = dataclasses.replace(
        row.augmentation, **{key: value for key, value in changes.items() if key in inner}
    )
    outer = {key: value for key, value in changes.items() if key not in inner}
    if row.bias_lr is not None and "lr" in outer and "bias_lr" not in outer:
        outer["bias_lr"] = row.bias_lr * outer["lr"] / row.lr  # the ratio stays
    return dataclasses.replace(row, augmentation=augmentation, **outer)
