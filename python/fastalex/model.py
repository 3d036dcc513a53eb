"""The public network object."""

from __future__ import annotations

import os
import warnings
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple, Union

import numpy as np

from ._util import arguments
from .errors import UserError
from .images import profiles
from .network import Network
from .networks import taps
from .runtime import arrays, execution
from .runtime.device_array import DeviceArray
from .runtime.device_spec import choose_device

__all__ = ["AlexNet", "DeviceArray", "Prediction", "choose_device"]


class Prediction(NamedTuple):
    """One answer of :meth:`AlexNet.classify`: class name, probability in [0, 1], class index."""

    label: str
    probability: float
    index: int


class AlexNet(Network):
    """A member of the AlexNet family, ready to run; always in evaluation mode (dropout is the identity).

    :param variant: a name of :data:`fastalex.VARIANTS` or a :class:`~fastalex.Variant`. Default: the
        variant that the weights file names, else ``alexnet2012``.
    :param num_classes: width of the last layer; default: the weights' or the variant's own.
    :param weights: path of a file that :func:`fastalex.weights.load` reads (``.safetensors``, ``.npz``, ``.pth``,
        ``.caffemodel``, ``.onnx``); the name of bundled weights (``"digits"``); a mapping
        of parameter name to array; ``"random"`` or ``None`` for seeded He initialization.
    :param device: ``"cpu"``, ``"cuda"`` or ``"cuda:1"`` (a GPU by its index), ``"tensorrt"``, ``"naive"`` (the slow
        definition of every op), or ``"auto"``, which takes the first of cuda, tensorrt and cpu that works and says in
        :attr:`device` which it was.
    :param precision: of activations and convolutions: ``"fp32"``; ``"bf16"`` or ``"int8"`` on a CPU, ``"fp16"`` on a
        GPU. Inputs and results are float32 in any case. int8 needs a calibration.
    :param fc_weights: how the weights of the fully connected layers, 96 % of all, are kept: ``"fp32"``, ``"fp16"``,
        ``"bf16"`` (on a CPU), ``"int8"`` (symmetric, one scale for each output) or ``"int4"`` (symmetric, one scale for
        each 128 weights of an output). Default: as the file has them, else like ``precision``.
        :data:`fastalex.runtime.precisions.SUPPORTED` has the combinations.
    :param threads: CPU threads one call may use; default: as many as this process may run on.
    :param exact: on a CPU, convolutions sum their products directly, never by Winograd's algorithm, which is quicker
        and rounds more.
    :param calibration: for ``precision="int8"``, what :func:`fastalex.quantize.calibrate` gave, or a mapping of the
        name of each conv and fc layer to the step of its input. Default: the one in the weights file.
    :param engine: on TensorRT, ``"plugins"`` (the default): fastalex's plugins wherever the device file says that they
        win or TensorRT has no layer; ``"native"``: TensorRT's own layers alone. An engine is built when a batch first
        needs it, which can take minutes, and kept in :func:`fastalex.tuning.rules.engine_folder`.
    :param check: hold a network that is read from a file's graph (ONNX) against the graph itself, which takes a second
        at the most; False: trust the reader.
    :param overrides: any field of :class:`~fastalex.Variant` (``widths=``, ``activation=``, ...), and
        ``lrn_alpha_divided=``.

    One net may be used from several threads at once, and after ``os.fork``. On a CPU an image's result is the same,
    to the bit, for any number of threads, in a batch of any size, and beside any other images. NaN and infinities in
    the input propagate as in PyTorch; they raise nothing.

    On a GPU, arrays that are there already are used in place and results stay there (:meth:`__call__`). Which kernel
    serves which layer follows :attr:`tuning`; :meth:`kernels` lists it, and ``fastalex tune`` measures what is best.

    :raises UserError: for an argument that does not work, with one sentence that says what to do.
    :raises BackendError: if the device asked for cannot be used here, with the reason.
    """

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

    def __call__(self, x: Any, out: Any = None, stream: Any = None) -> Any:
        """Logits of a preprocessed batch.

        :param x: float32 ``[N, C, H, W]``: a numpy array (any strides), or any object with ``__dlpack__`` (a torch
            tensor, ...), which is read without a copy when it is contiguous. On a GPU also an array that is there, is
            C-contiguous and has ``__cuda_array_interface__`` or ``__dlpack__``.
        :param out: an array for the result, which is returned: numpy, or on the GPU. C-contiguous float32.
        :param stream: with arrays on the GPU, the CUDA stream to queue the work on: a number, or a stream of PyTorch,
            CuPy, Numba or cuda-python. Default: the one that the library of ``x`` works on.
        :returns: float32 ``[N, num_classes]`` (``[N, C, H, W]`` if the network ends in a map), of the library that
            ``x`` came from, and where ``x`` is; a :class:`~fastalex.DeviceArray` for a GPU array of no known library.
            On the GPU it is queued, not waited for.
        :raises UserError: for a wrong type, dtype, shape, size or place.
        """
        return self._run(x, stream, out=out)[0]

    def predict_proba(self, x: Any, out: Any = None, stream: Any = None) -> Any:
        """Class probabilities ``[N, num_classes]``, float32.

        :param x: what :meth:`__call__` takes, or what :meth:`classify` takes (preprocessed with the variant's profile).
        """
        return self._run(self._batch(x), stream, softmax=True, out=out)[0]

    def taps(self, x: Any, names: Sequence[str], stream: Any = None) -> Dict[str, Any]:
        """Results of layers by name (:mod:`fastalex.networks.taps` lists the names and what they mean).

        The network runs as far as the last of them, and activations are computed apart only where a name asks for
        the value before them.

        :param x: what :meth:`__call__` takes, or an image or list of images.
        :returns: name -> float32 ``[N, C, H, W]`` or ``[N, features]``, of the library that ``x`` came from.
        :raises UserError: for a name that the network does not have, or a wrong input.
        """
        if isinstance(names, str) or not names:
            raise UserError(f"names must be a list of one or more layer names, not {names!r}")
        layers = taps.resolve(self.variant, list(names))
        distinct = list(dict.fromkeys(layers))
        softmax = taps.SOFTMAX in distinct
        results = dict(zip(distinct, self._run(self._batch(x), stream, True, softmax=softmax, taps=distinct)))
        return {name: taps.shaped(name, results[layer]) for name, layer in zip(names, layers)}

    def run_frame(
        self,
        frame: Any,
        order: str = "BGR",
        profile: Union[str, profiles.Profile, None] = None,
        softmax: bool = False,
        out: Any = None,
        stream: Any = None,
    ) -> Any:
        """Logits ``[1, num_classes]`` of one camera frame; on a GPU it is resized and normalized there, in one pass.

        :param frame: uint8 ``[H, W, 3]``, rows at any distance: numpy, or an array on the net's GPU.
        :param order: of the three bytes of a pixel: ``"BGR"``, as OpenCV and JetBot's cameras have them, or ``"RGB"``.
        :param profile: how it becomes the input (:data:`fastalex.images.PROFILES`); default: the variant's own.
        :param softmax: probabilities instead of logits.
        :param out: as for :meth:`__call__`, like ``stream``.
        :raises UserError: for a wrong frame, order or profile.
        """
        return self._run_frame(frame, order, profile, stream, softmax=softmax, out=out)[0]

    def _run_frame(
        self, frame: Any, order: str, profile: Union[str, profiles.Profile, None], stream: Any, **asked: Any
    ) -> List[Any]:
        from .runtime import frames  # Pillow, which a program that has its own arrays need not load

        if self.variant.channels != 3:
            raise UserError(f"frames have 3 channels, and this network takes {self.variant.channels}")
        row = profiles.get(self.variant.profile if profile is None else profile)
        size = self.variant.input_size
        view, spec = frames.read(frame, order, row, size, self._device, stream, self.mean_image)
        return execution.run(self._net, self._device, view, frame=spec, **asked)

    def classify_frame(
        self,
        frame: Any,
        order: str = "BGR",
        topk: int = 5,
        profile: Union[str, profiles.Profile, None] = None,
        stream: Any = None,
    ) -> List[Prediction]:
        """The ``topk`` most probable classes of one camera frame, best first; all of them if there are fewer.

        On a GPU everything from the pixels to the choice of the classes happens there.

        :param frame: as for :meth:`run_frame`, like the others.
        """
        self._warn_untrained()
        return self.label_top_k(
            *self._run_frame(frame, order, profile, stream, top_k=self._clamp_k(topk), softmax=True)
        )[0]

    def top_k(self, x: Any, k: int = 5, stream: Any = None) -> Tuple[np.ndarray, np.ndarray]:
        """The ``k`` most probable classes of each image: probabilities, float32, and class indices, int32, ``[N, k]``.

        Best first; of equals the lower index, and a NaN counts as larger than any number. On a GPU they are chosen
        there, so ``k`` pairs are all that comes to the host.

        :param x: what :meth:`__call__` takes, wherever it is.
        :returns: numpy arrays; on a GPU the call waits for them.
        :raises UserError: for a wrong ``x``, or a ``k`` that is not from 1 to the number of classes.
        """
        if arguments.positive_int("k", k) > self.variant.num_classes:
            raise UserError(f"k must be at most {self.variant.num_classes}, the number of classes, not {k}")
        values, indices = self._run(x, stream, top_k=k, softmax=True)
        return values, indices

    def bind(self, x: Any, out: Any, softmax: bool = False, stream: Any = None) -> Callable[[], None]:
        """``net(x, out=out, stream=stream)`` as a call without arguments, for arrays that are used again and again.

        They are checked here and not again, and kept. Each call reads ``x`` anew, so write the next batch there; on a
        GPU, on the stream that this call chose. ``x`` in host memory must be C-contiguous.

        :raises UserError: what :meth:`__call__` raises.
        """
        view = arrays.read(x, self._device, stream)
        execution.check_batch(view, self.variant)
        if out is None:
            raise UserError("bind needs an array for the result: out=")
        if not view.row_major:
            raise UserError(f"bind needs a C-contiguous input; its strides are {view.strides}")
        return execution.bind(self._net, self._device, view, softmax, out)

    def classify(self, image: Any, topk: int = 5) -> Union[List[Prediction], List[List[Prediction]]]:
        """The ``topk`` most probable classes of an image, best first; all of them if there are fewer.

        :param image: a path, a PIL image, encoded bytes, an RGB uint8 array ``[H, W, 3]``; or, for a list of such
            lists, a list of these, an RGB uint8 array ``[N, H, W, 3]``, or a preprocessed batch as :meth:`__call__`
            takes it, also on the GPU.
        """
        self._warn_untrained()
        ranked = self.label_top_k(*self.top_k(self._batch(image), self._clamp_k(topk)))
        return ranked if _is_batch(image) or _is_several(image) else ranked[0]

    def preprocess(self, image: Any) -> np.ndarray:
        """Image or list of images -> float32 ``[N, 3, S, S]``, with the variant's profile and input size, and with
        the mean image that the weights file has, if any."""
        from . import images  # Pillow, which a program that has its own arrays need not load

        batch = list(image) if _is_several(image) else [image]
        size = self.variant.input_size
        return images.preprocess(batch, self.variant.profile, size=size, mean_image=self.mean_image)

    def _batch(self, x: Any) -> Any:
        """``x`` itself if it is a preprocessed batch, else what :meth:`preprocess` makes of the images."""
        return x if _is_batch(x) else self.preprocess(x)

    def _warn_untrained(self) -> None:
        if not self.trained:
            warnings.warn("the weights are random, so the answer means nothing; pass weights=", stacklevel=3)

    def _clamp_k(self, topk: int) -> int:
        return min(arguments.positive_int("topk", topk), self.variant.num_classes)

    def label_top_k(self, probabilities: np.ndarray, indices: np.ndarray) -> List[List[Prediction]]:
        """What :meth:`top_k` gave, ``[N, k]`` each, with the names of the classes."""
        names = self.labels or [str(i) for i in range(self.variant.num_classes)]
        return [
            [Prediction(names[index], float(value), int(index)) for value, index in zip(*row)]
            for row in zip(probabilities, indices)
        ]


def _is_several(image: Any) -> bool:
    """Whether ``image`` is several images that are not prepared: a list of them, or bytes ``[N, H, W, C]``."""
    return isinstance(image, (list, tuple)) or (isinstance(image, np.ndarray) and image.ndim == 4)


def _is_batch(x: Any) -> bool:
    """Whether ``x`` is a preprocessed batch rather than images: four axes, or any array that is not numpy's. Bytes
    ``[N, H, W, C]`` are N images."""
    if isinstance(x, np.ndarray):
        return x.ndim == 4 and not (x.dtype == np.uint8 and x.shape[-1] in (1, 3, 4))
    return arrays.is_array(x)
