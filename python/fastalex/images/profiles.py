"""Preprocessing profiles as data: a literal row for each convention in use for AlexNet.

A profile describes how an image becomes the network's input: the resizing, the crop, the order of the channels and the
arithmetic ``(pixel / divisor - mean) / std``. :mod:`fastalex.images.preprocessing` applies the rows.

Sources of the constants, named in the rows:

* [paper] Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep Convolutional Neural Networks",
  NIPS 2012, sections 2 and 4.1.
* [source] github.com/computerhistory/AlexNet-Source-Code: ``convdata.py`` (``CroppedImageNetDP``).
* [cuda-convnet2] github.com/akrizhevsky/cuda-convnet2: ``make-data/pyext/src/pyext.cpp`` (``makeJPEG``).
* [caffe] github.com/BVLC/caffe: ``src/caffe/data_transformer.cpp``, ``models/bvlc_alexnet/train_val.prototxt``.
* [caffe-cpp] github.com/BVLC/caffe: ``examples/cpp_classification/classification.cpp``.
* [torchvision] github.com/pytorch/vision: ``torchvision/transforms/functional.py`` (``resize``, ``center_crop``) and
  the evaluation preset of ``AlexNet_Weights``.
* [jetson-inference] github.com/dusty-nv/jetson-inference: ``c/imageNet.cpp`` (``preProcess``),
  ``c/tensorConvert.cu`` (``gpuTensorMean``, ``gpuTensorNormMean``).
* [jetbot] github.com/NVIDIA-AI-IOT/jetbot: ``notebooks/collision_avoidance/live_demo.ipynb``,
  ``notebooks/object_following/live_demo.ipynb``.
* [brainscore] github.com/brain-score/vision: ``brainscore_vision/models/alexnet/model.py``,
  ``brainscore_vision/model_helpers/activations/pytorch.py`` (``load_image``, ``torchvision_preprocess_input``).
* [thingsvision] github.com/ViCCo-Group/thingsvision: ``thingsvision/core/extraction/torch.py``
  (``get_default_transformation``), ``thingsvision/utils/data/dataset.py`` (``ImageDataset.__getitem__``).
* [net2brain] github.com/cvai-roig-lab/Net2Brain: ``net2brain/architectures/netsetbase.py`` (``image_preprocessing``,
  ``load_image_data``).
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import Dict, Optional, Tuple, Union

from ..errors import UserError

Triple = Tuple[float, float, float]

CHANNELS = (1, 3)  # of the networks that images can be prepared for

# Channel means of ILSVRC 2012's training images, 0 to 255, in the order blue, green, red, from [jetson-inference]
# c/imageNet.cpp: the channel averages of Caffe's imagenet_mean.binaryproto.
CAFFE_MEAN_BGR: Triple = (104.0069879317889, 116.66876761696767, 122.6789143406786)
CAFFE_MEAN_RGB: Triple = (CAFFE_MEAN_BGR[2], CAFFE_MEAN_BGR[1], CAFFE_MEAN_BGR[0])

# Means and standard deviations of red, green, blue on a 0 to 1 scale, which [torchvision], [jetbot] and others use.
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)

RESIZES = ("shorter", "stretch")
RESAMPLINGS = ("antialias", "linear", "nearest")
CENTERS = ("half-even", "floor")
ORDERS = ("RGB", "BGR")
MEAN_IMAGES = (None, "crop", "center", "average")


@dataclass(frozen=True)
class Profile:
    """A preprocessing convention; :func:`dataclasses.replace` makes a changed copy.

    * ``source``: where the convention comes from.
    * ``size``: side of the square that the network sees, in pixels.
    * ``resize``: ``shorter`` (the shorter side becomes ``side``, the aspect ratio stays) or ``stretch`` (both sides
      become ``side``). The result is rounded to 8 bits, as in all sources.
    * ``resample``: ``antialias`` (Pillow's bilinear filter, which widens when shrinking), ``linear`` (2 x 2 pixels at
      any scale, OpenCV's INTER_LINEAR) or ``nearest`` (pixel ``int(x * scale)``).
    * ``square``: cut the central ``side`` x ``side`` square before taking crops from it. The longer side is then
      rounded to nearest ([cuda-convnet2]), otherwise truncated ([torchvision]).
    * ``center``: rounding of the start of the central crop, ``half-even`` (Python's ``round``, [torchvision]) or
      ``floor`` ([caffe], [cuda-convnet2]).
    * ``order``: order of the planes, ``RGB`` or ``BGR``; ``mean`` and ``std`` are in this order.
    * ``reciprocal``: multiply by the float32 ``1 / divisor``, as some CUDA sources do, instead of dividing.
    * ``mean_image``: use of a caller's mean image: ``crop`` (the part under each crop), ``center`` (the central part,
      for every crop), ``average`` (its channel means), or None (not accepted).
    * ``upright``: turn an image as its EXIF orientation says; False: leave the pixels as they are stored.

    A network of one channel sees gray values, 0 to 255: Pillow's ``convert("L")`` of the RGB image, the luma of
    ITU-R 601, ``(299 R + 587 G + 114 B) / 1000``. They are resized and cropped as the profile says, and normalized with
    the averages of its three means and of its three standard deviations (:meth:`mean_and_std`).

    :raises UserError: for a value that is not allowed.
    """

    name: str
    source: str
    size: int
    resize: str
    side: int
    resample: str
    order: str
    mean: Triple
    std: Triple = (1.0, 1.0, 1.0)
    divisor: float = 1.0
    reciprocal: bool = False
    square: bool = False
    center: str = "floor"
    mean_image: Optional[str] = None
    upright: bool = True

    def __post_init__(self) -> None:
        _one_of(self, "resize", RESIZES)
        _one_of(self, "resample", RESAMPLINGS)
        _one_of(self, "center", CENTERS)
        _one_of(self, "order", ORDERS)
        _one_of(self, "mean_image", MEAN_IMAGES)
        if not 1 <= self.size <= self.side:
            raise UserError(
                f"profile {self.name} cannot cut {self.size} pixels out of {self.side}; size must be from 1 to side"
            )
        if 0 in self.std or self.divisor == 0:
            raise UserError(f"std and divisor of profile {self.name} must not be 0")

    def mean_and_std(self, channels: int) -> Tuple[Tuple[float, ...], Tuple[float, ...]]:
        """Return ``mean`` and ``std`` for each of ``channels`` planes; those of a gray plane are averages of the three.

        :raises UserError: for another number of planes than 1 or 3.
        """
        if channels not in CHANNELS:
            raise UserError(
                f"images have 1 or 3 channels, and this network takes {channels}: "
                f"pass it float32 [N, {channels}, H, W] that you prepared yourself"
            )
        if channels == 3:
            return self.mean, self.std
        return (sum(self.mean) / 3,), (sum(self.std) / 3,)

    @property
    def crops(self) -> bool:
        """Whether the input is cut out of a larger image, so that its ten crops differ."""
        return self.side > self.size or self.resize == "shorter"

    def side_for(self, size: int) -> int:
        """Scale ``side`` in proportion for an input of another ``size``, rounded to nearest, in pixels."""
        return (2 * self.side * size + self.size) // (2 * self.size)


def _one_of(row: Profile, field: str, allowed: Tuple[Optional[str], ...]) -> None:
    if getattr(row, field) not in allowed:
        choices = ", ".join(str(value) for value in allowed)
        raise UserError(f"{field} of profile {row.name} must be one of {choices}, not '{getattr(row, field)}'")


_TORCHVISION = Profile(
    name="torchvision",
    source="[torchvision] Resize(256), CenterCrop(224), ToTensor, Normalize on a PIL image",
    size=224,
    resize="shorter",
    side=256,
    resample="antialias",
    order="RGB",
    divisor=255.0,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    center="half-even",
)

PROFILES: Dict[str, Profile] = {
    row.name: row
    for row in (
        _TORCHVISION,
        Profile(
            name="caffe",
            source="[caffe] test phase: images stored as 256 x 256 by cv::resize, crop 227 at (256 - 227) / 2 = 14",
            size=227,
            resize="stretch",
            side=256,
            resample="linear",
            order="BGR",
            mean=CAFFE_MEAN_BGR,
            mean_image="crop",  # the data layer subtracts the mean of the same place
        ),
        Profile(
            name="caffe-cpp",
            source="[caffe-cpp] cv::resize straight to the input size, channel averages of the mean image",
            size=227,
            resize="stretch",
            side=227,
            resample="linear",
            order="BGR",
            mean=CAFFE_MEAN_BGR,
            mean_image="average",  # SetMean
        ),
        Profile(
            name="jetson-inference",
            source="[jetson-inference] Caffe models: cudaTensorMeanBGR",
            size=227,
            resize="stretch",
            side=227,
            resample="nearest",
            order="BGR",
            mean=CAFFE_MEAN_BGR,
        ),
        Profile(
            name="jetson-inference-onnx",
            source="[jetson-inference] ONNX models: cudaTensorNormMeanRGB, range 0 to 1",
            size=224,
            resize="stretch",
            side=224,
            resample="nearest",
            order="RGB",
            divisor=255.0,
            reciprocal=True,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        ),
        Profile(
            # The camera delivers 224 x 224, which is not resampled; cv2.resize resizes other frames.
            name="jetbot",
            source="[jetbot] preprocess(): Normalize(255 * mean, 255 * std) of the frame, turned from BGR to RGB",
            size=224,
            resize="stretch",
            side=224,
            resample="linear",
            order="RGB",
            mean=(255.0 * 0.485, 255.0 * 0.456, 255.0 * 0.406),
            std=(255.0 * 0.229, 255.0 * 0.224, 255.0 * 0.225),
        ),
        # [paper] section 2 names no resampling filter. Its successor [cuda-convnet2] averages areas when shrinking;
        # Pillow's antialiasing filter is the closest to that. The mean image of the 2012 training set was not published
        # with the source: without one from the caller, the channel means of Caffe's are subtracted.
        Profile(
            name="paper-227",
            source="[paper] sections 2 and 4.1, [source]; 227 is the effective input of the paper's 55 x 55 maps",
            size=227,
            resize="shorter",
            side=256,
            square=True,
            resample="antialias",
            order="RGB",
            mean=CAFFE_MEAN_RGB,
            mean_image="center",  # data_mean_crop is subtracted from every view
        ),
        Profile(
            name="paper-224",
            source="[paper] sections 2 and 4.1, [source] with its border of 16 pixels",
            size=224,
            resize="shorter",
            side=256,
            square=True,
            resample="antialias",
            order="RGB",
            mean=CAFFE_MEAN_RGB,
            mean_image="center",
        ),
        replace(
            _TORCHVISION,
            name="brainscore",
            source="[brainscore] Resize((224, 224)), ToTensor, Normalize on what Image.open reads",
            resize="stretch",
            side=224,
            center="floor",
            upright=False,
        ),
        replace(
            _TORCHVISION,
            name="thingsvision",
            source="[thingsvision] Resize(256), CenterCrop(224), ToTensor, Normalize on what Image.open reads",
            upright=False,
        ),
        replace(
            _TORCHVISION,
            name="net2brain",
            source="[net2brain] Resize((256, 256)), CenterCrop(224), ToTensor, Normalize on what Image.open reads",
            resize="stretch",
            upright=False,
        ),
        Profile(
            name="digits",
            source="examples/train_digits.py: gray levels spread over -1 to 1",
            size=131,
            resize="stretch",
            side=131,
            resample="antialias",
            order="RGB",
            divisor=255.0,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        ),
    )
}


def get(profile: Union[str, Profile]) -> Profile:
    """Return the profile called ``profile``; a :class:`Profile` is returned unchanged.

    :raises UserError: for a name that is not in :data:`PROFILES`.
    """
    if isinstance(profile, Profile):
        return profile
    if isinstance(profile, str) and profile in PROFILES:
        return PROFILES[profile]
    word = str(profile)[:100]
    close = difflib.get_close_matches(word, PROFILES, 1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    raise UserError(f"there is no preprocessing profile '{word}'{hint} (there are: {', '.join(PROFILES)})")
