"""The base class of AlexNet: a native network with its parameters, its device and its kernels, without images."""

from __future__ import annotations

import copy
import json
import os
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from . import _core
from . import weights as weights_files
from ._util import arguments, pickles
from .errors import UserError
from .networks import taps
from .networks.architecture import Variant, module_paths
from .networks.layers import label_fused_steps, layer_table
from .quantize.calibration import Calibration, as_calibration, scales_for
from .runtime import arrays, device_spec, execution, native, precisions
from .runtime.device_array import DeviceArray
from .tuning import nets
from .weights import adapt, initial, quantized, resolve
from .weights.readers import mapped

if TYPE_CHECKING:
    from .weights.origin import Origin

_REMADE = frozenset(("_device", "_net", "_origin", "threads", "tuning"))  # by unpickling
PICKLED_BY = ("arrays", "path")


class Network:
    """The part of :class:`fastalex.AlexNet` that does not deal with images; AlexNet documents the options."""

    def __init__(
        self,
        variant: Union[str, Variant, None] = None,
        num_classes: Optional[int] = None,
        weights: Union[str, os.PathLike[str], Mapping[str, Any], None] = None,
        device: str = "auto",
        precision: str = "fp32",
        fc_weights: Optional[str] = None,
        threads: Optional[int] = None,
        exact: bool = False,
        fc_layout: Optional[str] = None,
        calibration: Union[Calibration, Mapping[str, float], None] = None,
        engine: Optional[str] = None,
        check: bool = True,
        mean_image: Union[str, os.PathLike[str], np.ndarray, None] = None,
        pickle_by: str = "arrays",
        mmap: bool = True,
        **overrides: Any,
    ) -> None:
        arguments.one_of("pickle_by", pickle_by, PICKLED_BY)
        self._device = device_spec.choose(device)
        self.engine = device_spec.check_engine(self._device, engine)
        self.device = self._device.name
        precisions.resolve(self._device, precision, fc_weights)  # fail before reading a file
        self.exact = device_spec.check_exact(self._device, exact)
        self.fc_layout = device_spec.check_fc_layout(self._device, fc_layout)
        self.threads = device_spec.thread_count(threads)
        loaded = resolve.load(weights, mmap)
        self._origin = _origin_of(loaded) if pickle_by == "path" else None
        stored = quantized.storage_of(loaded.arrays) if loaded else None
        self.precision, self.fc_weights = precisions.resolve(self._device, precision, fc_weights, stored)
        self.variant: Variant = resolve.variant(loaded, variant, num_classes, overrides, stacklevel=2)
        self.labels = resolve.labels(loaded, self.variant)
        self.trained = loaded is not None
        self.mean_image = self._mean_image(mean_image, loaded)
        self.calibration = loaded.calibration() if calibration is None and loaded else as_calibration(calibration)
        parameters = adapt.fit(loaded, self.variant) if loaded else initial.random_weights(self.variant)
        self._threads = threads
        self._build(parameters, loaded if check else None)
        if loaded:
            loaded.check_unchanged()

    def _mean_image(self, image: Any, loaded: Optional[weights_files.Weights]) -> Optional[np.ndarray]:
        """Return the mean image: the one that was given, else that of the weights file, if it has one."""
        if image is None:
            return loaded.mean_image() if loaded else None
        from .weights import mean_image

        return mean_image.given(image, self.variant)

    def _build(self, parameters: Mapping[str, Any], loaded: Optional[weights_files.Weights] = None) -> None:
        """Make the native net; hold it against the graph of the file that it was ``loaded`` from, if that has one."""
        params = initial.check(self.variant, parameters, self.fc_weights)
        if loaded and loaded.graph:
            from .selftest import files

            files.check(loaded, self.variant, parameters)
        with mapped.reading_once(parameters.values()):
            self._net, self.tuning = self._make(params)

    @property
    def pickle_by(self) -> str:
        """What a pickle carries: ``"arrays"``, the weights, or ``"path"``, where their file is."""
        return "arrays" if self._origin is None else "path"

    def __getstate__(self) -> Dict[str, Any]:
        """Return the options, a subclass's attributes, and the parameters as they are stored or where their file is.

        :raises UserError: if the file is no longer the one that was loaded.
        """
        state = {name: value for name, value in self.__dict__.items() if name not in _REMADE}
        if self._origin is None:
            return pickles.stamped(attributes=state, parameters=self._parameters_for(self.fc_weights))
        if self._origin.has_mean_image(self.mean_image):
            del state["mean_image"]
        return pickles.stamped(attributes=state, files=self._origin.references())

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Make the net anew on the device of the same name.

        :raises UserError: for a pickle of another version of fastalex, or of a file that is not the same here.
        :raises BackendError: if the device cannot be used here.
        """
        pickles.check(state, "save the weights with net.save")
        self.__dict__.update(state["attributes"])
        self._device = device_spec.choose(self.device)
        self.threads = device_spec.thread_count(self._threads)
        self._origin = None
        self._build(state["parameters"] if "parameters" in state else self._load_again(state["files"]))

    def _load_again(self, files: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return the parameters in the ``files`` that a pickle refers to; set the attributes that are from them."""
        from .weights import origin  # few programs need it

        loaded, self._origin = origin.load_again(files)
        if "mean_image" not in self.__dict__:
            self.mean_image = loaded.mean_image()
        return adapt.fit(loaded, self.variant)

    def __copy__(self) -> Network:
        return self._copied(lambda state, other: state)

    def __deepcopy__(self, memo: Dict[int, Any]) -> Network:
        def deeply(state: Dict[str, Any], other: Network) -> Dict[str, Any]:
            memo[id(self)] = other  # an attribute may refer to this network
            return copy.deepcopy(state, memo)

        return self._copied(deeply)

    def _copied(self, duplicate: Callable[[Dict[str, Any], Network], Dict[str, Any]]) -> Network:
        """Return a network with the same options and arrays; unlike a pickle it needs no file."""
        source, other = (type(self).__new__(type(self)) for _ in range(2))
        source.__dict__.update(self.__dict__, _origin=None)
        other.__setstate__(duplicate(source.__getstate__(), other))
        other._origin = self._origin
        return other

    def _parameters_for(self, storage: str) -> Dict[str, Any]:
        """Return the parameters: float32 arrays, or quantized weights as they are kept in ``storage``."""
        as_kept = quantized.fc_channels(self.variant) if storage == self.fc_weights in quantized.STORAGES else {}
        parameters: Dict[str, Any] = {}
        for index, (name, shape) in enumerate(self.variant.parameter_shapes().items()):
            if name in as_kept:
                values, scale = self._net.quantized(index, shape[0])
                parameters[name] = quantized.QuantizedWeight(values, scale, (shape[0], shape[1]), as_kept[name])
            else:
                parameters[name] = self._net.param(index).reshape(shape)
        return parameters

    def _make(self, params: Sequence[Any]) -> Tuple[_core.Net, str]:
        """Make the native net; return it and the source of its tuning rules."""
        size = self.variant.input_size
        scales = scales_for(self.variant, self.calibration) if self.precision == "int8" else None
        table = layer_table(self.variant.layers(), scales)
        shape = (self.variant.channels, size, size)

        def make(tuning: str) -> _core.Net:
            options = (self.precision, self.fc_weights, self.threads, tuning, self.exact, self.fc_layout)
            return native.make(table, shape, params, self._device, *options)

        return nets.make(make, self._device, self.engine, size, stacklevel=3)

    def _run(self, x: Any, stream: Any = None, any_size: bool = False, **options: Any) -> List[Any]:
        """Run a batch and return the results; ``options`` are those of :func:`.execution.run`."""
        view = arrays.read(x, self._device, stream)
        execution.check_batch(view, self.variant, any_size)
        return execution.run(self._net, self._device, view, **options)

    def _request(self, batch: int, **options: Any) -> _core.Call:
        """Make a call that describes a batch of images of the network's own size, without their pixels."""
        size = self.variant.input_size
        return _core.Call(shape=(batch, size, size), **options)

    def to_device(self, array: np.ndarray) -> DeviceArray:
        """Copy a numpy array to the GPU of the network.

        :param array: of any shape; its values are converted to float32.
        :returns: a :class:`~fastalex.DeviceArray` of the same shape, which :meth:`AlexNet.__call__` takes.
        :raises UserError: if the device computes in host memory.
        """
        if self._device.gpu is None:
            raise UserError(f"device='{self.device}' computes in host memory; pass the numpy array itself")
        values = np.asarray(array, np.float32)
        buffer = _core.DeviceBuffer(self._net, values.nbytes)
        return DeviceArray(buffer, values.shape, self._device.index).copy_from(values)

    def kernels(self, batch: int = 1, names: Sequence[str] = ()) -> Dict[str, Any]:
        """List the kernels that compute a batch of images of the network's own size.

        >>> from fastalex import AlexNet
        >>> net = AlexNet(weights="digits", device="cpu")
        >>> [step["layers"] for step in net.kernels()["steps"]][:2]
        [['conv1', 'relu1'], ['norm1', 'pool1']]

        :param batch: the number of images, at least 1.
        :param names: layers to read out, as for :meth:`AlexNet.taps`. Default: none, the whole network runs.
        :returns: a dict with ``graph``, whether the call runs as one CUDA graph, and ``steps``, a dict for each fused
            step: its ``layers``, the chosen ``candidate`` and its ``kernels``. On a GPU kernels have their threads,
            shared memory and grid, and ``candidates`` lists the alternatives.
        :raises UserError: for a name that the network does not have, or a batch below 1.
        """
        layers = list(dict.fromkeys(taps.resolve(self.variant, list(names))))
        description: Dict[str, Any] = json.loads(self._net.describe(self._request(batch, taps=layers)))
        label_fused_steps(self.variant.layers(), description["steps"])
        return description

    def profile(self, x: Any) -> List[Tuple[str, float]]:
        """Run a batch and measure the time of each step.

        :param x: float32 ``[N, C, H, W]`` in host memory, as for :meth:`AlexNet.__call__`.
        :returns: for each step, the name of its last layer and its seconds; :meth:`kernels` lists all layers of a
            step. Steps that run together have their time at the last one, and the others have 0.
        :raises UserError: for a wrong type, dtype, shape or image size.
        """
        view = arrays.read(x, self._device)
        execution.check_batch(view, self.variant)
        return self._net.profile(execution.request(view))

    def state_dict(self) -> Dict[str, np.ndarray]:
        """Return the parameters: name -> new float32 array, dequantized if the network keeps it in fewer bits.

        >>> from fastalex import AlexNet
        >>> AlexNet(weights="digits", device="cpu").state_dict()["conv1.weight"].shape
        (24, 3, 11, 11)
        """
        return {name: self.get_parameter(name) for name in self.variant.parameter_shapes()}

    def get_parameter(self, target: str) -> np.ndarray:
        """Return one parameter as :meth:`state_dict` does, a new array, without copying the others.

        >>> from fastalex import AlexNet
        >>> AlexNet(weights="digits", device="cpu").get_parameter("fc8.bias").shape
        (10,)

        :raises UserError: for a name that is not in :meth:`state_dict`.
        """
        shapes = self.variant.parameter_shapes()
        if target not in shapes:
            raise UserError(f"there is no parameter {target!r:.80}; there are: {', '.join(shapes)}")
        values: np.ndarray = self._net.param(list(shapes).index(target)).reshape(shapes[target])
        return values

    def named_modules(self) -> Iterator[Tuple[str, Any]]:
        """Iterate over the names of the modules, in the order of a PyTorch module's ``named_modules()``.

        >>> from fastalex import AlexNet
        >>> [name for name, _ in AlexNet(weights="digits", device="cpu").named_modules()][:4]
        ['', 'conv1', 'relu1', 'norm1']

        Those of ``torchvision`` are torchvision's, ``features.0`` and so on; other networks have their layers'. ``""``
        comes with this network, ``features`` and ``classifier`` with lists of layers, and every other name with its
        :class:`~fastalex.networks.layers.Layer`.
        """
        yield "", self
        paths = module_paths(self.variant)
        blocks: Dict[str, List[Any]] = {}
        for path, layer in paths:
            blocks.setdefault(path.split(".")[0], []).append(layer)
        for path, layer in paths:
            block = path.split(".")[0]
            if block != path and block in blocks:
                yield block, blocks.pop(block)
            yield path, layer

    def fingerprint(self) -> str:
        """Return the SHA-256 of the names, shapes and float32 values of the parameters, as 64 hexadecimal digits."""
        import hashlib  # takes 4 MB of memory, and most programs do not need it

        digest = hashlib.sha256()
        for index, (name, shape) in enumerate(self.variant.parameter_shapes().items()):
            values = self._net.param(index) + np.float32(0)  # a zero has one sign
            digest.update(repr((name, tuple(shape))).encode() + values.tobytes())
        return digest.hexdigest()

    def save(self, path: Union[str, os.PathLike[str]], fc_weights: str = "fp32") -> None:
        """Write the network to a file that ``AlexNet(weights=path)`` reads.

        The file has the parameters, the variant, the labels, the calibration and the mean image.

        :param path: a name that ends in ``.safetensors`` or ``.npz``.
        :param fc_weights: format of the fully connected weights in the file: ``"fp32"``, or ``"int8"`` or ``"int4"``, a
            quarter and an eighth of the size (:mod:`fastalex.weights.quantized`). Weights that the network keeps in
            this format already are written without another rounding.
        :raises UserError: for another suffix or format, a file that cannot be written, or weights that cannot be
            quantized, for instance NaN.
        """
        arguments.one_of("fc_weights", fc_weights, ("fp32", *quantized.STORAGES))
        parameters = self._parameters_for(fc_weights)
        metadata = weights_files.metadata_for(self.variant, self.labels, self.calibration, self.mean_image)
        if fc_weights != "fp32":
            parameters, added = quantized.to_file(parameters, self.variant, fc_weights)
            metadata.update(added)
        weights_files.save(path, parameters, metadata)

    def save_engine(self, path: Union[str, os.PathLike[str]], batch: int = 1, softmax: bool = False) -> None:
        """Write the TensorRT engine for up to ``batch`` images, for trtexec and other programs.

        The input of the engine is ``x``, float32 ``[N, C, H, W]``; its output is ``y0``, float32 ``[N, num_classes]``,
        possibly followed by axes of length 1. The engine works on this model of GPU and this release of
        TensorRT alone; one with plugins needs ``libfastalex_tensorrt<major>.so`` in the program that loads it.

        :param softmax: output probabilities instead of logits.
        :raises UserError: if the device is not ``tensorrt``, or the file cannot be written.
        """
        if not self._device.engines:
            raise UserError(f"device='{self.device}' has no engines; use device='tensorrt'")
        self._net.save_engine(self._request(batch, softmax=softmax), os.fsencode(path))

    @property
    def param_bytes(self) -> int:
        """Bytes of memory of the packed parameters."""
        return self._net.param_bytes

    def __repr__(self) -> str:
        precision = "" if self.precision == "fp32" else f"precision={self.precision!r}, "
        exact = ", exact=True" if self.exact else ""
        return (
            f"AlexNet({self.variant.name!r}, num_classes={self.variant.num_classes}, device={self.device!r}, "
            f"{precision}fc_weights={self.fc_weights!r}, threads={self.threads}{exact})"
        )


def _origin_of(loaded: Optional[weights_files.Weights]) -> Origin:
    from .weights import origin  # few programs need it

    return origin.of(loaded)
