"""AlexNet: the class that users of the library work with."""

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


_SLACK = 1.01  # for the rounding of a batch whose brightest pixel is white


class Prediction(NamedTuple):
    """A class that :meth:`AlexNet.classify` predicts.

    ``label`` is its name (its index as text, if the network has no names), ``probability`` a float in [0, 1], ``index``
    its place among the outputs of the network.
    """

    label: str
    probability: float
    index: int  # type: ignore[assignment]  # a public name, which hides tuple.index


class AlexNet(Network):
    """A network of the AlexNet family with its weights on a device, for inference (dropout is the identity).

    >>> from fastalex import AlexNet
    >>> net = AlexNet(weights="digits", device="cpu")
    >>> net.classify("examples/digits/digit-7-sample-0007.png")[0].label
    '7'
    >>> x = net.preprocess("examples/digits/digit-7-sample-0007.png")
    >>> x.shape, x.dtype
    ((1, 3, 131, 131), dtype('float32'))
    >>> net(x).shape
    (1, 10)

    :param variant: a name in :data:`fastalex.VARIANTS`, or a :class:`~fastalex.Variant`. Default: the variant
        that the weights fit, or ``alexnet2012`` without weights.
    :param num_classes: outputs of the last layer. Default: those of the weights, or of the variant.
    :param weights: the path of a ``.safetensors``, ``.npz``, ``.pth``, ``.caffemodel``, ``.onnx`` or ``.npy`` file, or
        of one of these in a ``.gz``, ``.bz2``, ``.xz``, ``.zip`` or ``.tar`` (:func:`fastalex.weights.load`);
        ``"digits"``, the weights bundled with fastalex; a mapping of parameter name to array or PyTorch tensor; or
        ``"random"`` or None for He initialization from a fixed seed.
    :param device: ``"cpu"``; ``"cuda"``, or ``"cuda:1"`` for the GPU of index 1; ``"tensorrt"``; ``"naive"``, the slow
        reference for every op; or ``"auto"``, the first of cuda, tensorrt and cpu that works.
    :param precision: precision of activations and convolutions: ``"fp32"``; ``"bf16"`` or ``"int8"`` on a CPU;
        ``"fp16"`` on a GPU. Inputs and results are float32 in any case. ``"int8"`` needs a calibration.
    :param fc_weights: format of the fully connected weights, 96 % of all weights: ``"fp32"``, ``"fp16"``, ``"bf16"``
        (on a CPU), ``"int8"`` (symmetric, one scale per output) or ``"int4"`` (symmetric, one scale per 128 weights of
        an output). Default: the format in the file if ``precision`` allows it, or the one that matches ``precision``.
        :data:`fastalex.runtime.precisions.SUPPORTED` lists the combinations.
    :param threads: the most CPU threads that a call uses, 1 to 1024. Default: the number of processors that this
        process may run on, bounded by its container's CPU quota and by ``FASTALEX_NUM_THREADS`` or ``OMP_NUM_THREADS``.
    :param exact: on a CPU, sum the products of convolutions directly, never by Winograd's algorithm, which is faster
        but rounds more.
    :param fc_layout: on a CPU, the layout of int8 and int4 fully connected weights: ``"latency"`` (the default), in
        which weights that meet a zero in all images are skipped, or ``"throughput"``, faster from about 8 images on.
        The results are the same to the bit. Weights in other formats have one layout, which does both.
    :param calibration: for ``precision="int8"``, a result of :func:`fastalex.quantize.calibrate`, or a mapping of the
        name of each conv and fc layer to the scale of its input. Default: the calibration in the weights file.
    :param mean_image: the mean image to subtract in place of the profile's channel means: the path of a
        ``.binaryproto`` of Caffe's or of a ``.npy`` file (:func:`fastalex.weights.mean_image.load`), or an array ``[C,
        H, W]`` on a scale of 0 to 255, the planes in the order of the variant's profile. Default: that of the weights
        file, if it has one.
    :param engine: on TensorRT, ``"plugins"`` (the default) to use fastalex's plugins for the layers that the device
        file lists and for those that TensorRT lacks, or ``"native"`` to use TensorRT's own layers alone. An engine is
        built when a batch first needs it, which can take minutes, and is cached in
        :func:`fastalex.tuning.rules.engine_folder`.
    :param check: compare a network that was read from an ONNX graph with the graph itself, on random images. This takes
        a second at most; False skips it.
    :param pickle_by: what a pickle carries besides the options: ``"arrays"``, the weights; or ``"path"``, the absolute
        path, size, modification time and SHA-256 of the weights file, a few kilobytes. The latter can be loaded where
        the same file is at the same path; anything else there is an error. The SHA-256 is computed with the first
        pickle. Copies in memory need no file.
    :param mmap: map a large weights file while it is loaded, rather than read it whole; False for one that other
        programs may write to meanwhile (:mod:`fastalex.weights.readers.mapped`).
    :param overrides: fields of :class:`~fastalex.Variant` to change (``widths=``, ``activation=``, ...), and
        ``lrn_alpha_divided=``.
    :raises UserError: for an invalid argument; its one sentence says what to do.
    :raises BackendError: if the device exists but does not work here, with the reason.

    The attributes are for reading only:

    * ``variant``: the :class:`~fastalex.Variant`, with the overrides applied;
    * ``labels``: a list of ``num_classes`` names, or None;
    * ``device``, ``precision``, ``fc_weights``, ``threads``, ``exact``, ``fc_layout``, ``engine``, ``calibration``,
      ``pickle_by``: the options in use, such as ``"cuda:0"`` for ``"auto"``;
    * ``mean_image``: the mean image that preprocessing subtracts, float32 ``[C, H, W]``, or None;
    * ``trained``: whether the weights were given, rather than random;
    * ``tuning``: the source of the rules that choose GPU kernels, as text; empty on a CPU. :meth:`kernels` lists the
      chosen kernels, ``fastalex tune`` measures which are the fastest.

    A network may be used from several threads at once, and after ``os.fork``. On a CPU, the result for an image is the
    same to the bit for any number of threads, any batch size and any other images in the batch. NaN and infinity in
    the input propagate as in PyTorch and raise nothing.
    """

    @classmethod
    def from_pretrained(cls, name: Union[str, os.PathLike[str]], **options: Any) -> AlexNet:
        """Make a network with trained weights, and download them if need be.

        >>> AlexNet.from_pretrained("digits", device="cpu").variant.name
        'alexnet-digits'

        A published file is downloaded once, to :func:`fastalex.weights.registry.folder`, and used only if its hash is
        the registered one. A file of the Hugging Face Hub is downloaded by huggingface_hub to the cache of that.

        :param name: a name in :data:`fastalex.weights.registry.FILES` (``"torchvision"``, ``"bvlc_alexnet"``,
            ``"caffenet"``, ...), ``"digits"``, the path of a weights file, or ``"hf:OWNER/NAME"``, a repository of the
            Hub, also with ``@REVISION`` and ``/FILE`` behind it (:mod:`fastalex.weights.hub`).
        :param options: the options of :class:`AlexNet` other than ``weights``.
        :raises UserError: if there is no such name or file, it cannot be downloaded, or an option is invalid.
        :raises BackendError: if the device does not work here.
        """
        from .weights import registry

        return cls(weights=registry.locate(name), **options)

    def __call__(self, x: Any, out: Any = None, stream: Any = None) -> Any:
        """Compute the logits of a preprocessed batch.

        >>> import numpy as np
        >>> net = AlexNet(weights="digits", device="cpu")
        >>> logits = net(np.zeros((2, 3, 131, 131), np.float32))
        >>> logits.shape, logits.dtype
        ((2, 10), dtype('float32'))

        :param x: float32 ``[N, C, H, W]``: a numpy array of any strides, or another array in host memory with
            ``__dlpack__`` (a PyTorch tensor, ...). On a GPU also an array in its memory, C-contiguous, with
            ``__dlpack__`` or ``__cuda_array_interface__``. Contiguous arrays are not copied.
        :param out: a writable C-contiguous float32 array to write the result to, and to return: numpy, or an array on
            the GPU.
        :param stream: for arrays on the GPU, the CUDA stream to queue the work on: its handle as a number, or a stream
            of PyTorch, CuPy, Numba or cuda-python. Default: the current stream of the library of ``x``.
        :returns: float32 ``[N, num_classes]``, or ``[N, C, H, W]`` for a network that ends in a map: an array of the
            same library and in the same memory as ``x``, a :class:`~fastalex.DeviceArray` if the library of a GPU array
            has no ``from_dlpack``. On a GPU the call returns before the result is computed; later work on ``stream``
            comes after it.
        :raises UserError: for a wrong type, dtype, shape, image size or device of ``x`` or ``out``.
        """
        return self._run(x, stream, out=out)[0]

    def predict_proba(self, x: Any, out: Any = None, stream: Any = None) -> Any:
        """Compute class probabilities, float32 ``[N, num_classes]``.

        >>> net = AlexNet(weights="digits", device="cpu")
        >>> probabilities = net.predict_proba("examples/digits/digit-7-sample-0007.png")
        >>> probabilities.shape, int(probabilities.argmax())
        ((1, 10), 7)

        :param x: a preprocessed batch, as for :meth:`__call__`, or images, as for :meth:`classify`.
        :param out: as for :meth:`__call__`, like ``stream``, the kind of array returned, and the errors.
        """
        return self._run(self._batch(x), stream, softmax=True, out=out)[0]

    def taps(self, x: Any, names: Sequence[str], stream: Any = None) -> Dict[str, Any]:
        """Compute the results of layers by name.

        >>> net = AlexNet(weights="digits", device="cpu")
        >>> features = net.taps("examples/digits/digit-7-sample-0007.png", ["conv5", "relu7"])
        >>> {name: values.shape for name, values in features.items()}
        {'conv5': (1, 64, 7, 7), 'relu7': (1, 192)}

        The network runs no further than the last of these layers. ``conv5`` is the value before the activation,
        ``relu5`` the value after it; :mod:`fastalex.networks.taps` describes all names.

        :param x: a preprocessed batch, as for :meth:`__call__`, or images, as for :meth:`classify`. Images of another
            size than the network's own will do as long as the layers asked for accept them.
        :param names: one or more names; a name may occur twice.
        :param stream: as for :meth:`__call__`.
        :returns: name -> float32 ``[N, C, H, W]`` or ``[N, features]``, an array of the same library as ``x``.
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
        """Compute the logits of one camera frame, float32 ``[1, num_classes]``.

        >>> import numpy as np
        >>> net = AlexNet(weights="digits", device="cpu")
        >>> net.run_frame(np.zeros((480, 640, 3), np.uint8)).shape
        (1, 10)

        On a GPU the frame is resized, cropped and normalized there, in one pass over its pixels.

        :param frame: uint8 ``[H, W, 3]``, a numpy array or an array on the GPU of the network, where the pixels of
            a row must be side by side; rows may be any distance apart.
        :param order: the order of a pixel's bytes: ``"BGR"``, as in frames of OpenCV and JetBot, or ``"RGB"``.
        :param profile: the preprocessing, a name in :data:`fastalex.images.PROFILES` or a
            :class:`~fastalex.images.Profile`. Default: the variant's own.
        :param softmax: return probabilities instead of logits.
        :param out: as for :meth:`__call__`, like ``stream``.
        :raises UserError: for a wrong frame, order, profile or ``out``, or a network of neither 3 channels nor 1, whose
            frames are turned to gray on the host.
        """
        return self._run_frame(frame, order, profile, stream, softmax=softmax, out=out)[0]

    def _run_frame(
        self, frame: Any, order: str, profile: Union[str, profiles.Profile, None], stream: Any, **options: Any
    ) -> List[Any]:
        from .runtime import frames  # loads Pillow, which programs with their own arrays do not need

        row = profiles.get(self.variant.profile if profile is None else profile)
        size, channels = self.variant.input_size, self.variant.channels
        view, spec = frames.read(frame, order, row, size, self._device, stream, self.mean_image, channels)
        return execution.run(self._net, self._device, view, frame=spec, **options)

    def classify_frame(
        self,
        frame: Any,
        order: str = "BGR",
        topk: int = 5,
        profile: Union[str, profiles.Profile, None] = None,
        stream: Any = None,
    ) -> List[Prediction]:
        """Classify one camera frame.

        On a GPU the whole call runs there, from the pixels to the choice of the classes, and is waited for.

        :param frame: as for :meth:`run_frame`, like ``order``, ``profile``, ``stream`` and the errors.
        :param topk: the number of classes to return, at least 1; the network's classes if it has fewer.
        :returns: the most probable classes, the best first. With random weights a warning says that they mean nothing.
        """
        self._warn_untrained()
        return self.label_top_k(
            *self._run_frame(frame, order, profile, stream, top_k=self._clamp_k(topk), softmax=True)
        )[0]

    def top_k(self, x: Any, k: int = 5, stream: Any = None) -> Tuple[np.ndarray, np.ndarray]:
        """Find the ``k`` most probable classes of each image in a preprocessed batch.

        >>> net = AlexNet(weights="digits", device="cpu")
        >>> probabilities, indices = net.top_k(net.preprocess("examples/digits/digit-7-sample-0007.png"), k=2)
        >>> probabilities.shape, indices.tolist()
        ((1, 2), [[7, 4]])

        Ties go to the lower index, and NaN counts as larger than any number. A GPU chooses the classes itself, so that
        only ``k`` pairs per image are copied to the host.

        :param x: float32 ``[N, C, H, W]``, as for :meth:`__call__`.
        :param k: from 1 to the number of classes.
        :param stream: as for :meth:`__call__`.
        :returns: two numpy arrays ``[N, k]``, the best first: probabilities, float32, and class indices, int32. On a
            GPU the call waits for them.
        :raises UserError: for a wrong ``x`` or ``k``.
        """
        if arguments.positive_int("k", k) > self.variant.num_classes:
            raise UserError(f"k must be at most {self.variant.num_classes}, the number of classes, not {k}")
        values, indices = self._run(x, stream, top_k=k, softmax=True)
        return values, indices

    def bind(self, x: Any, out: Any, softmax: bool = False, stream: Any = None) -> Callable[[], None]:
        """Return a function that calls ``net(x, out=out, stream=stream)``, for repeated use of the same two arrays.

        >>> import numpy as np
        >>> net = AlexNet(weights="digits", device="cpu")
        >>> x, out = np.empty((1, 3, 131, 131), np.float32), np.empty((1, 10), np.float32)
        >>> run = net.bind(x, out)
        >>> x[:] = net.preprocess("examples/digits/digit-7-sample-0007.png")
        >>> run()
        >>> int(out.argmax())
        7

        The arrays are checked only once, here, and the function keeps them alive. Each call reads ``x`` again: write
        the next batch into it, on a GPU on the stream chosen here.

        :param x: as for :meth:`__call__`, but C-contiguous.
        :param out: the array for the result, as for :meth:`__call__`; required.
        :param softmax: write probabilities instead of logits.
        :param stream: as for :meth:`__call__`.
        :raises UserError: for a wrong type, dtype, shape, image size, device or layout of ``x`` or ``out``.
        """
        view = arrays.read(x, self._device, stream)
        execution.check_batch(view, self.variant)
        if out is None:
            raise UserError("bind needs an array for the result: out=")
        if not view.row_major:
            raise UserError(f"bind needs a C-contiguous input; its strides are {view.strides}")
        return execution.bind(self._net, self._device, view, softmax, out)

    def classify(self, image: Any, topk: int = 5) -> Union[List[Prediction], List[List[Prediction]]]:
        """Classify an image, or several.

        >>> net = AlexNet(weights="digits", device="cpu")
        >>> best, second = net.classify("examples/digits/digit-7-sample-0007.png", topk=2)
        >>> best.label, round(best.probability, 2)
        ('7', 0.98)
        >>> files = ["examples/digits/digit-7-sample-0007.png", "examples/digits/digit-3-sample-0003.png"]
        >>> [predictions[0].label for predictions in net.classify(files)]
        ['7', '3']

        :param image: the path of an image file, its bytes, the open file, a PIL image, or a uint8 array ``[H, W, 3]``
            in RGB order (:func:`fastalex.images.open_image` lists the formats). Several images are a list of these, a
            uint8 array ``[N, H, W, 3]``, or a preprocessed batch, as for :meth:`__call__`.
        :param topk: the number of classes to return, at least 1; the network's classes if it has fewer.
        :returns: a list of the most probable classes, the best first; for several images, a list of such lists. With
            random weights a warning says that they mean nothing; so does one for a numpy batch of pixels that were not
            normalized.
        :raises UserError: for an image that cannot be read, or a wrong batch or ``topk``.
        """
        self._warn_untrained()
        if isinstance(image, np.ndarray) and image.dtype == np.float32 and image.ndim == 4:
            self._warn_unnormalized(image)
        ranked = self.label_top_k(*self.top_k(self._batch(image), self._clamp_k(topk)))
        return ranked if _is_batch(image) or _is_several(image) else ranked[0]

    def preprocess(self, image: Any, profile: Union[str, profiles.Profile, None] = None) -> np.ndarray:
        """Prepare an image, or several, as the input of the network.

        >>> net = AlexNet(weights="digits", device="cpu")
        >>> net.preprocess(["examples/digits/digit-7-sample-0007.png"] * 2).shape
        (2, 3, 131, 131)

        The variant's input size applies, and :attr:`mean_image` if there is one. A network of one channel sees gray
        values: Pillow's ``convert("L")`` of the image, normalized with the averages of the profile's three means and
        standard deviations.

        :param image: an image or several, as for :meth:`classify`.
        :param profile: as for :meth:`run_frame`.
        :returns: a numpy array, float32 ``[N, C, S, S]``, C-contiguous.
        :raises UserError: for an image that cannot be read, a network of neither 3 channels nor 1, or a profile that
            takes no mean image although there is one.
        """
        from . import images  # loads Pillow, which programs with their own arrays do not need

        batch = list(image) if _is_several(image) else [image]
        row = self.variant
        named = row.profile if profile is None else profile
        return images.preprocess(batch, named, row.input_size, mean_image=self.mean_image, channels=row.channels)

    def _batch(self, x: Any) -> Any:
        """Return ``x`` if it is a preprocessed batch, otherwise preprocess its images."""
        return x if _is_batch(x) else self.preprocess(x)

    def _warn_untrained(self) -> None:
        if not self.trained:
            warnings.warn("the weights are random, so the answer means nothing; pass weights=", stacklevel=3)

    def _warn_unnormalized(self, batch: np.ndarray) -> None:
        """Warn of a batch without negative values, some of which no pixel has under the network's profile."""
        row, channels = profiles.get(self.variant.profile), self.variant.channels
        if channels not in profiles.CHANNELS:
            return
        means, stds = (np.array(values) for values in row.mean_and_std(channels))
        if self.mean_image is not None:
            means = self.mean_image.min(axis=(1, 2))
        largest = float(np.max((255.0 / row.divisor - means) / stds))
        if batch.size and batch.min() >= 0 and batch.max() > _SLACK * largest:
            warnings.warn(
                f"the batch looks like pixels that are not normalized: its values are {batch.min():g} to "
                f"{batch.max():g}, and profile {row.name} makes none above {largest:.4g}; "
                "pass uint8 images, or what net.preprocess returns",
                stacklevel=3,
            )

    def _clamp_k(self, topk: int) -> int:
        return min(arguments.positive_int("topk", topk), self.variant.num_classes)

    def label_top_k(self, probabilities: np.ndarray, indices: np.ndarray) -> List[List[Prediction]]:
        """Turn the two arrays of :meth:`top_k`, ``[N, k]`` each, into a list of predictions per image.

        Classes have their names, or their indices as text if :attr:`labels` is None.
        """
        names = self.labels or [str(i) for i in range(self.variant.num_classes)]
        return [
            [Prediction(names[index], float(value), int(index)) for value, index in zip(*row)]
            for row in zip(probabilities, indices)
        ]


def _is_several(image: Any) -> bool:
    """Whether ``image`` is several images to preprocess: a list, or a uint8 array ``[N, H, W, C]``."""
    return isinstance(image, (list, tuple)) or (isinstance(image, np.ndarray) and image.ndim == 4)


def _is_batch(x: Any) -> bool:
    """Whether ``x`` is a preprocessed batch: a numpy array of four axes, or any array of another library.

    A uint8 array ``[N, H, W, C]`` is N images instead.
    """
    if isinstance(x, np.ndarray):
        return x.ndim == 4 and not (x.dtype == np.uint8 and x.shape[-1] in (1, 3, 4))
    return arrays.is_array(x)
