"""The public metric."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from .._util import arguments
from .._version import __version__
from ..errors import UserError
from ..runtime import device_spec
from . import conventions, heads, inputs
from .cache import FeatureCache
from .engine import Engine, Images, Source
from .features import Features
from .trunk import Given, Trunk

REDUCTIONS = (None, "none", "mean", "sum")
# Larger images are cut into tiles: at 1024 x 1024 an image's features are 43 MB, the network's own memory about 80.
TILE = 1024
MEMORY = 2 << 30  # bytes of features that matrix() holds

_REMADE = frozenset(("_engine", "_module", "_trunk", "cache"))  # by unpickling


class LPIPS:
    """Learned perceptual image patch similarity with AlexNet; small is alike, 0 is the same. Always in evaluation mode.

    The first arguments, up to ``verbose``, are those of ``lpips.LPIPS`` (package lpips 0.1.4), in its order.

    :param pretrained: must be True; your own heads go to ``heads``.
    :param net: ``"alex"``.
    :param version: ``"0.1"``, or ``"0.0"``, the first release, which does not scale its input.
    :param lpips: False: all channels of the heads weigh 1 (the "baseline" of the package).
    :param spatial: a distance for each pixel instead of their mean: ``[N, 1, H, W]``.
    :param pnet_rand: random instead of trained convolutions.
    :param pnet_tune: must be False: the convolutions are not trained here.
    :param use_dropout: is for training heads; it changes nothing.
    :param model_path: the same as ``heads``.
    :param eval_mode: must be True.
    :param verbose: changes nothing: nothing is printed.
    :param weights: of the convolutions: a path (that of ``fastalex convert --conv-only`` is 10 MB), a mapping of
        arrays, ``"random"``, or a name that :func:`fastalex.weights.registry.locate` knows. Default: torchvision's,
        downloaded once.
    :param heads: of the linear layers: a path, or a mapping of ``lin0.model.1.weight`` and so on to arrays. Default:
        the file in the installed package ``lpips`` or ``torchmetrics``, which is read, not imported.
    :param check_hash: refuse a file of heads that is not the published one of ``version``.
    :param eps: how features become unit vectors: ``"lpips"``, ``"torchmetrics"``, ``"piq"`` or ``"stargan-v2"``
        (:data:`CONVENTIONS`); with ``"piq"`` images are in [0, 1] unless ``normalize=False`` is passed.
    :param reduction: ``"mean"`` or ``"sum"`` over the batch; default: none.
    :param device: as for :class:`fastalex.AlexNet`.
    :param precision: of the convolutions: ``"fp32"``, ``"bf16"`` on a CPU, ``"fp16"`` on a GPU. Features are
        normalized, and distances summed up, in float32 and double in any case.
    :param threads: CPU threads one call may use; default: as many as this process may run on.
    :param exact: on a CPU, convolutions without Winograd's algorithm.
    :param range_check: ``"warn"``, ``"raise"`` or ``"off"``: what is done with images of a wrong range.
    :param tile: larger images are computed in tiles of this side, in pixels, with the overlap that makes the result
        the whole image's; None: never.
    :param cache_bytes: memory for features of the images seen last, which are recognized by their content.

    Images are numpy arrays or tensors of PyTorch, ``[N, 3, H, W]`` or ``[3, H, W]`` (one channel stands for three
    equal ones), floating-point in [-1, 1], in [0, 1] with ``normalize=True``, or uint8. Results are float32, of
    PyTorch if an image is. Where an image requires a gradient, PyTorch computes the distance, differentiably
    (:meth:`module`). One metric may be used from several threads at once.

    :raises UserError: for an argument that does not work, with one sentence that says what to do.
    :raises BackendError: if the device asked for cannot be used here.
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
        weights: Optional[Given] = None,
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
        given = "random" if pnet_rand else "torchvision" if weights is None else weights
        self._tile = None if tile is None else arguments.at_least("tile", tile, 64)
        self.cache = FeatureCache(cache_bytes) if arguments.at_least("cache_bytes", cache_bytes, 0) else None
        self._place(Trunk(given, device, *self._options), model_path if heads is None else heads, check_hash)

    def _place(self, trunk: Trunk, given: heads.Heads, check_hash: bool) -> None:
        self._trunk = trunk
        self.device, self.precision, self.threads = trunk.device.name, trunk.precision, trunk.threads
        self.heads: List[np.ndarray] = (
            heads.load(given, self.version, trunk.channels, check_hash)
            if self.lpips
            else [np.ones(count, np.float32) for count in trunk.channels]
        )
        self._engine = Engine(trunk, self.heads, self.version, self.convention, self._tile, self.cache)

    # The distance ---------------------------------------------------------------------------------------------------

    def __call__(self, in0: Any, in1: Any, retPerLayer: bool = False, normalize: Optional[bool] = None) -> Any:
        """The distance of each image of ``in0`` to that of ``in1``; a single one is compared with each of the other.

        :param in0: images, or :class:`Features` of images.
        :param in1: likewise, of the same size.
        :param retPerLayer: return ``(distance, [distance of each layer])``.
        :param normalize: the images are in [0, 1] instead of [-1, 1].
        :returns: float32 ``[N, 1, 1, 1]``; ``[N, 1, H, W]`` with ``spatial=True``; a scalar with a ``reduction``.
        :raises UserError: for wrong images; a NaN in them gives a NaN.
        """
        unit_range = self._unit_range(normalize)
        if self._wants_torch(in0, in1):
            return self._in_torch(in0, in1, retPerLayer, unit_range)
        a, b = self._sources(in0, in1, unit_range)
        _check_pairs(a, b)
        found = self._engine.pairs(a, b, self.spatial)
        layers = [mean[:, :, None, None] for mean in found.means]
        if self.spatial:
            layers = [inputs.bilinear(maps, *a.size)[:, None] for maps in found.maps]
        value, layers = self._reduced(sum(layers)), [self._reduced(layer) for layer in layers]
        value = inputs.like(value, (in0, in1))
        return (value, [inputs.like(layer, (in0, in1)) for layer in layers]) if retPerLayer else value

    def forward(self, in0: Any, in1: Any, retPerLayer: bool = False, normalize: Optional[bool] = None) -> Any:
        """:meth:`__call__` under the name that modules of PyTorch have for it."""
        return self(in0, in1, retPerLayer, normalize)

    def features(self, images: Any, normalize: Optional[bool] = None) -> Features:
        """What is compared of ``images``, for comparing it again and again: any method takes it instead of them."""
        (source,) = self._read((images,), self._unit_range(normalize))
        return source if isinstance(source, Features) else self._engine.features(source)

    def matrix(
        self, images: Any, others: Any = None, normalize: Optional[bool] = None, memory: Optional[int] = None
    ) -> Any:
        """The distance of each of N images to each of M others, float32 ``[N, M]``; without ``others`` to each other.

        The features of each image are computed once; where those of the smaller side take more than ``memory`` bytes
        (2 GiB), as seldom as these allow.

        :raises UserError: for wrong images.
        """
        memory = MEMORY if memory is None else arguments.at_least("memory", memory, 1)
        given = (images,) if others is None else (images, others)
        sources = self._read(given, self._unit_range(normalize))
        _check_sizes(sources)
        found = self._engine.matrix(sources[0], sources[1] if len(sources) > 1 else None, memory)
        return inputs.like(found.astype(np.float32), given)

    def one_to_many(self, image: Any, others: Any, normalize: Optional[bool] = None) -> Any:
        """The distance of one image to each of M others, float32 ``[M]``.

        :raises UserError: for wrong images, or more than one.
        """
        first = self.features(image, normalize)
        if len(first) != 1:
            raise UserError(f"one_to_many compares one image with others, not {len(first)}; use matrix")
        found = self.matrix(first, others, normalize)[0]
        return inputs.like(found, (image,)) if not inputs.is_tensor(found) else found

    # PyTorch --------------------------------------------------------------------------------------------------------

    def module(self) -> Any:
        """The metric as a ``torch.nn.Module`` that is differentiable in its images and has no parameters to train.

        It moves with ``.to(device)``, takes what :meth:`__call__` takes in PyTorch, and has the same weights.

        :raises UserError: where PyTorch is not installed.
        """
        from . import differentiable

        spec = differentiable.Spec(
            self.version, self.convention, self.spatial, self.reduction, self.range_check, self.precision
        )
        return differentiable.build(spec, self._trunk, self.heads, self._engine.fingerprint)

    def to(self, device: Any) -> LPIPS:
        """This metric, on ``device`` from now on: a name as :class:`fastalex.AlexNet` takes it, or a device of PyTorch.

        :raises UserError: for what is no device.
        :raises BackendError: if it cannot be used here.
        """
        name = str(device)
        chosen = device_spec.choose(name)
        if chosen.name != self.device:
            self._module = None
            self._place(Trunk(self._trunk.parameters(), name, *self._options), self._named_heads(), False)
        return self

    def __getstate__(self) -> Dict[str, Any]:
        """Everything but the native net and the cached features: options, and the weights as arrays."""
        state = {name: value for name, value in self.__dict__.items() if name not in _REMADE}
        weights = {"trunk": self._trunk.parameters(), "digest": self._trunk.digest}
        return {"fastalex": __version__, "attributes": state, **weights, "cache": self.cache and self.cache.capacity}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Make the native net anew on the device of the same name.

        :raises UserError: for a pickle of another version of fastalex.
        :raises BackendError: if the device cannot be used here.
        """
        if state.get("fastalex") != __version__:
            raise UserError(
                f"the pickle is of fastalex {state.get('fastalex')}, this is {__version__}: make the metric anew"
            )
        self.__dict__.update(state["attributes"])
        self.cache = None if state["cache"] is None else FeatureCache(state["cache"])
        trunk = Trunk(state["trunk"], self.device, *self._options)
        trunk.digest = state["digest"]
        self._place(trunk, self._named_heads(), False)

    def _named_heads(self) -> Dict[str, np.ndarray]:
        return {heads.NAME % k: head.reshape(1, -1, 1, 1) for k, head in enumerate(self.heads)}

    def cuda(self, index: int = 0) -> LPIPS:
        """:meth:`to` the GPU ``index``."""
        return self.to(f"cuda:{index}")

    def cpu(self) -> LPIPS:
        """:meth:`to` the CPU."""
        return self.to("cpu")

    def eval(self) -> LPIPS:
        """This metric, which is always in evaluation mode."""
        return self

    def train(self, mode: bool = True) -> LPIPS:
        """This metric, which is always in evaluation mode."""
        return self

    def requires_grad_(self, requires_grad: bool = True) -> LPIPS:
        """This metric, whose weights never require a gradient.

        :raises UserError: if they are to.
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

    def _wants_torch(self, *given: Any) -> bool:
        """Whether PyTorch computes it: for a gradient, or for tensors on the GPU of this metric."""
        if not any(inputs.is_tensor(x) for x in given):
            return False
        import torch

        gradient = torch.is_grad_enabled() and any(inputs.is_tensor(x) and x.requires_grad for x in given)
        return gradient or (self._trunk.device.gpu is not None and any(inputs.on_gpu(x) for x in given))

    # Arguments ------------------------------------------------------------------------------------------------------

    def _unit_range(self, normalize: Optional[bool]) -> bool:
        return self.convention.unit_range if normalize is None else bool(normalize)

    def _sources(self, in0: Any, in1: Any, unit_range: bool) -> Tuple[Source, Source]:
        first, second = self._read((in0, in1), unit_range)
        return first, second

    def _read(self, given: Sequence[Any], unit_range: bool) -> List[Source]:
        found: List[Source] = []
        for index, x in enumerate(given):
            if isinstance(x, Features):
                if x.fingerprint != self._engine.fingerprint:
                    raise UserError("these features come from another metric; compute them with this one")
                found.append(x)
            else:
                name = "the images" if len(given) == 1 else ("the first images", "the second images")[index]
                found.append(Images(inputs.read(x, name), unit_range))
        arrays = [source.array for source in found if isinstance(source, Images)]
        if self.range_check != "off":
            inputs.guard(inputs.extremes(arrays), unit_range, self.range_check)
        return found

    def _reduced(self, values: np.ndarray) -> np.ndarray:
        if self.reduction is not None:
            values = np.asarray(getattr(np, self.reduction)(values, dtype=np.float64))
        return values.astype(np.float32)

    def __repr__(self) -> str:
        return "LPIPS(net='alex', version=%r, eps=%r, device=%r, precision=%r, threads=%d)" % (
            self.version,
            self.eps,
            self.device,
            self.precision,
            self.threads,
        )


def _check_client_options(
    pretrained: bool,
    net: str,
    pnet_rand: bool,
    pnet_tune: bool,
    eval_mode: bool,
    weights: Optional[Given],
    model_path: Any,
    given_heads: Union[str, os.PathLike[str], Mapping[str, Any], None],
) -> None:
    if net != "alex":
        raise UserError(f"net must be 'alex', not {net!r}: for other networks use the package lpips")
    if not pretrained:
        raise UserError("pretrained=False has no meaning here; pass your own linear layers as heads=")
    if pnet_tune or not eval_mode:
        raise UserError("the network of LPIPS is not trained here; leave pnet_tune and eval_mode out")
    if pnet_rand and weights is not None:
        raise UserError("pnet_rand=True and weights= contradict each other; give one of them")
    if model_path is not None and given_heads is not None:
        raise UserError("model_path and heads are the same; give one of them")


def _check_sizes(sources: Sequence[Source]) -> None:
    sizes = [source.size for source in sources]
    if len(set(sizes)) > 1:
        raise UserError("the images are of %d x %d and of %d x %d; give images of one size" % (*sizes[0], *sizes[1]))


def _check_pairs(a: Source, b: Source) -> None:
    _check_sizes((a, b))
    if len(a) != len(b) and 1 not in (len(a), len(b)):
        raise UserError(f"{len(a)} images cannot be paired with {len(b)}; use matrix for all pairs")
