"""The public network object."""

from __future__ import annotations

import json
import os
import warnings
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from . import _core
from . import weights as weights_files
from ._util import arguments
from .errors import UserError
from .images import profiles
from .networks import imagenet_labels, taps, variants
from .networks.architecture import Variant
from .networks.layers import layer_table, name_fused
from .quantize.calibration import Calibration, as_calibration, steps_for
from .runtime import arrays, device_spec, execution, precisions
from .runtime.device_array import DeviceArray
from .runtime.device_spec import choose_device
from .runtime.precisions import FC_STORAGES, PRECISIONS
from .tuning import rules
from .weights import adapt, initial, quantized
from .weights.readers import mapped

__all__ = ["AlexNet", "DeviceArray", "Prediction", "choose_device"]

DEFAULT_VARIANT = "alexnet2012"


class Prediction(NamedTuple):
    """One answer of :meth:`AlexNet.classify`: class name, probability in [0, 1], class index."""

    label: str
    probability: float
    index: int


class AlexNet:
    """A member of the AlexNet family, ready to run; always in evaluation mode (dropout is the identity).

    :param variant: a name of :data:`fastalex.VARIANTS` or a :class:`~fastalex.Variant`. Default: the
        variant that the weights file names, else ``alexnet2012``.
    :param num_classes: width of the last layer; default: the weights' or the variant's own.
    :param weights: path of a file that :func:`fastalex.weights.load` reads (``.safetensors``, ``.npz``, ``.pth``,
        ``.caffemodel``, ``.onnx``); the name of bundled weights (``"digits"``); a mapping
        of parameter name to array; ``"random"`` or ``None`` for seeded He initialisation.
    :param device: ``"cpu"``, ``"cuda"`` or ``"cuda:1"`` (a GPU by its index), ``"tensorrt"``, ``"naive"`` (the slow
        definition of every op), or ``"auto"``, which takes the first of cuda, tensorrt and cpu that works and says in
        :attr:`device` which it was.
    :param precision: of activations and convolutions: ``"fp32"``; ``"bf16"`` or ``"int8"`` on a CPU, ``"fp16"`` on a
        GPU. Inputs and results are float32 in any case. int8 needs a calibration.
    :param fc_weights: how the weights of the fully connected layers, 96 % of all, are kept: ``"fp32"``, ``"fp16"``,
        ``"bf16"`` (on a CPU), ``"int8"`` (symmetric, one scale for each output) or ``"int4"`` (symmetric, one scale for
        each 128 weights of an output). Default: as the file has them, else like ``precision``.
        :data:`fastalex.runtime.precisions.NUMBERS` has the combinations.
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

    One net may be used from several threads at once, and after ``os.fork``. The same input gives the same bits for
    any number of threads. NaN and infinities in the input propagate as in PyTorch; they raise nothing.

    On a GPU, arrays that are there already are used in place and results stay there (:meth:`__call__`). Which kernel
    serves which layer follows :attr:`tuning`; :meth:`kernels` lists it, and ``fastalex tune`` measures what is best.

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
        fc_weights: Optional[str] = None,
        threads: Optional[int] = None,
        exact: bool = False,
        calibration: Union[Calibration, Mapping[str, float], None] = None,
        engine: Optional[str] = None,
        check: bool = True,
        **overrides: Any,
    ) -> None:
        self._placement = device_spec.choose(device)
        self.engine = device_spec.check_engine(self._placement, engine)
        self.device = self._placement.name
        precisions.numbers(self._placement, precision, fc_weights)  # before a file is looked for
        self.exact = device_spec.check_exact(self._placement, exact)
        self.threads = device_spec.thread_count(threads)
        loaded = _load(weights)
        stored = quantized.storage_of(loaded.arrays) if loaded else None
        self.precision, self.fc_weights = precisions.numbers(self._placement, precision, fc_weights, stored)
        if num_classes is None and isinstance(variant, str) and loaded:
            num_classes = adapt.class_count(loaded)
        base = variant or (_variant_of(loaded) if loaded else DEFAULT_VARIANT)
        self.variant = variants.get(base, num_classes=num_classes, **overrides)
        self.labels = _labels(loaded, self.variant)
        self.trained = loaded is not None
        self.mean_image = loaded.mean_image() if loaded else None
        self.calibration = loaded.calibration() if calibration is None and loaded else as_calibration(calibration)
        arrays = adapt.fit(loaded, self.variant) if loaded else initial.random_weights(self.variant)
        if check and loaded and loaded.graph:
            from .selftest import files

            initial.check(self.variant, arrays, self.fc_weights)
            files.check(loaded, self.variant, arrays)
        with mapped.reading_once(arrays.values()):
            self._net, self.tuning = self._make(arrays)
        self._levels = quantized.kept(arrays, self.fc_weights)

    def _make(self, parameters: Mapping[str, np.ndarray]) -> Any:
        """The native network, and where its tuning rules come from."""
        size = self.variant.input_size
        chosen = rules.choose(self._placement, self.engine)
        steps = steps_for(self.variant, self.calibration) if self.precision == "int8" else None
        arguments = (
            layer_table(self.variant.layers(), steps),
            [self.variant.channels, size, size],
            initial.check(self.variant, parameters, self.fc_weights),
            self._placement.backend,
            FC_STORAGES.index(self.fc_weights),
            self.threads,
            PRECISIONS.index(self.precision),
            self._placement.index,
        )
        if not chosen.cached:
            return _core.Net(*arguments, chosen.text, exact=self.exact), chosen.source
        try:
            net = _core.Net(*arguments, chosen.text)
            net.output_shapes(1, size, size)  # rules are followed when a plan is made
            return net, chosen.source
        except UserError as error:  # the network itself is sound if it can be made without the cache
            file = rules.of_device_file(self._placement.gpu)
            net = _core.Net(*arguments, file.text)
            warnings.warn("the cached tuning is not used (%s); run fastalex tune again" % error, stacklevel=3)
            return net, file.source

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
        return self._run(x, False, out, stream)

    def predict_proba(self, x: Any, out: Any = None, stream: Any = None) -> Any:
        """Class probabilities ``[N, num_classes]``, float32.

        :param x: what :meth:`__call__` takes, or what :meth:`classify` takes (preprocessed with the variant's profile).
        """
        return self._run(x if _is_batch(x) else self.preprocess(x), True, out, stream)

    def taps(self, x: Any, names: Sequence[str], stream: Any = None) -> Dict[str, Any]:
        """Results of layers by name (:mod:`fastalex.networks.taps` lists the names and what they mean).

        The network runs as far as the last of them, and activations are computed apart only where a name asks for
        the value before them.

        :param x: what :meth:`__call__` takes, or an image or list of images.
        :returns: name -> float32 ``[N, C, H, W]`` or ``[N, features]``, of the library that ``x`` came from.
        :raises UserError: for a name that the network does not have, or a wrong input.
        """
        if isinstance(names, str) or not names:
            raise UserError("names must be a list of one or more layer names, not %r" % (names,))
        layers = taps.resolve(self.variant, list(names))
        given = arrays.read(x if _is_batch(x) else self.preprocess(x), self._placement, stream)
        execution.check_batch(given, self.variant, any_size=True)
        distinct = list(dict.fromkeys(layers))
        results = execution.run(self._net, self._placement, given, taps.SOFTMAX in distinct, distinct)
        found = dict(zip(distinct, results))
        return {name: taps.shaped(name, found[layer]) for name, layer in zip(names, layers)}

    def run_frame(
        self,
        frame: Any,
        order: str = "BGR",
        profile: Union[str, profiles.Profile, None] = None,
        softmax: bool = False,
        out: Any = None,
        stream: Any = None,
    ) -> Any:
        """Logits ``[1, num_classes]`` of one camera frame; on a GPU it is resized and normalised there, in one pass.

        :param frame: uint8 ``[H, W, 3]``, rows at any distance: numpy, or an array on the net's GPU.
        :param order: of the three bytes of a pixel: ``"BGR"``, as OpenCV and JetBot's cameras have them, or ``"RGB"``.
        :param profile: how it becomes the input (:data:`fastalex.images.PROFILES`); default: the variant's own.
        :param softmax: probabilities instead of logits.
        :param out: as for :meth:`__call__`, like ``stream``.
        :raises UserError: for a wrong frame, order or profile.
        """
        given, spec = self._read_frame(frame, order, profile, stream)
        if spec is None:
            (result,) = execution.run(self._net, self._placement, given, softmax, (), out)
            return result if out is not None else arrays.read(frame, self._placement).like(result)
        return execution.run_frame(self._net, self._placement, given, spec, self.variant.input_size, softmax, out)

    def _read_frame(
        self, frame: Any, order: str, profile: Union[str, profiles.Profile, None], stream: Any
    ) -> Tuple[arrays.Given, Optional[Dict[str, Any]]]:
        """The frame as it is and what the GPU makes of it; a preprocessed batch and None where there is no GPU."""
        from . import images
        from .runtime import frames

        row = profiles.get(self.variant.profile if profile is None else profile)
        given = arrays.read(frame, self._placement, stream)
        frames.check(given, order)
        if self.variant.channels != 3:
            raise UserError("frames have 3 channels, and this network takes %d" % self.variant.channels)
        size = self.variant.input_size
        if self._placement.gpu is None and self.mean_image is None:
            return arrays.read(images.prepare_frame(given.host, row, size, order == "BGR"), self._placement), None
        if self.mean_image is not None:  # the GPU's pass has channel means only
            if given.host is None:
                raise UserError("this network has a mean image, which is subtracted on the host: give a numpy frame")
            batch = images.preprocess(given.host, row, size, bgr=order == "BGR", mean_image=self.mean_image)
            return arrays.read(batch, self._placement), None
        if not given.on_device and not frames.row_bytes(given):
            given = arrays.read(np.ascontiguousarray(given.host), self._placement, stream)
        if not frames.row_bytes(given):
            raise UserError("a frame's rows must have their pixels side by side; its strides are %s" % (given.strides,))
        return given, frames.spec(given, order, row, size)

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
        k = self._at_most(topk)
        self._warn_untrained()
        given, spec = self._read_frame(frame, order, profile, stream)
        chosen = execution.top_k(self._net, given, k, None if spec is None else (spec, self.variant.input_size))
        return self.named(*chosen)[0]

    def top_k(self, x: Any, k: int = 5, stream: Any = None) -> Tuple[np.ndarray, np.ndarray]:
        """The ``k`` most probable classes of each image: probabilities, float32, and class indices, int32, ``[N, k]``.

        Best first; of equals the lower index, and a NaN counts as larger than any number. On a GPU they are chosen
        there, so ``k`` pairs are all that comes to the host.

        :param x: what :meth:`__call__` takes, wherever it is.
        :returns: numpy arrays; on a GPU the call waits for them.
        :raises UserError: for a wrong ``x``, or a ``k`` that is not from 1 to the number of classes.
        """
        _check_topk(k, "k")
        if k > self.variant.num_classes:
            raise UserError("k must be at most %d, the number of classes, not %d" % (self.variant.num_classes, k))
        given = arrays.read(x, self._placement, stream)
        execution.check_batch(given, self.variant)
        return execution.top_k(self._net, given, k)

    def bind(self, x: Any, out: Any, softmax: bool = False, stream: Any = None) -> Callable[[], None]:
        """``net(x, out=out, stream=stream)`` as a call without arguments, for arrays that are used again and again.

        They are checked here and not again, and kept. Each call reads ``x`` anew, so write the next batch there; on a
        GPU, on the stream that this call chose. ``x`` in host memory must be C-contiguous.

        :raises UserError: what :meth:`__call__` raises.
        """
        given = arrays.read(x, self._placement, stream)
        execution.check_batch(given, self.variant)
        if out is None:
            raise UserError("bind needs an array for the result: out=")
        if not given.row_major:
            raise UserError("bind needs a C-contiguous input; its strides are %s" % (given.strides,))
        run = execution.bind(self._net, self._placement, given, softmax, (), out)

        def call() -> None:
            run()

        return call

    def to_device(self, array: np.ndarray) -> DeviceArray:
        """A float32 copy of a numpy array in the memory of the net's GPU.

        :raises UserError: on a device that computes in host memory.
        """
        if self._placement.gpu is None:
            raise UserError("device='%s' computes in host memory; pass the numpy array itself" % self.device)
        values = np.asarray(array, np.float32)
        buffer = _core.DeviceBuffer(self._net, values.nbytes)
        return DeviceArray(buffer, values.shape, self._placement.index).copy_from(values)

    def kernels(self, batch: int = 1, names: Sequence[str] = ()) -> Dict[str, Any]:
        """Which kernels serve the layers for a batch of images of the network's own size.

        :param names: layers to read out, as for :meth:`taps`.
        :returns: ``graph``, whether it all is one CUDA graph, and ``steps``: for each its ``layers``, the ``candidate``
            that was chosen, its ``kernels`` with threads, shared memory and grid, and the other ``candidates``.
        """
        layers = list(dict.fromkeys(taps.resolve(self.variant, list(names))))
        size = self.variant.input_size
        found = json.loads(self._net.describe(batch, size, size, False, layers))
        name_fused(self.variant.layers(), found["steps"])
        return found

    def classify(self, image: Any, topk: int = 5) -> Union[List[Prediction], List[List[Prediction]]]:
        """The ``topk`` most probable classes of an image, best first; all of them if there are fewer.

        :param image: a path, a PIL image, encoded bytes, an RGB uint8 array ``[H, W, 3]``; or, for a list of such
            lists, a list of these, an RGB uint8 array ``[N, H, W, 3]``, or a preprocessed batch as :meth:`__call__`
            takes it, also on the GPU.
        """
        k = self._at_most(topk)
        self._warn_untrained()
        whole = _is_batch(image)
        ranked = self.named(*self.top_k(image if whole else self.preprocess(image), k))
        return ranked if whole or _is_several(image) else ranked[0]

    def preprocess(self, image: Any) -> np.ndarray:
        """Image or list of images -> float32 ``[N, 3, S, S]``, with the variant's profile and input size, and with
        the mean image that the weights file has, if any."""
        from . import images  # Pillow, which a program that has its own arrays need not load

        batch = list(image) if _is_several(image) else [image]
        size = self.variant.input_size
        return images.preprocess(batch, self.variant.profile, size=size, mean_image=self.mean_image)

    def state_dict(self) -> Dict[str, np.ndarray]:
        """Parameter name -> new float32 array, dequantised where the weights are kept in fewer bits."""
        shapes = self.variant.parameter_shapes()
        return {name: self._net.param(i).reshape(shape) for i, (name, shape) in enumerate(shapes.items())}

    def fingerprint(self) -> str:
        """SHA-256 of the parameters' names, shapes and values, in hexadecimal."""
        import hashlib  # takes 4 MB, which those who only classify can do without

        digest = hashlib.sha256()
        for index, (name, shape) in enumerate(self.variant.parameter_shapes().items()):
            digest.update(repr((name, tuple(shape))).encode() + self._net.param(index).tobytes())
        return digest.hexdigest()

    def save(self, path: Union[str, os.PathLike], fc_weights: str = "fp32") -> None:
        """Writes the parameters, the variant, the labels and the calibration to a ``.safetensors`` or ``.npz`` file.

        :param fc_weights: how the fully connected weights are written: ``"fp32"``, or ``"int8"`` or ``"int4"``, a
            quarter and an eighth of the size, which load without another conversion
            (:mod:`fastalex.weights.quantized`). Weights that the net keeps so are written as they are.
        :raises UserError: if the file cannot be written, or a weight has no level.
        """
        arguments.one_of("fc_weights", fc_weights, ("fp32", *quantized.STORAGES))
        arrays: Dict[str, Any] = self.state_dict()
        metadata = weights_files.metadata_for(self.variant, self.labels, self.calibration, self.mean_image)
        if fc_weights != "fp32":
            if fc_weights == self.fc_weights:
                arrays = {**quantized.recovered(arrays, self.variant, fc_weights), **self._levels}
            arrays, added = quantized.to_file(arrays, self.variant, fc_weights)
            metadata.update(added)
        weights_files.save(path, arrays, metadata)

    def save_engine(self, path: Union[str, os.PathLike], batch: int = 1, softmax: bool = False) -> None:
        """Writes the TensorRT engine for up to ``batch`` images, for trtexec and other programs.

        Its input is ``x``, float32 ``[N, C, H, W]``, its output ``y0``, float32 ``[N, num_classes]`` with any number of
        ones behind. It serves this GPU and this release of TensorRT; one with plugins needs
        ``libfastalex_tensorrt<major>.so`` where it is loaded.

        :param softmax: the output is probabilities.
        :raises UserError: on another device, or if the file cannot be written.
        """
        if not self._placement.engines:
            raise UserError("device='%s' has no engines; use device='tensorrt'" % self.device)
        size = self.variant.input_size
        self._net.save_engine(batch, size, size, softmax, os.fspath(path))

    @property
    def param_bytes(self) -> int:
        """Bytes of memory that the packed parameters take."""
        return self._net.param_bytes

    def __repr__(self) -> str:
        precision = "" if self.precision == "fp32" else "precision=%r, " % self.precision
        return "AlexNet(%r, num_classes=%d, device=%r, %sfc_weights=%r, threads=%d%s)" % (
            self.variant.name,
            self.variant.num_classes,
            self.device,
            precision,
            self.fc_weights,
            self.threads,
            ", exact=True" if self.exact else "",
        )

    def _run(self, x: Any, softmax: bool, out: Any, stream: Any) -> Any:
        given = arrays.read(x, self._placement, stream)
        execution.check_batch(given, self.variant)
        return execution.run(self._net, self._placement, given, softmax, (), out)[0]

    def _warn_untrained(self) -> None:
        if not self.trained:
            warnings.warn("the weights are random, so the answer means nothing; pass weights=", stacklevel=3)

    def _at_most(self, topk: int) -> int:
        _check_topk(topk, "topk")
        return min(topk, self.variant.num_classes)

    def named(self, probabilities: np.ndarray, indices: np.ndarray) -> List[List[Prediction]]:
        """What :meth:`top_k` gave, ``[N, k]`` each, with the names of the classes."""
        names = self.labels or [str(i) for i in range(self.variant.num_classes)]
        return [
            [Prediction(names[index], float(value), int(index)) for value, index in zip(*row)]
            for row in zip(probabilities, indices)
        ]


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
    if not found.certain:
        warnings.warn("variant %s: %s" % (found.variant.name, found.note), stacklevel=3)
    return found.variant


def _labels(loaded: Optional[weights_files.Weights], variant: Variant) -> Optional[List[str]]:
    """The names of the classes: the file's own, ImageNet's for a network of its size, else None."""
    names = loaded.labels() if loaded else None
    if names is None and variant.num_classes == 1000:
        names = imagenet_labels.imagenet_labels()
    return names if names is not None and len(names) == variant.num_classes else None


def _check_topk(value: int, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError("%s must be a whole number above 0, not %r" % (name, value))


def _is_several(image: Any) -> bool:
    """Whether ``image`` is several images that are not prepared: a list of them, or bytes ``[N, H, W, C]``."""
    return isinstance(image, (list, tuple)) or (isinstance(image, np.ndarray) and image.ndim == 4)


def _is_batch(x: Any) -> bool:
    """Whether ``x`` is a preprocessed batch rather than images: four axes, or any array that is not numpy's. Bytes
    ``[N, H, W, C]`` are N images."""
    if isinstance(x, np.ndarray):
        return x.ndim == 4 and not (x.dtype == np.uint8 and x.shape[-1] in (1, 3, 4))
    return arrays.is_array(x)
