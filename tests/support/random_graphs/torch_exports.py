"""Narrow AlexNets as torch.nn modules, exported to ONNX by either exporter. Oracles: onnxruntime, and the module in
float64, which must agree."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import logging
import math
import tempfile
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import nn

from . import cases
from .cases import Case, Impossible, Oddity
from .onnx_graphs import onnx_results

OPSETS = {"script": (13, 17), "dynamo": (18, 18)}


def has_dynamo() -> bool:
    """Whether the newer exporter's own package is here."""
    return importlib.util.find_spec("onnxscript") is not None


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, label: str, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.label, self.function = label, function

    def extra_repr(self) -> str:
        return self.label

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


class Draft:
    """A network as lists of modules; oddities change them."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.published = rng.random() < 0.5  # torchvision's, but for the widths
        self.columns = 1 if self.published else int(rng.choice([1, 2]))
        widths = [int(2 * rng.integers(2, 13)) for _ in range(5)]
        self.pad = 2 if self.published else int(rng.choice([0, 2]))
        groups = [1, self.columns, 1, self.columns, self.columns]
        reads, sizes = [3, *widths[:4]], ((11, 4, self.pad), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1))
        self.convs: List[Any] = [
            nn.Conv2d(one, out, kernel, stride, pad, groups=group)
            for one, out, (kernel, stride, pad), group in zip(reads, widths, sizes, groups)
        ]
        self.acts: List[Callable[[], nn.Module]] = [nn.ReLU if self.published or rng.random() < 0.8 else nn.Tanh] * 7
        ceil = not self.published and bool(rng.integers(2))
        self.pools: Dict[int, nn.Module] = {at: nn.MaxPool2d(3, 2, ceil_mode=ceil) for at in (0, 1, 4)}
        self.before: Dict[int, List[nn.Module]] = {}  # between a convolution and its activation
        self.behind: Dict[int, List[nn.Module]] = {}  # between the activation and the pool
        self.side = 224 if self.published else int(rng.integers(67, 132))
        self.classes = int(rng.integers(3, 13))
        self.hidden = [int(rng.integers(16, 41)), int(rng.integers(16, 41))]
        self.between: List[List[nn.Module]] = [[], []]
        self.inputs: List[nn.Module] = []
        self.head: List[nn.Module] = []
        self.middle: Optional[nn.Module] = None  # instead of the pool before the classifier
        self.biases = [True] * 3
        forms = (nn.Flatten(), Apply("view(size(0), -1)", lambda x: x.view(x.size(0), -1)))
        forms += (Apply("flatten(x, 1)", lambda x: torch.flatten(x, 1)),)
        forms += (Apply("reshape of sizes", lambda x: x.reshape(-1, x.size(1) * x.size(2) * x.size(3))),)
        self.flatten = forms[int(rng.integers(len(forms)))]
        self.dropout, self.dynamic, self.adaptive = bool(rng.integers(2)), bool(rng.integers(2)), bool(rng.integers(2))
        self.slope = 1.0

    def features(self) -> List[nn.Module]:
        found = list(self.inputs)
        for at, conv in enumerate(self.convs):
            found += [conv, *self.before.get(at, []), self.acts[at](), *self.behind.get(at, [])]
            found += [self.pools[at]] if at in self.pools else []
        return found

    def build(self) -> Tuple[nn.Sequential, nn.Sequential]:
        """The module that gives the logits, and the modules after it.

        :raises Impossible: if a map has no pixels.
        """
        features = nn.Sequential(*self.features())
        try:
            with torch.no_grad():
                shape = features(torch.zeros(1, 3, self.side, self.side)).shape
                middle: List[nn.Module] = [self.middle] if self.middle is not None else []
                if self.adaptive and not middle and shape[2] > 1:  # of one pixel it would be a global pool
                    middle = [nn.AdaptiveAvgPool2d(tuple(shape[2:]))]
                count = int(math.prod(nn.Sequential(*middle)(torch.zeros(shape)).shape[1:]))
        except RuntimeError:
            raise Impossible from None
        linear = [nn.Linear(one, out) for one, out in zip([count, *self.hidden], [*self.hidden, self.classes])]
        classifier: List[nn.Module] = []
        for at, layer in enumerate(linear):
            if not self.biases[at]:
                layer = nn.Linear(layer.in_features, layer.out_features, bias=False)
            classifier += [nn.Dropout()] * (self.dropout and at < 2) + [layer]
            if at < 2:
                classifier += [*self.between[at], self.acts[5 + at]()]
        net = nn.Sequential(features, *middle, self.flatten, nn.Sequential(*classifier))
        return net.eval(), nn.Sequential(*self.head).eval()


def _initialize(net: nn.Module, rng: np.random.Generator) -> Tuple[List[int], List[int]]:
    """Numbers of the seed in every parameter; the products of each layer's sums, and the side of its kernel."""
    products, sides = [], []
    for module in net.modules():
        weight = getattr(module, "weight", None)
        if not isinstance(weight, torch.Tensor):
            continue
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            fan = int(math.prod(weight.shape[1:]))
            products.append(fan)
            sides.append(int(weight.shape[-1]) if weight.dim() == 4 else 1)
            weight.data = torch.from_numpy(rng.normal(0, math.sqrt(2 / fan), tuple(weight.shape))).float()
        elif weight.dim() == 1:
            weight.data = torch.from_numpy(rng.uniform(0.1, 0.6, tuple(weight.shape))).float()
        if getattr(module, "bias", None) is not None:
            module.bias.data = torch.from_numpy(rng.normal(0, 0.2, tuple(module.bias.shape))).float()
        if getattr(module, "running_mean", None) is not None:
            module.running_mean.data = torch.from_numpy(rng.normal(0, 0.3, tuple(weight.shape))).float()
            module.running_var.data = torch.from_numpy(rng.uniform(0.5, 2, tuple(weight.shape))).float()
            module.weight.data += 0.5
    return products, sides


# Cases ----------------------------------------------------------------------------------------------------------------


def make_script(seed: int, names: Optional[Sequence[str]] = None) -> Case:
    """A case by ``torch.onnx.export(dynamo=False)``."""
    return _make(seed, "script", names)


def make_dynamo(seed: int, names: Optional[Sequence[str]] = None) -> Case:
    """A case by ``torch.onnx.export(dynamo=True)``, which needs the package onnxscript."""
    return _make(seed, "dynamo", names)


def _make(seed: int, exporter: str, names: Optional[Sequence[str]]) -> Case:
    from .torch_oddities import ODDITIES

    def draw(rng: np.random.Generator) -> Case:
        chosen = cases.choose_oddities(rng, ODDITIES, 1) if names is None else names
        draft = Draft(rng)
        for name in chosen:
            ODDITIES[name].change(draft)
        return _case(seed, draft, exporter, tuple(Oddity(name, ODDITIES[name].words) for name in chosen))

    return cases.first_possible(seed, draw)


def _case(seed: int, draft: Draft, exporter: str, oddities: Tuple[Oddity, ...]) -> Case:
    rng = draft.rng
    body, head = draft.build()
    products, sides = _initialize(body, rng)
    x = rng.standard_normal((2, 3, draft.side, draft.side)).astype(np.float32)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            logits = copy.deepcopy(body).double()(torch.from_numpy(x).double())
            result = head(logits)
        cases.check_alive(logits.numpy())
        low, high = OPSETS[exporter]
        opset = int(rng.integers(low, high + 1))
        data = exported(nn.Sequential(*body, *head).eval(), x, exporter, opset, draft.dynamic)
    finally:
        torch.set_num_threads(threads)
    tolerance = cases.tolerance_of(products, sides, draft.slope * float(logits.abs().max()))
    (runtime,) = onnx_results(data, x)  # what the file says; the exporter should have said what the module computes
    apart = np.abs(runtime - result.numpy()).max()
    assert apart <= tolerance, f"the export of seed {seed} is off by {apart:g}"
    words = " ".join(_label(module) for module in nn.Sequential(body, head).modules() if not list(module.children()))
    said = f"torch {exporter}, opset {opset}, {draft.side} pixels{', any batch' * draft.dynamic}: {words}"
    return Case(seed, "net.onnx", data, x, (runtime,), tolerance, said, oddities)


def _label(module: nn.Module) -> str:
    """A leaf of a network without what most of its kind have."""
    words = module.extra_repr().replace("in_features=", "").replace("out_features=", "").split(", ")
    kept = [word for word in words if word not in _USUAL]
    return f"{type(module).__name__}({', '.join(kept)})"


_USUAL = ("padding=0", "dilation=1", "ceil_mode=False", "bias=True", "inplace=False", "track_running_stats=True")


def exported(net: nn.Module, x: np.ndarray, exporter: str, opset: int, dynamic: bool) -> bytes:
    """The file's bytes. :raises Impossible: if the exporter does not have an operation."""
    given = torch.from_numpy(x)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "net.onnx"
        words: Dict[str, Any] = {"opset_version": opset}
        if exporter == "dynamo":
            words.update(dynamo=True, external_data=False, verbose=False)
            words.update({"dynamic_shapes": ({0: torch.export.Dim("batch")},)} if dynamic else {})
        else:
            words.update({"dynamo": False, "dynamic_axes": {"x": {0: "batch"}}} if dynamic else {"dynamo": False})
        try:
            torch.onnx.export(net, (given,), str(path), input_names=["x"], output_names=["y"], **words)
        except torch.onnx.errors.OnnxExporterError:
            raise Impossible from None
        return path.read_bytes()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence both exporters and the trace logs of the newer one, which take most of its time."""
    traces = logging.getLogger("torch.__trace")  # of which logging.disable says nothing
    level = traces.level
    logging.disable(logging.WARNING)
    traces.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
        traces.setLevel(level)
