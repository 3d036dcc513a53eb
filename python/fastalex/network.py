"""A native network and what belongs to it: its parameters, its device, the kernels that serve it."""

from __future__ import annotations

import json
import os
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from . import _core
from . import weights as weights_files
from ._util import arguments
from ._version import __version__
from .errors import UserError
from .networks import taps
from .networks.architecture import Variant
from .networks.layers import label_fused_steps, layer_table
from .quantize.calibration import Calibration, as_calibration, scales_for
from .runtime import arrays, device_spec, execution, native, precisions
from .runtime.device_array import DeviceArray
from .tuning import nets
from .weights import adapt, initial, quantized, resolve
from .weights.readers import mapped

_REMADE = frozenset(("_device", "_net", "_quantized", "threads", "tuning"))  # by unpickling


class Network:
    """The part of :class:`fastalex.AlexNet` that knows no pictures; the options are described there."""

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
        self._device = device_spec.choose(device)
        self.engine = device_spec.check_engine(self._device, engine)
        self.device = self._device.name
        precisions.resolve(self._device, precision, fc_weights)  # before a file is looked for
        self.exact = device_spec.check_exact(self._device, exact)
        self.threads = device_spec.thread_count(threads)
        loaded = resolve.load(weights)
        stored = quantized.storage_of(loaded.arrays) if loaded else None
        self.precision, self.fc_weights = precisions.resolve(self._device, precision, fc_weights, stored)
        self.variant: Variant = resolve.variant(loaded, variant, num_classes, overrides, stacklevel=2)
        self.labels = resolve.labels(loaded, self.variant)
        self.trained = loaded is not None
        self.mean_image = loaded.mean_image() if loaded else None
        self.calibration = loaded.calibration() if calibration is None and loaded else as_calibration(calibration)
        parameters = adapt.fit(loaded, self.variant) if loaded else initial.random_weights(self.variant)
        self._threads = threads
        self._build(parameters, loaded if check else None)

    def _build(self, parameters: Mapping[str, Any], loaded: Optional[weights_files.Weights] = None) -> None:
        """Make the native net; hold it against the graph of the file that it was ``loaded`` from, if that has one."""
        params = initial.check(self.variant, parameters, self.fc_weights)
        if loaded and loaded.graph:
            from .selftest import files

            files.check(loaded, self.variant, parameters)
        with mapped.reading_once(parameters.values()):
            self._net, self.tuning = self._make(params)
        self._quantized = quantized.original_quantized(parameters, self.fc_weights)

    def __getstate__(self) -> Dict[str, Any]:
        """Everything but the native net: options, parameters as they are stored, and what a subclass has added."""
        state = {name: value for name, value in self.__dict__.items() if name not in _REMADE}
        return {"fastalex": __version__, "attributes": state, "parameters": self._parameters_for(self.fc_weights)}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Make the net anew on the device of the same name.

        :raises UserError: for a pickle of another version of fastalex.
        :raises BackendError: if the device cannot be used here.
        """
        version = state.get("fastalex")
        if version != __version__:
            raise UserError(
                f"the pickle is of fastalex {version}, this is {__version__}: save the weights with net.save"
            )
        self.__dict__.update(state["attributes"])
        self._device = device_spec.choose(self.device)
        self.threads = device_spec.thread_count(self._threads)
        self._build(state["parameters"])

    def _parameters_for(self, storage: str) -> Dict[str, Any]:
        """The parameters as float32 arrays; fully connected weights that are kept in ``storage``, quantized, as they are."""
        parameters: Dict[str, Any] = self.state_dict()
        if storage in quantized.STORAGES and storage == self.fc_weights:
            parameters = {**quantized.restore(parameters, self.variant, storage), **self._quantized}
        return parameters

    def _make(self, params: Sequence[Any]) -> Any:
        """The native net, and where its tuning rules come from."""
        size = self.variant.input_size
        scales = scales_for(self.variant, self.calibration) if self.precision == "int8" else None
        table = layer_table(self.variant.layers(), scales)
        shape = (self.variant.channels, size, size)

        def make(tuning: str) -> _core.Net:
            options = (self.precision, self.fc_weights, self.threads, tuning, self.exact)
            return native.make(table, shape, params, self._device, *options)

        return nets.make(make, self._device, self.engine, size, stacklevel=3)

    def _run(self, x: Any, stream: Any = None, any_size: bool = False, **asked: Any) -> List[Any]:
        """The results of a batch; ``asked`` are options of :func:`.execution.run`."""
        view = arrays.read(x, self._device, stream)
        execution.check_batch(view, self.variant, any_size)
        return execution.run(self._net, self._device, view, **asked)

    def _request(self, batch: int, **asked: Any) -> _core.Call:
        """A call for a batch of images of the network's own size, without them."""
        size = self.variant.input_size
        return _core.Call(shape=(batch, size, size), **asked)

    def to_device(self, array: np.ndarray) -> DeviceArray:
        """A float32 copy of a numpy array in the memory of the net's GPU.

        :raises UserError: on a device that computes in host memory.
        """
        if self._device.gpu is None:
            raise UserError(f"device='{self.device}' computes in host memory; pass the numpy array itself")
        values = np.asarray(array, np.float32)
        buffer = _core.DeviceBuffer(self._net, values.nbytes)
        return DeviceArray(buffer, values.shape, self._device.index).copy_from(values)

    def kernels(self, batch: int = 1, names: Sequence[str] = ()) -> Dict[str, Any]:
        """Which kernels serve the layers for a batch of images of the network's own size.

        :param names: layers to read out, as for :meth:`AlexNet.taps`.
        :returns: ``graph``, whether it all is one CUDA graph, and ``steps``: for each its ``layers``, the ``candidate``
            that was chosen, its ``kernels`` with threads, shared memory and grid, and the other ``candidates``.
        """
        layers = list(dict.fromkeys(taps.resolve(self.variant, list(names))))
        described = json.loads(self._net.describe(self._request(batch, taps=layers)))
        label_fused_steps(self.variant.layers(), described["steps"])
        return described

    def profile(self, x: Any) -> List[Tuple[str, float]]:
        """Seconds of each step of one run, under the name of its last layer; :meth:`kernels` lists all of its layers.

        Steps that are done together have their time at the last of them, the others 0.

        :param x: a batch in host memory, as :meth:`AlexNet.__call__` takes it.
        :raises UserError: for a wrong type, dtype, shape or size.
        """
        view = arrays.read(x, self._device)
        execution.check_batch(view, self.variant)
        return self._net.profile(execution.request(view))

    def state_dict(self) -> Dict[str, np.ndarray]:
        """Parameter name -> new float32 array, dequantized where the weights are kept in fewer bits."""
        shapes = self.variant.parameter_shapes()
        return {name: self._net.param(i).reshape(shape) for i, (name, shape) in enumerate(shapes.items())}

    def fingerprint(self) -> str:
        """SHA-256 of the parameters' names, shapes and values, in hexadecimal."""
        import hashlib  # takes 4 MB, which those who only classify can do without

        digest = hashlib.sha256()
        for index, (name, shape) in enumerate(self.variant.parameter_shapes().items()):
            values = self._net.param(index) + np.float32(0)  # a zero has one sign
            digest.update(repr((name, tuple(shape))).encode() + values.tobytes())
        return digest.hexdigest()

    def save(self, path: Union[str, os.PathLike], fc_weights: str = "fp32") -> None:
        """Writes the parameters, the variant, the labels and the calibration to a ``.safetensors`` or ``.npz`` file.

        :param fc_weights: how the fully connected weights are written: ``"fp32"``, or ``"int8"`` or ``"int4"``, a
            quarter and an eighth of the size, which load without another conversion
            (:mod:`fastalex.weights.quantized`). Weights that the net keeps so are written as they are.
        :raises UserError: if the file cannot be written, or a weight has no level.
        """
        arguments.one_of("fc_weights", fc_weights, ("fp32", *quantized.STORAGES))
        parameters = self._parameters_for(fc_weights)
        metadata = weights_files.metadata_for(self.variant, self.labels, self.calibration, self.mean_image)
        if fc_weights != "fp32":
            parameters, added = quantized.to_file(parameters, self.variant, fc_weights)
            metadata.update(added)
        weights_files.save(path, parameters, metadata)

    def save_engine(self, path: Union[str, os.PathLike], batch: int = 1, softmax: bool = False) -> None:
        """Writes the TensorRT engine for up to ``batch`` images, for trtexec and other programs.

        Its input is ``x``, float32 ``[N, C, H, W]``, its output ``y0``, float32 ``[N, num_classes]`` with any number of
        ones behind. It serves this GPU and this release of TensorRT; one with plugins needs
        ``libfastalex_tensorrt<major>.so`` where it is loaded.

        :param softmax: the output is probabilities.
        :raises UserError: on another device, or if the file cannot be written.
        """
        if not self._device.engines:
            raise UserError(f"device='{self.device}' has no engines; use device='tensorrt'")
        self._net.save_engine(self._request(batch, softmax=softmax), os.fspath(path))

    @property
    def param_bytes(self) -> int:
        """Bytes of memory that the packed parameters take."""
        return self._net.param_bytes

    def __repr__(self) -> str:
        precision = "" if self.precision == "fp32" else f"precision={self.precision!r}, "
        return "AlexNet(%r, num_classes=%d, device=%r, %sfc_weights=%r, threads=%d%s)" % (
            self.variant.name,
            self.variant.num_classes,
            self.device,
            precision,
            self.fc_weights,
            self.threads,
            ", exact=True" if self.exact else "",
        )
