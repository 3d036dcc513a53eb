"""The metric :class:`fastalex.LPIPS`."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from .._util import arguments, pickles
from ..errors import UserError
from ..networks import torch_reference
from ..runtime import device_spec
from . import conventions, heads, inputs
from .cache import FeatureCache
from .engine import Engine, Images, Source, total
from .features import Features
from .trunk import Trunk, WeightsSource

REDUCTIONS = (None, "none", "mean", "sum")
# Side above which images are cut into tiles: at 1024 x 1024 the features of an image are 43 MB, and the network itself
# uses about 80 MB.
TILE = 1024
MEMORY = 2 << 30  # bytes of features that matrix() keeps in memory

_REMADE = frozenset(("_engine", "_module", "_trunk", "cache"))  # by unpickling


class LPIPS:
    """Learned perceptual image patch similarity with AlexNet, a distance of images; 0 means equal.

    The first arguments, up to ``verbose``, are those of ``lpips.LPIPS`` (package lpips 0.1.4), in the same order.
    The metric is always in evaluation mode.

    :param pretrained: must be True; pass your own heads as ``heads``.
    :param net: ``"alex"``.
    :param version: ``"0.1"``, or ``"0.0"``, the first release, which does not scale its input.
    :param lpips: False: all weights of the heads are 1 (the "baseline" of the package).
    :param spatial: return a distance for each pixel, ``[N, 1, H, W]``, instead of their mean.
    :param pnet_rand: use random instead of trained convolutions.
    :param pnet_tune: must be False: the convolutions are not trained here.
    :param use_dropout: ignored; it is for training heads.
    :param model_path: the same as ``heads``.
    :param eval_mode: must be True.
    :param verbose: ignored; nothing is printed.
    :param weights: of the convolutions: a path (that of ``fastalex convert --conv-only`` is 10 MB), a mapping of
        arrays, ``"random"``, or a name that :func:`fastalex.weights.registry.locate` knows. Default: torchvision's,
        downloaded once.
    :param heads: of the linear layers: a path, or a mapping of ``lin0.model.1.weight`` and so on to arrays. Default:
        the file in the installed package ``lpips`` or ``torchmetrics``, which is read, not imported.
    :param check_hash: refuse a file of heads that is not the published one of ``version``.
    :param eps: convention for normalizing features: ``"lpips"``, ``"torchmetrics"``, ``"piq"`` or ``"stargan-v2"``
        (:data:`CONVENTIONS`); with ``"piq"``, images are in [0, 1] unless ``normalize=False`` is passed.
    :param reduction: ``"mean"`` or ``"sum"`` over the batch; default: none.
    :param device: as for :class:`fastalex.AlexNet`.
    :param precision: of the convolutions: ``"fp32"``, ``"bf16"`` on a CPU, ``"fp16"`` on a GPU. Features are always
        normalized in float32, and distances summed up in double.
    :param threads: number of CPU threads per call; default: as for :class:`~fastalex.AlexNet`.
    :param exact: on a CPU, convolutions without Winograd's algorithm.
    :param range_check: reaction to images in the wrong range: ``"warn"``, ``"raise"`` or ``"off"``.
    :param tile: side in pixels above which images are computed in tiles, which overlap so that the result is that of
        the whole image; None: no tiles.
    :param cache_bytes: memory for the features of recent images, which are recognized by their content.

    Images are numpy arrays or PyTorch tensors, ``[N, 3, H, W]`` or ``[3, H, W]`` (a single channel is used three
    times), floating-point in [-1, 1], in [0, 1] with ``normalize=True``, or uint8. Results are float32, and tensors
    if any of the images is one. If an image requires a gradient, PyTorch computes the distance, differentiably
    (:meth:`module`). A metric may be used from several threads at once.

    :raises UserError: for an argument that does not work, with one sentence that says what to do.
    :raises BackendError: if the requested device cannot be used here.
    """

    def __init__(
        self,
        pretrained: bool = True,
        net: str = "alex",
        version: str = "0.1",
        lpips: bool = True,
        spatial: bool = False,
        pnet_rand: bool = False,
        pnet_tune: bool = False,
        use_dropout: bool = True,
        model_path: Union[str, os.PathLike[str], None] = None,
        eval_mode: bool = True,
        verbose: bool = False,
        *,
        weights: Optional[WeightsSource] = None,
        heads: heads.Heads = None,
        check_hash: bool = True,
        eps: str = "lpips",
        reduction: Optional[str] = None,
        device: str = "auto",
        precision: str = "fp32",
        threads: Optional[int] = None,
        exact: bool = False,
        range_check: str = "warn",
        tile: Optional[int] = TILE,
        cache_bytes: int = 0,
    ) -> None:
        _check_client_options(pretrained, net, pnet_rand, pnet_tune, eval_mode, weights, model_path, heads)
        arguments.one_of("version", version, conventions.VERSIONS)
        arguments.one_of("eps", eps, list(conventions.CONVENTIONS))
        arguments.one_of("range_check", range_check, inputs.RANGE_CHECK_MODES)
        if reduction not in REDUCTIONS:
            raise UserError(f"reduction must be None, 'none', 'mean' or 'sum', not {reduction!r}")
        self.version, self.spatial, self.lpips, self.eps = version, bool(spatial), bool(lpips), eps
        self.reduction = None if reduction == "none" else reduction
        self.range_check = range_check
        self.convention = conventions.CONVENTIONS[eps]
        self._options = (precision, device_spec.thread_count(threads), exact)
        source = "random" if pnet_rand else "torchvision" if weights is None else weights
        self._tile = None if tile is None else arguments.at_least("tile", tile, 64)
        self.cache = FeatureCache(cache_bytes) if arguments.at_least("cache_bytes", cache_bytes, 0) else None
        self._set_trunk(Trunk(source, device, *self._options), model_path if heads is None else heads, check_hash)

    def _set_trunk(self, trunk: Trunk, source: heads.Heads, check_hash: bool) -> None:
        self._trunk = trunk
        self.device, self.precision, self.threads = trunk.device.name, trunk.precision, trunk.threads
        self.heads: List[np.ndarray] = (
            heads.load(source, self.version, trunk.channels, check_hash)
            if self.lpips
            else [np.ones(count, np.float32) for count in trunk.channels]
        )
        self._engine = Engine(trunk, self.heads, self.version, self.convention, self._tile, self.cache)

    # The distance ---------------------------------------------------------------------------------------------------

    def __call__(self, in0: Any, in1: Any, retPerLayer: bool = False, normalize: Optional[bool] = None) -> Any:
        """Compute the distances of image pairs. A single image on one side is compared with all on the other.

        :param in0: images, or :class:`Features` of images.
        :param in1: images or features of the same size.
        :param retPerLayer: return ``(distance, [distance of each layer])``.
        :param normalize: the images are in [0, 1] instead of [-1, 1].
        :returns: float32 ``[N, 1, 1, 1]``; ``[N, 1, H, W]`` with ``spatial=True``; a scalar with a ``reduction``. It
            is NaN for images with a NaN.
        :raises UserError: for images of the wrong type, shape or range.
        """
        unit_range = self._unit_range(normalize)
        if self._wants_torch(in0, in1):
            return self._in_torch(in0, in1, retPerLayer, unit_range)
        a, b = self._sources(in0, in1, unit_range)
        _check_pairs(a, b)
        distances = self._engine.pairs(a, b, self.spatial)
        layers = [mean[:, :, None, None] for mean in distances.means]
        if self.spatial:
            layers = [inputs.bilinear(maps, *a.size)[:, None] for maps in distances.maps]
        value, layers = self._reduced(total(layers)), [self._reduced(layer) for layer in layers]
        value = inputs.wrap_like(value, (in0, in1))
        return (value, [inputs.wrap_like(layer, (in0, in1)) for layer in layers]) if retPerLayer else value

    def forward(self, in0: Any, in1: Any, retPerLayer: bool = False, normalize: Optional[bool] = None) -> Any:
        """Do the same as :meth:`__call__`, under the method name of PyTorch modules."""
        return self(in0, in1, retPerLayer, normalize)

    def features(self, images: Any, normalize: Optional[bool] = None) -> Features:
        """Precompute the features of ``images``. Every method accepts them in place of images."""
        (source,) = self._read((images,), self._unit_range(normalize))
        return source if isinstance(source, Features) else self._engine.features(source)

    def matrix(
        self, images: Any, others: Any = None, normalize: Optional[bool] = None, memory: Optional[int] = None
    ) -> Any:
        """Compute the distance of each of N images to each of M others, float32 ``[N, M]``; default: of the N images.

        :param memory: bytes of memory for features, default 2 GiB. The features of each image are computed once; only
            if those of the smaller side need more memory, they are computed again.
        :raises UserError: for images of the wrong type, shape or range.
        """
        memory = MEMORY if memory is None else arguments.at_least("memory", memory, 1)
        batches = (images,) if others is None else (images, others)
        sources = self._read(batches, self._unit_range(normalize))
        _check_sizes(sources)
        distances = self._engine.matrix(sources[0], sources[1] if len(sources) > 1 else None, memory)
        return inputs.wrap_like(distances.astype(np.float32), batches)

    def one_to_many(self, image: Any, others: Any, normalize: Optional[bool] = None) -> Any:
        """Compute the distance of one image to each of M others, float32 ``[M]``.

        :raises UserError: for images of the wrong type, shape or range, or more than one ``image``.
        """
        first = self.features(image, normalize)
        if len(first) != 1:
            raise UserError(f"one_to_many compares one image with others, not {len(first)}; use matrix")
        distances = self.matrix(first, others, normalize)[0]
        return inputs.wrap_like(distances, (image,)) if not inputs.is_tensor(distances) else distances

    # PyTorch --------------------------------------------------------------------------------------------------------

    def module(self) -> Any:
        """Return the metric as a ``torch.nn.Module``, which is differentiable with respect to its images.

        It has copies of this metric's weights and takes the arguments of :meth:`__call__`. Its submodules, parameters,
        buffers and ``state_dict()`` have the names of those of ``lpips.LPIPS``. Two things differ: no parameter
        requires a gradient until ``requires_grad_()`` is called, and there is no dropout in training mode. Features are
        normalized and summed up in float32, also after ``half()``, and in float64 after ``double()``.

        :raises UserError: if PyTorch is not installed.
        """
        torch_reference.pytorch()
        from . import differentiable

        spec = differentiable.Spec(
            self.version, self.convention, self.spatial, self.reduction, self.range_check, self.precision, self.lpips
        )
        return differentiable.Module(spec, self._trunk, self.heads, self._engine.fingerprint)

    def to(self, device: Any) -> LPIPS:
        """Move this metric to ``device`` and return it.

        :param device: a name as for :class:`fastalex.AlexNet`, or a PyTorch device.
        :raises UserError: if there is no such device.
        :raises BackendError: if the device cannot be used here.
        """
        name = str(device)
        chosen = device_spec.choose(name)
        if chosen.name != self.device:
            self._module = None
            self._set_trunk(Trunk(self._trunk.parameters(), name, *self._options), self._named_heads(), False)
        return self

    def __getstate__(self) -> Dict[str, Any]:
        """Return the options and the weights as arrays; no native net and no cached features."""
        state = {name: value for name, value in self.__dict__.items() if name not in _REMADE}
        trunk, cache = self._trunk, self.cache and self.cache.capacity
        return pickles.stamped(attributes=state, trunk=trunk.parameters(), digest=trunk.digest, cache=cache)

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Make the native net anew on the device of the same name.

        :raises UserError: for a pickle of another version of fastalex.
        :raises BackendError: if the device cannot be used here.
        """
        pickles.check(state, "make the metric anew")
        self.__dict__.update(state["attributes"])
        self.cache = None if state["cache"] is None else FeatureCache(state["cache"])
        trunk = Trunk(state["trunk"], self.device, *self._options)
        trunk.digest = state["digest"]
        self._set_trunk(trunk, self._named_heads(), False)

    def _named_heads(self) -> Dict[str, np.ndarray]:
        return {heads.NAME % k: head.reshape(1, -1, 1, 1) for k, head in enumerate(self.heads)}

    def cuda(self, index: int = 0) -> LPIPS:
        """Move this metric to the GPU ``index`` and return it."""
        return self.to(f"cuda:{index}")

    def cpu(self) -> LPIPS:
        """Move this metric to the CPU and return it."""
        return self.to("cpu")

    def eval(self) -> LPIPS:
        """Return this metric unchanged: it is always in evaluation mode."""
        return self

    def train(self, mode: bool = True) -> LPIPS:
        """Return this metric unchanged: it is always in evaluation mode."""
        return self

    def requires_grad_(self, requires_grad: bool = True) -> LPIPS:
        """Return this metric unchanged: its weights never require a gradient.

        :raises UserError: if ``requires_grad`` is True.
        """
        if requires_grad:
            raise UserError("the weights of LPIPS are not trained here; use requires_grad_(False)")
        return self

    _module: Any = None

    def _in_torch(self, in0: Any, in1: Any, per_layer: bool, unit_range: bool) -> Any:
        if self._module is None:
            self._module = self.module()
        tensor = next(x for x in (in0, in1) if inputs.is_tensor(x))
        return self._module.to(tensor.device)(in0, in1, per_layer, unit_range)

    def _wants_torch(self, *sources: Any) -> bool:
        """Return whether PyTorch computes the distance: for a gradient, or for tensors on the GPU of this metric."""
        if not any(inputs.is_tensor(x) for x in sources):
            return False
        import torch

        gradient = torch.is_grad_enabled() and any(inputs.is_tensor(x) and x.requires_grad for x in sources)
        return gradient or (self._trunk.device.gpu is not None and any(inputs.on_gpu(x) for x in sources))

    # Arguments ------------------------------------------------------------------------------------------------------

    def _unit_range(self, normalize: Optional[bool]) -> bool:
        return self.convention.unit_range if normalize is None else bool(normalize)

    def _sources(self, in0: Any, in1: Any, unit_range: bool) -> Tuple[Source, Source]:
        first, second = self._read((in0, in1), unit_range)
        return first, second

    def _read(self, batches: Sequence[Any], unit_range: bool) -> List[Source]:
        sources: List[Source] = []
        for index, x in enumerate(batches):
            if isinstance(x, Features):
                if x.fingerprint != self._engine.fingerprint:
                    raise UserError("these features come from another metric; compute them with this one")
                sources.append(x)
            else:
                name = "the images" if len(batches) == 1 else ("the first images", "the second images")[index]
                sources.append(Images(inputs.read(x, name), unit_range))
        arrays = [source.array for source in sources if isinstance(source, Images)]
        if self.range_check != "off":
            inputs.guard(inputs.extremes(arrays), unit_range, self.range_check)
        return sources

    def _reduced(self, values: np.ndarray) -> np.ndarray:
        if self.reduction is not None:
            values = np.asarray(getattr(np, self.reduction)(values, dtype=np.float64))
        return values.astype(np.float32)

    def __repr__(self) -> str:
        return (
            f"LPIPS(net='alex', version={self.version!r}, eps={self.eps!r}, device={self.device!r}, "
            f"precision={self.precision!r}, threads={self.threads})"
        )


def _check_client_options(
    pretrained: bool,
    net: str,
    pnet_rand: bool,
    pnet_tune: bool,
    eval_mode: bool,
    weights: Optional[WeightsSource],
    model_path: Any,
    own_heads: heads.Heads,
) -> None:
    if net != "alex":
        raise UserError(f"net must be 'alex', not {net!r}: use the package lpips for other networks")
    if not pretrained:
        raise UserError("pretrained=False is not supported; pass your own linear layers as heads=")
    if pnet_tune or not eval_mode:
        raise UserError("the network of LPIPS is not trained here; leave pnet_tune and eval_mode out")
    if pnet_rand and weights is not None:
        raise UserError("pnet_rand=True and weights= contradict each other; pass one of them")
    if model_path is not None and own_heads is not None:
        raise UserError("model_path and heads are the same; pass one of them")


def _check_sizes(sources: Sequence[Source]) -> None:
    sizes = [source.size for source in sources]
    if len(set(sizes)) > 1:
        raise UserError(inputs.different_sizes(*sizes))


def _check_pairs(a: Source, b: Source) -> None:
    _check_sizes((a, b))
    if len(a) != len(b) and 1 not in (len(a), len(b)):
        raise UserError(f"{len(a)} images cannot be paired with {len(b)}; use matrix for all pairs")
