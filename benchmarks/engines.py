"""The engines that are compared: fastalex itself and its peers, and the files that each needs.

An engine takes a float32 NCHW numpy batch and gives float32 numpy logits; whatever change of layout or precision it
wants happens inside the timed call. Every package is imported inside the functions, when its own process asks for it.
"""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

FP32, BITS16, INT8 = "fp32", "16-bit", "int8 fc weights"
CLASSES = (FP32, BITS16, INT8)
WEIGHTS, TORCH_STATE = "weights.safetensors", "state.pt"


class Fastalex:
    """This package."""

    def __init__(self, spec: Mapping[str, Any], fc_weights: str) -> None:
        from fastalex import AlexNet

        self.make, self.spec, self.fc_weights = AlexNet, spec, fc_weights

    def load(self, batch: int) -> None:
        weights = os.path.join(self.spec["folder"], WEIGHTS)
        options = {"weights": weights, "device": "cpu", "fc_weights": self.fc_weights}
        self.run = self.make(self.spec["variant"], threads=self.spec["threads"], **options)


class Torch:
    """PyTorch: as it comes, with channels last, or compiled with frozen weights."""

    def __init__(self, spec: Mapping[str, Any], mode: str) -> None:
        import torch

        self.torch, self.spec, self.mode = torch, spec, mode
        torch.set_num_threads(spec["threads"])
        torch.set_num_interop_threads(1)

    def load(self, batch: int) -> None:
        model = torch_model(self.spec)
        if self.mode == "channels_last":
            model = model.to(memory_format=self.torch.channels_last)
        if self.mode == "compile":
            import torch._inductor.config

            torch._inductor.config.freezing = True
            self.torch._dynamo.reset()
            model = self.torch.compile(model, dynamic=False)
        self.model = model

    def run(self, x: np.ndarray) -> np.ndarray:
        with self.torch.inference_mode():
            images = self.torch.from_numpy(x)
            if self.mode == "channels_last":
                images = images.contiguous(memory_format=self.torch.channels_last)
            return self.model(images).numpy()


class OnnxRuntime:
    """onnxruntime's CPU provider with every graph optimisation."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        import onnxruntime

        self.package, self.spec = onnxruntime, spec

    def load(self, batch: int) -> None:
        options = self.package.SessionOptions()
        options.graph_optimization_level = self.package.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads, options.inter_op_num_threads = self.spec["threads"], 1
        self.session = self.package.InferenceSession(
            onnx_path(self.spec, batch), options, providers=["CPUExecutionProvider"]
        )

    def run(self, x: np.ndarray) -> np.ndarray:
        return self.session.run(None, {"x": x})[0]


class OpenVino:
    """OpenVINO, which by default computes in 16 bits where the processor can."""

    def __init__(self, spec: Mapping[str, Any], precision: Optional[str] = None) -> None:
        import openvino

        self.core, self.spec = openvino.Core(), spec
        self.options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": spec["threads"]}
        if precision:
            self.options["INFERENCE_PRECISION_HINT"] = precision

    def load(self, batch: int) -> None:
        compiled = self.core.compile_model(openvino_path(self.spec, batch), "CPU", self.options)
        self.precision = str(compiled.get_property("INFERENCE_PRECISION_HINT"))
        self.request = compiled.create_infer_request()

    def run(self, x: np.ndarray) -> np.ndarray:
        return self.request.infer({0: x}, share_inputs=True)[0]

    def numeric_class(self) -> str:
        return FP32 if "f32" in self.precision or "float32" in self.precision else BITS16


class OpenCv:
    """OpenCV's dnn module."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        import cv2

        self.package, self.spec = cv2, spec
        cv2.setNumThreads(spec["threads"])

    def load(self, batch: int) -> None:
        self.net = self.package.dnn.readNetFromONNX(onnx_path(self.spec, batch))

    def run(self, x: np.ndarray) -> np.ndarray:
        self.net.setInput(x)
        return self.net.forward()


class Ncnn:
    """ncnn, which has no batches: a batch is one image after another. By default it stores numbers in fp16."""

    def __init__(self, spec: Mapping[str, Any], fp16: bool) -> None:
        import ncnn

        self.package, self.spec, self.fp16 = ncnn, spec, fp16

    def load(self, batch: int) -> None:
        self.net = self.package.Net()
        options = self.net.opt
        options.num_threads = self.spec["threads"]
        if not self.fp16:
            options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
        stem = os.path.join(self.spec["folder"], "net.ncnn.")
        if self.net.load_param(stem + "param") or self.net.load_model(stem + "bin"):
            raise RuntimeError("ncnn cannot load the converted network")

    def run(self, x: np.ndarray) -> np.ndarray:
        return np.stack([self._one(image) for image in x])

    def _one(self, image: np.ndarray) -> np.ndarray:
        with self.net.create_extractor() as extractor:
            extractor.input("in0", self.package.Mat(image))
            return np.array(extractor.extract("out0")[1]).reshape(-1)


@dataclass(frozen=True)
class Engine:
    """One mode of one peer.

    ``numeric_class`` is what is compared with what (:data:`CLASSES`); an engine that finds out only when it has loaded
    tells it then. ``modules`` must be importable, ``distributions`` are the names under which pip may know the first
    of them, ``files`` are what :data:`CONVERSIONS` must have made, and ``slow`` engines are left out of quick runs.
    """

    name: str
    peer: str
    numeric_class: str
    make: Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    modules: Tuple[str, ...] = ()
    distributions: Tuple[str, ...] = ()
    files: Tuple[str, ...] = ()
    slow: bool = False


_TORCH = {"peer": "torch", "modules": ("torch",), "distributions": ("torch",), "files": ("torch",)}
_OPENVINO = {"peer": "openvino", "modules": ("openvino",), "distributions": ("openvino",), "files": ("openvino",)}
_NCNN = {"peer": "ncnn", "modules": ("ncnn", "pnnx", "torch"), "distributions": ("ncnn",), "files": ("torch", "ncnn")}
_OWN = {"peer": "fastalex", "modules": ("fastalex",), "distributions": ("fastalex",)}

#: Every engine by name, fastalex first.
ENGINES: Dict[str, Engine] = {
    engine.name: engine
    for engine in (
        Engine("fastalex fp32", numeric_class=FP32, make=Fastalex, options={"fc_weights": "fp32"}, **_OWN),
        Engine("fastalex fp16 fc", numeric_class=BITS16, make=Fastalex, options={"fc_weights": "fp16"}, **_OWN),
        Engine("fastalex int8 fc", numeric_class=INT8, make=Fastalex, options={"fc_weights": "int8"}, **_OWN),
        Engine("torch eager", numeric_class=FP32, make=Torch, options={"mode": "eager"}, **_TORCH),
        Engine("torch channels_last", numeric_class=FP32, make=Torch, options={"mode": "channels_last"}, **_TORCH),
        Engine("torch compile", numeric_class=FP32, make=Torch, options={"mode": "compile"}, slow=True, **_TORCH),
        Engine(
            "onnxruntime",
            "onnxruntime",
            FP32,
            OnnxRuntime,
            modules=("onnxruntime", "onnx"),
            distributions=("onnxruntime", "onnxruntime-gpu"),
            files=("onnx",),
        ),
        Engine("openvino f32", numeric_class=FP32, make=OpenVino, options={"precision": "f32"}, **_OPENVINO),
        Engine("openvino default", numeric_class=BITS16, make=OpenVino, **_OPENVINO),
        Engine(
            "opencv dnn",
            "opencv",
            FP32,
            OpenCv,
            modules=("cv2", "onnx"),
            distributions=("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless"),
            files=("onnx",),
        ),
        Engine("ncnn fp32", numeric_class=FP32, make=Ncnn, options={"fp16": False}, **_NCNN),
        Engine("ncnn fp16 storage", numeric_class=BITS16, make=Ncnn, options={"fp16": True}, **_NCNN),
    )
}
PEERS: Tuple[str, ...] = tuple(dict.fromkeys(engine.peer for engine in ENGINES.values() if engine.peer != "fastalex"))


def missing_module(engine: Engine) -> Optional[str]:
    """The first package that ``engine`` needs and that is not installed here."""
    for name in engine.modules:
        if importlib.util.find_spec(name) is None:
            return name
    return None


def onnx_path(spec: Mapping[str, Any], batch: int) -> str:
    return os.path.join(spec["folder"], "batch%d.onnx" % batch)


def openvino_path(spec: Mapping[str, Any], batch: int) -> str:
    return os.path.join(spec["folder"], "batch%d.xml" % batch)


def torch_model(spec: Mapping[str, Any]) -> Any:
    """The network in PyTorch with the weights of the comparison, memory-mapped."""
    import torch

    from fastalex import reference

    with torch.device("meta"):
        model = reference.build(spec["variant"])
    state = torch.load(os.path.join(spec["folder"], TORCH_STATE), mmap=True, weights_only=True)
    model.load_state_dict(state, assign=True)
    return model.eval().requires_grad_(False)


def write_weights(spec: Mapping[str, Any]) -> None:
    """Seeded random weights: the file of fastalex, from which every other file is made."""
    from fastalex import variants, weights
    from fastalex.weights import initial

    weights.save(os.path.join(spec["folder"], WEIGHTS), initial.random_weights(variants.get(spec["variant"])), {})


def write_onnx(spec: Mapping[str, Any]) -> None:
    """One graph for each batch: a fixed shape is what an engine optimises best."""
    from fastalex import onnx_graph, variants

    for batch in spec["batches"]:
        graph = onnx_graph.graph_of(variants.get(spec["variant"]), _arrays(spec), batch)
        with open(onnx_path(spec, batch), "wb") as file:
            file.write(graph.SerializeToString())


def write_openvino(spec: Mapping[str, Any]) -> None:
    """OpenVINO's own format with fp32 weights, which it loads faster than ONNX."""
    import openvino

    for batch in spec["batches"]:
        openvino.save_model(
            openvino.convert_model(onnx_path(spec, batch)), openvino_path(spec, batch), compress_to_fp16=False
        )


def write_torch(spec: Mapping[str, Any]) -> None:
    """The state dict as torch.save writes it."""
    import torch

    state = {name: torch.from_numpy(np.array(array)) for name, array in _arrays(spec).items()}
    torch.save(state, os.path.join(spec["folder"], TORCH_STATE))


def write_ncnn(spec: Mapping[str, Any]) -> None:
    """pnnx from PyTorch to ncnn, with normalisation in the form that pnnx knows."""
    import pnnx
    import torch

    from fastalex import layers, variants

    row = variants.get(spec["variant"])
    model = torch_model(spec)
    for path, layer in layers.module_paths(row):
        if layer.op == "lrn":
            folder, _, leaf = path.rpartition(".")
            setattr(model.get_submodule(folder), leaf, _local_response_norm(torch, layer.options))
    os.chdir(spec["folder"])  # pnnx writes its by-products into the current folder
    pnnx.export(model, "net.pt", (torch.from_numpy(spec["images"][:1]),), fp16=False)


def _local_response_norm(torch: Any, options: Mapping[str, Any]) -> Any:
    """torch.nn.LocalResponseNorm over each group of channels; its alpha is divided by the size."""
    groups = options["groups"]
    constants = (options["size"], options["alpha"] * options["size"], options["beta"], options["k"])

    class Norm(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = torch.nn.LocalResponseNorm(*constants)

        def forward(self, x: Any) -> Any:
            if groups == 1:
                return self.norm(x)
            return torch.cat([self.norm(part) for part in torch.chunk(x, groups, 1)], 1)

    return Norm()


def _arrays(spec: Mapping[str, Any]) -> Dict[str, np.ndarray]:
    from fastalex import weights

    return dict(weights.load(os.path.join(spec["folder"], WEIGHTS)).arrays)


#: What makes the files, in the order in which they need each other.
CONVERSIONS: Dict[str, Callable[[Mapping[str, Any]], None]] = {
    "weights": write_weights,
    "torch": write_torch,
    "onnx": write_onnx,
    "openvino": write_openvino,
    "ncnn": write_ncnn,
}
#: What else each needs, besides the weights.
NEEDS: Dict[str, Tuple[str, ...]] = {"openvino": ("onnx",), "ncnn": ("torch",)}


def conversions(engines: Sequence[Engine]) -> List[str]:
    """The names in :data:`CONVERSIONS` that ``engines`` need, in order."""
    wanted = {"weights"}
    for engine in engines:
        for name in engine.files:
            wanted.update((name, *NEEDS.get(name, ())))
    return [name for name in CONVERSIONS if name in wanted]


def version(engine: Engine) -> Optional[str]:
    """The version of the distribution; None where pip does not know it."""
    found = _distribution(engine.distributions)
    return found.version if found else None


def installed_mb(names: Sequence[str]) -> Optional[float]:
    """Size in 1e6 bytes of the first installed distribution of ``names`` and of all that it requires (no extras).

    None where none is installed, or pip did not note its files.
    """
    first = _distribution(names)
    if first is None or not first.files:
        return None
    seen: Dict[str, int] = {}
    todo = [first]
    while todo:
        one = todo.pop()
        key = re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower()
        if key in seen:
            continue
        paths = [str(one.locate_file(file)) for file in one.files or ()]
        seen[key] = sum(os.path.getsize(path) for path in paths if os.path.isfile(path))
        for requirement in one.requires or ():
            name, _, marker = requirement.partition(";")
            if "extra" not in marker:
                needed = _distribution([re.split(r"[^A-Za-z0-9._-]", name.strip())[0]])
                todo += [needed] if needed else []  # one that another system would need is not installed here
    return sum(seen.values()) / 1e6


def _distribution(names: Sequence[str]) -> Optional[metadata.Distribution]:
    for name in names:
        try:
            return metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
    return None
