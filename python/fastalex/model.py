"""The public network object."""

from __future__ import annotations

import json
import os
import sys
import warnings
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from . import _core, images, taps, variants
from . import weights as weights_files
from .errors import BackendError, UserError
from .layers import FC_STORAGES, layer_table
from .variants import Variant
from .weights import adapt, initial

PRECISIONS = ("fp32",)  # of the activations and of the convolutions
AUTO_ORDER = ("tensorrt", "cuda", "cpu")
DEFAULT_VARIANT = "alexnet2012"
MAX_THREADS = 1024
DLPACK_CPU = 1  # kDLCPU, dlpack.h


class Prediction(NamedTuple):
    """One answer of :meth:`AlexNet.classify`: class name, probability in [0, 1], class index."""

    label: str
    probability: float
    index: int


class AlexNet:
    """A member of the AlexNet family, ready to run; always in evaluation mode (dropout is the identity).

    :param variant: a name of :data:`fastalex.variants.VARIANTS` or a :class:`~fastalex.variants.Variant`. Default: the
        variant that the weights file names, else ``alexnet2012``.
    :param num_classes: width of the last layer; default: the weights' or the variant's own.
    :param weights: path of a file that :func:`fastalex.weights.load` reads (``.safetensors``, ``.npz``, ``.pth``,
        ``.caffemodel``, ``.onnx``); the name of bundled weights (``"digits"``); a mapping
        of parameter name to array; ``"random"`` or ``None`` for seeded He initialisation.
    :param device: ``"cpu"``, ``"cuda"``, ``"tensorrt"``, ``"naive"`` (the slow definition of every op), or ``"auto"``,
        which takes the first that works and says in :attr:`device` which it was.
    :param precision: of activations and convolutions; ``"fp32"``.
    :param fc_weights: how the weights of the fully connected layers, 96 % of all, are kept: ``"fp32"``, ``"fp16"``, or
        ``"int8"`` (symmetric, one scale for each output).
    :param threads: CPU threads one call may use; default: as many as this process may run on.
    :param overrides: any field of :class:`~fastalex.variants.Variant` (``widths=``, ``activation=``, ...), and
        ``lrn_alpha_divided=``.

    One net may be used from several threads at once, and after ``os.fork``. The same input gives the same bits for
    any number of threads. NaN and infinities in the input propagate as in PyTorch; they raise nothing.

    :raises UserError: for an argument that does not work, with one sentence that says what to do.
    :raises BackendError: if the device asked for cannot be used here, with the reason.
    """

    def __init__(
        self,
        variant: Union[str, Variant, None] = None,
        num_classes: Optional[int] = None,
        weights: Union[str, os.PathLike, Mapping[str, Any], None] = None,
        device: str = "auto",
        precision: str = "fp32",
        fc_weights: str = "fp32",
        threads: Optional[int] = None,
        **overrides: Any,
    ) -> None:
        _one_of("precision", precision, PRECISIONS)
        _one_of("fc_weights", fc_weights, FC_STORAGES)
        self.device = choose_device(device)
        self.precision = precision
        self.fc_weights = fc_weights
        self.threads = _thread_count(threads)
        loaded = _load(weights)
        if num_classes is None and isinstance(variant, str) and loaded:
            num_classes = adapt.class_count(loaded)
        base = variant or (_variant_of(loaded) if loaded else DEFAULT_VARIANT)
        self.variant = variants.get(base, num_classes=num_classes, **overrides)
        self.labels = _labels(loaded, self.variant)
        self.trained = loaded is not None
        arrays = adapt.fit(loaded, self.variant) if loaded else initial.random_weights(self.variant)
        size = self.variant.input_size
        self._net = _core.Net(
            layer_table(self.variant.layers()),
            [self.variant.channels, size, size],
            initial.check(self.variant, arrays),
            self.device,
            FC_STORAGES.index(fc_weights),
            self.threads,
        )

    @classmethod
    def from_pretrained(cls, name: Union[str, os.PathLike], **options: Any) -> AlexNet:
        """A network with trained weights: ``"digits"``, a name of :data:`fastalex.weights.registry.FILES`
        (``"torchvision"``, ``"bvlc_alexnet"``, ``"caffenet"``, ...), or the path of a file.

        A registered file is downloaded once, to :func:`fastalex.weights.registry.folder`, and used only if its hash
        is the registered one.

        :param options: what :class:`AlexNet` takes, but ``weights``.
        :raises UserError: if there is no such name or file, or it cannot be downloaded.
        """
        from .weights import registry

        return cls(weights=registry.locate(name), **options)

    def __call__(self, x: Any) -> Any:
        """Logits of a preprocessed batch.

        :param x: float32 ``[N, C, H, W]``: a numpy array (any strides), or any object with ``__dlpack__`` on the CPU
            (a torch tensor, ...), which is read without a copy when it is contiguous.
        :returns: float32 ``[N, num_classes]`` (``[N, C, H, W]`` if the network ends in a map), of the library that
            ``x`` came from.
        :raises UserError: for a wrong type, dtype, shape or size.
        """
        return self._run(x, softmax=False)

    def predict_proba(self, x: Any) -> Any:
        """Class probabilities ``[N, num_classes]``, float32.

        :param x: what :meth:`__call__` takes, or what :meth:`classify` takes (preprocessed with the variant's profile).
        """
        if _is_batch(x):
            return self._run(x, softmax=True)
        return self._run(self.preprocess(x), softmax=True)

    def taps(self, x: Any, names: Sequence[str]) -> Dict[str, Any]:
        """Results of layers by name (:mod:`fastalex.taps` lists the names and what they mean).

        The network runs as far as the last of them, and activations are computed apart only where a name asks for
        the value before them.

        :param x: what :meth:`__call__` takes, or an image or list of images.
        :returns: name -> float32 ``[N, C, H, W]`` or ``[N, features]``, of the library that ``x`` came from.
        :raises UserError: for a name that the network does not have, or a wrong input.
        """
        if isinstance(names, str) or not names:
            raise UserError("names must be a list of one or more layer names, not %r" % (names,))
        layers = taps.resolve(self.variant, list(names))
        array, convert_back = _as_numpy(x if _is_batch(x) else self.preprocess(x))
        _check_layout(array, self.variant)  # a size that does not reach the end may reach the last tap
        distinct = list(dict.fromkeys(layers))
        results = self._net.taps(np.ascontiguousarray(array), distinct, taps.SOFTMAX in distinct)
        found = dict(zip(distinct, results))
        return {name: convert_back(taps.shaped(name, found[layer])) for name, layer in zip(names, layers)}

    def classify(self, image: Any, topk: int = 5) -> Union[List[Prediction], List[List[Prediction]]]:
        """The ``topk`` most probable classes of an image, best first; a list of such lists for a list of images.

        :param image: a path, a PIL image, encoded bytes, an RGB uint8 array ``[H, W, 3]``, or a list of these.
        """
        if isinstance(topk, bool) or not isinstance(topk, int) or topk < 1:
            raise UserError("topk must be a whole number above 0, not %r" % (topk,))
        if not self.trained:
            warnings.warn("the weights are random, so the answer means nothing; pass weights=", stacklevel=2)
        probabilities = self.predict_proba(image)
        ranked = [self.rank(row, topk) for row in probabilities]
        return ranked if isinstance(image, (list, tuple)) else ranked[0]

    def preprocess(self, image: Any) -> np.ndarray:
        """Image or list of images -> float32 ``[N, 3, S, S]``, with the variant's profile and input size."""
        batch = list(image) if isinstance(image, (list, tuple)) else [image]
        return images.preprocess(batch, self.variant.profile, size=self.variant.input_size)

    def state_dict(self) -> Dict[str, np.ndarray]:
        """Parameter name -> new float32 array, dequantised where the weights are kept in fewer bits."""
        shapes = self.variant.parameter_shapes()
        return {name: self._net.param(i).reshape(shape) for i, (name, shape) in enumerate(shapes.items())}

    def save(self, path: Union[str, os.PathLike]) -> None:
        """Writes the parameters, the variant and the labels to a ``.safetensors`` or ``.npz`` file."""
        metadata = {weights_files.VARIANT_KEY: json.dumps(self.variant.to_dict())}
        if self.labels:
            metadata[weights_files.LABELS_KEY] = json.dumps(self.labels)
        weights_files.save(path, self.state_dict(), metadata)

    @property
    def param_bytes(self) -> int:
        """Bytes of memory that the packed parameters take."""
        return self._net.param_bytes

    def __repr__(self) -> str:
        return "AlexNet(%r, num_classes=%d, device=%r, fc_weights=%r, threads=%d)" % (
            self.variant.name,
            self.variant.num_classes,
            self.device,
            self.fc_weights,
            self.threads,
        )

    def _run(self, x: Any, softmax: bool) -> Any:
        array, convert_back = _as_numpy(x)
        _check_batch(array, self.variant)
        return convert_back(self._net.run(np.ascontiguousarray(array), softmax))

    def rank(self, probabilities: np.ndarray, topk: int) -> List[Prediction]:
        """The ``topk`` most probable classes of one row of :meth:`predict_proba`, best first."""
        order = np.argsort(-probabilities, kind="stable")[:topk]
        names = self.labels or [str(i) for i in range(len(probabilities))]
        return [Prediction(names[i], float(probabilities[i]), int(i)) for i in order]


def _load(given: Union[str, os.PathLike, Mapping[str, Any], None]) -> Optional[weights_files.Weights]:
    """The weights that ``given`` means; None for random ones."""
    if given is None or (isinstance(given, str) and given == "random"):
        return None
    if isinstance(given, Mapping):
        return weights_files.Weights(dict(given))
    if not isinstance(given, (str, os.PathLike)):
        raise UserError("weights must be a path, a name or a mapping of arrays, not %s" % type(given).__name__)
    return weights_files.load_named(given)


def _variant_of(loaded: weights_files.Weights) -> Union[str, Variant]:
    """The network that the weights are for; where shapes leave a choice, the assumption is stated."""
    if not loaded.arrays:
        return DEFAULT_VARIANT
    found = adapt.find(loaded)
    if found.others:
        warnings.warn("variant %s: %s" % (found.variant.name, found.note), stacklevel=3)
    return found.variant


def _labels(loaded: Optional[weights_files.Weights], variant: Variant) -> Optional[List[str]]:
    """The names of the classes: the file's own, ImageNet's for a network of its size, else None."""
    names = loaded.labels() if loaded else None
    if names is None and variant.num_classes == 1000:
        names = images.imagenet_labels()
    return names if names is not None and len(names) == variant.num_classes else None


def choose_device(device: str) -> str:
    """The backend that ``device`` means on this machine.

    :raises BackendError: if it was asked for by name and cannot be used here.
    """
    status = {entry["name"]: entry for entry in _core.backends()}
    if device == "auto":
        for name in AUTO_ORDER:
            if status[name]["available"]:
                return name
        raise BackendError("no backend works here: " + status["cpu"]["reason"])
    _one_of("device", device, ["auto", *status])
    if not status[device]["available"]:
        raise BackendError("device='%s' cannot be used: %s" % (device, status[device]["reason"]))
    return device


def _one_of(name: str, value: Any, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise UserError("%s must be one of %s, not %r" % (name, ", ".join(allowed), value))


def _thread_count(threads: Optional[int]) -> int:
    if threads is None:
        return len(os.sched_getaffinity(0))
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= MAX_THREADS:
        raise UserError("threads must be a whole number from 1 to %d, not %r" % (MAX_THREADS, threads))
    return threads


def _is_batch(x: Any) -> bool:
    """Whether ``x`` is a preprocessed batch rather than an image: four axes, or anything that speaks DLPack alone."""
    if isinstance(x, np.ndarray):
        return x.ndim == 4
    return hasattr(x, "__dlpack__")


def _as_numpy(x: Any) -> Tuple[np.ndarray, Any]:
    """``x`` as numpy, without a copy, and the function that turns a result into the library of ``x``."""
    if isinstance(x, np.ndarray):
        return x, lambda result: result
    if not hasattr(x, "__dlpack__"):
        raise UserError("the input must be a numpy array or speak DLPack, not %s" % type(x).__name__)
    if getattr(x, "requires_grad", False):
        raise UserError("the input requires grad; pass x.detach()")
    try:
        if int(x.__dlpack_device__()[0]) != DLPACK_CPU:
            raise UserError("the input is not in CPU memory; move it there, or use a net of that device")
        return np.from_dlpack(x), _converter(type(x))
    except UserError:
        raise
    except (AttributeError, BufferError, RuntimeError, TypeError, ValueError) as error:
        raise UserError("the input cannot be read through DLPack: %s" % error) from None


def _converter(kind: type) -> Any:
    """``from_dlpack`` of the library that defines ``kind``; numpy where it has none."""
    module = sys.modules.get(kind.__module__.split(".")[0])
    return getattr(module, "from_dlpack", lambda result: result)


def _check_batch(x: np.ndarray, variant: Variant) -> None:
    _check_layout(x, variant)
    if x.shape[2:] != (variant.input_size, variant.input_size):
        variant.layers((int(x.shape[2]), int(x.shape[3])))  # raises with the reason where the size does not work


def _check_layout(x: np.ndarray, variant: Variant) -> None:
    channels = variant.channels
    if x.dtype != np.float32:
        raise UserError("the input must be float32, not %s; convert it with x.astype('float32')" % x.dtype)
    if x.ndim == 3:
        raise UserError("the input must be [N, %d, H, W]; got %s: add the batch axis, x[None]" % (channels, x.shape))
    if x.ndim != 4:
        raise UserError("the input must be [N, %d, H, W]; got %s" % (channels, x.shape))
    if x.shape[0] == 0:
        raise UserError("the batch is empty; give at least one image")
    if x.shape[1] != channels:
        if x.shape[3] == channels:
            raise UserError(
                "the input %s looks like [N, H, W, C]; this network takes [N, C, H, W]: x.transpose(0, 3, 1, 2)"
                % (x.shape,)
            )
        raise UserError("the input must have %d channels, it has %d: %s" % (channels, x.shape[1], x.shape))
