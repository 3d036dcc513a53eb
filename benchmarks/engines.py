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

# Classes of arithmetic, of activations and of the fully connected weights; FC8: fp32 activations, 8-bit fully connected
# weights. BITS16: 16-bit activations; weights of 16 or 8 bits, whichever is faster.
FP32, FC8, BITS16, INT8 = "fp32", "int8 fc weights", "16-bit", "int8"
#: The classes in which engines are compared.
CLASSES = (FP32, FC8, BITS16, INT8)
# More that fastalex can do; there is nothing that computes alike to compare it with, or nothing is claimed of it.
FC4, FC16, BF16, INT8_FC4 = "int4 fc weights", "fp16 fc weights", "bf16 weights", "int8, int4 fc weights"

#: What the cpu backend offers: (precision, fully connected weights) -> the class.
MODES: Dict[Tuple[str, str], str] = {
    ("fp32", "fp32"): FP32,
    ("fp32", "fp16"): FC16,
    ("fp32", "int8"): FC8,
    ("fp32", "int4"): FC4,
    ("bf16", "bf16"): BF16,
    ("bf16", "int8"): BITS16,
    ("int8", "int8"): INT8,
    ("int8", "int4"): INT8_FC4,
}
WEIGHTS, TORCH_STATE = "weights.safetensors", "state.pt"
CALIBRATION_IMAGES = 8  # random ones, as the timed images are: it costs seconds, and says nothing about accuracy


def mode_name(precision: str, fc_weights: str) -> str:
    """``fp32``, ``fp32, int8 fc``: how a mode is called in the tables."""
    return precision if precision == fc_weights else "%s, %s fc" % (precision, fc_weights)


def weights_file(precision: str, fc_weights: str) -> str:
    """The file that a mode loads: one that holds fully connected weights of 8 or 4 bits already, and the steps of the
    activations for precision int8, where it wants such; else the fp32 file.
    """
    if precision != "int8" and fc_weights not in ("int8", "int4"):
        return WEIGHTS
    return "%s-%s.safetensors" % ("int8" if precision == "int8" else "any", fc_weights)


class Fastalex:
    """This package."""

    def __init__(self, spec: Mapping[str, Any], precision: str, fc_weights: str) -> None:
        from fastalex import AlexNet

        weights = os.path.join(spec["folder"], weights_file(precision, fc_weights))
        options = {"weights": weights, "device": "cpu", "precision": precision, "fc_weights": fc_weights}
        self.make = lambda: AlexNet(spec["variant"], threads=spec["threads"], **options)

    def load(self, batch: int) -> None:
        self.run = self.make()

    def steps(self, batch: int) -> Optional[List[Dict[str, Any]]]:
        return steps_of(self.run, batch)


def steps_of(net: Any, batch: int) -> Optional[List[Dict[str, Any]]]:
    """What each step of a network of fastalex costs (``AlexNet.kernels``); None where the engine does not tell."""
    from fastalex.errors import BackendError, UserError

    try:
        steps = net.kernels(batch)["steps"]
    except (BackendError, UserError):
        return None
    keys = ("layers", "products", "numeric", "weight_bytes", "format")
    return [{key: step[key] for key in keys if key in step} for step in steps]


class Torch:
    """PyTorch: as it comes, with channels last, or compiled with frozen weights, in fp32 or bf16."""

    def __init__(self, spec: Mapping[str, Any], mode: str, dtype: str = "float32") -> None:
        import torch

        self.torch, self.spec, self.mode, self.dtype = torch, spec, mode, getattr(torch, dtype)
        torch.set_num_threads(spec["threads"])
        torch.set_num_interop_threads(1)

    def load(self, batch: int) -> None:
        model = torch_model(self.spec).to(self.dtype)
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
            images = self.torch.from_numpy(x).to(self.dtype)
            if self.mode == "channels_last":
                images = images.contiguous(memory_format=self.torch.channels_last)
            return self.model(images).float().numpy()


class OnnxRuntime:
    """onnxruntime's CPU provider with every graph optimisation, for a graph of one of the conversions."""

    def __init__(self, spec: Mapping[str, Any], graph: str = "onnx") -> None:
        import onnxruntime

        self.package, self.spec, self.graph = onnxruntime, spec, graph

    def load(self, batch: int) -> None:
        options = self.package.SessionOptions()
        options.graph_optimization_level = self.package.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads, options.inter_op_num_threads = self.spec["threads"], 1
        from fastalex.networks.onnx_export import BATCH

        options.add_free_dimension_override_by_name(BATCH, batch)  # a fixed shape is what it optimises best
        path = graph_path(self.spec, self.graph, ".onnx")
        self.session = self.package.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(self, x: np.ndarray) -> np.ndarray:
        return self.session.run(None, {"x": x})[0]


class OpenVino:
    """OpenVINO, which by default computes in 16 bits where the processor can, for a graph of one of the conversions."""

    def __init__(self, spec: Mapping[str, Any], graph: str = "openvino", precision: Optional[str] = None) -> None:
        import openvino

        self.core, self.spec, self.graph = openvino.Core(), spec, graph
        self.options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": spec["threads"]}
        if precision:
            self.options["INFERENCE_PRECISION_HINT"] = precision

    def load(self, batch: int) -> None:
        model = self.core.read_model(graph_path(self.spec, self.graph, ".xml"))
        model.reshape([batch, *self.spec["shape"]])
        compiled = self.core.compile_model(model, "CPU", self.options)
        self.precision = str(compiled.get_property("INFERENCE_PRECISION_HINT"))
        self.request = compiled.create_infer_request()

    def run(self, x: np.ndarray) -> np.ndarray:
        return self.request.infer({0: x}, share_inputs=True)[0]

    def numeric_class(self) -> str:
        if self.graph == "openvino int8":
            return INT8
        if "f32" in self.precision or "float32" in self.precision:
            return FC8 if self.graph == "openvino w8" else FP32
        return BITS16


class OpenCv:
    """OpenCV's dnn module."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        import cv2

        self.package, self.spec = cv2, spec
        cv2.setNumThreads(spec["threads"])

    def load(self, batch: int) -> None:
        self.net = self.package.dnn.readNetFromONNX(graph_path(self.spec, "onnx", ".onnx"))

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
_NCNN = {"peer": "ncnn", "modules": ("ncnn", "pnnx", "torch"), "distributions": ("ncnn",), "files": ("torch", "ncnn")}
_OPENCV = ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless")


def _own(precision: str, fc_weights: str) -> Engine:
    file = weights_file(precision, fc_weights)
    return Engine(
        "fastalex " + mode_name(precision, fc_weights),
        "fastalex",
        MODES[precision, fc_weights],
        Fastalex,
        {"precision": precision, "fc_weights": fc_weights},
        modules=("fastalex",),
        distributions=("fastalex",),
        files=() if file == WEIGHTS else (file,),
    )


def _onnxruntime(name: str, numeric_class: str, graph: str, *modules: str, slow: bool = False) -> Engine:
    needs = ("onnxruntime", "onnx", *modules)
    packages = ("onnxruntime", "onnxruntime-gpu")
    return Engine(name, "onnxruntime", numeric_class, OnnxRuntime, {"graph": graph}, needs, packages, (graph,), slow)


def _openvino(name: str, numeric_class: str, graph: str, precision: Optional[str] = None) -> Engine:
    needs = ("openvino", "onnx") if graph == "openvino" else ("openvino", "onnx", "nncf")
    options = {"graph": graph, "precision": precision}
    return Engine(name, "openvino", numeric_class, OpenVino, options, needs, ("openvino",), (graph,))


#: Every engine by name, fastalex first.
ENGINES: Dict[str, Engine] = {
    engine.name: engine
    for engine in (
        *(_own(*mode) for mode, numeric_class in MODES.items() if numeric_class != FC16),
        Engine("torch eager", numeric_class=FP32, make=Torch, options={"mode": "eager"}, **_TORCH),
        Engine("torch channels_last", numeric_class=FP32, make=Torch, options={"mode": "channels_last"}, **_TORCH),
        Engine("torch compile", numeric_class=FP32, make=Torch, options={"mode": "compile"}, slow=True, **_TORCH),
        Engine(
            "torch compile bf16",
            numeric_class=BITS16,
            make=Torch,
            options={"mode": "compile", "dtype": "bfloat16"},
            slow=True,
            **_TORCH,
        ),
        _onnxruntime("onnxruntime", FP32, "onnx"),
        _onnxruntime("onnxruntime dynamic int8 fc", FC8, "onnx dynamic"),
        _onnxruntime("onnxruntime MatMulNBits 8", FC8, "onnx nbits", "onnx_ir"),
        _onnxruntime("onnxruntime static QDQ", INT8, "onnx static"),
        _openvino("openvino f32", FP32, "openvino", "f32"),
        _openvino("openvino default", BITS16, "openvino"),
        _openvino("openvino NNCF w8 f32", FC8, "openvino w8", "f32"),
        _openvino("openvino NNCF w8", BITS16, "openvino w8"),
        _openvino("openvino NNCF PTQ", INT8, "openvino int8"),
        Engine("opencv dnn", "opencv", FP32, OpenCv, {}, ("cv2", "onnx"), _OPENCV, ("onnx",)),
        Engine("ncnn fp32", numeric_class=FP32, make=Ncnn, options={"fp16": False}, **_NCNN),
        Engine("ncnn fp16 storage", numeric_class=BITS16, make=Ncnn, options={"fp16": True}, **_NCNN),
    )
}
#: The fastest of each class where nothing is committed yet: what a quick run compares with.
USUALLY_FASTEST: Dict[str, Tuple[str, ...]] = {
    FP32: ("openvino f32", "ncnn fp32"),
    FC8: ("openvino NNCF w8 f32", "onnxruntime MatMulNBits 8"),
    BITS16: ("openvino NNCF w8",),
    INT8: ("openvino NNCF PTQ", "onnxruntime static QDQ"),
}
PEERS: Tuple[str, ...] = tuple(dict.fromkeys(engine.peer for engine in ENGINES.values() if engine.peer != "fastalex"))


def missing_module(engine: Engine) -> Optional[str]:
    """The first package that ``engine`` needs and that is not installed here."""
    for name in engine.modules:
        if importlib.util.find_spec(name) is None:
            return name
    return None


def graph_path(spec: Mapping[str, Any], conversion: str, suffix: str) -> str:
    """The file of a conversion. One serves every batch: the engine fixes the batch when it loads."""
    return os.path.join(spec["folder"], conversion.replace(" ", "-") + suffix)


def torch_model(spec: Mapping[str, Any]) -> Any:
    """The network in PyTorch with the weights of the comparison, memory-mapped."""
    import torch

    from fastalex.networks import torch_reference

    with torch.device("meta"):
        model = torch_reference.build(spec["variant"])
    state = torch.load(os.path.join(spec["folder"], TORCH_STATE), mmap=True, weights_only=True)
    model.load_state_dict(state, assign=True)
    return model.eval().requires_grad_(False)


def write_weights(spec: Mapping[str, Any]) -> None:
    """Seeded random weights: the file of fastalex, from which every other file is made."""
    from fastalex import variants, weights
    from fastalex.weights import initial

    weights.save(os.path.join(spec["folder"], WEIGHTS), initial.random_weights(variants.get(spec["variant"])), {})


def write_quantised(spec: Mapping[str, Any], precision: str, fc_weights: str) -> None:
    """fastalex's own file of a mode (:func:`weights_file`)."""
    from fastalex import AlexNet

    options = {"weights": os.path.join(spec["folder"], WEIGHTS), "device": "cpu", "threads": spec["threads"]}
    if precision == "int8":
        from fastalex import quantize

        calibration = quantize.calibrate(AlexNet(spec["variant"], **options), [calibration_images(spec)])
        options.update(precision=precision, calibration=calibration)
    net = AlexNet(spec["variant"], fc_weights=fc_weights, **options)
    levels = fc_weights if fc_weights in ("int8", "int4") else "fp32"
    net.save(os.path.join(spec["folder"], weights_file(precision, fc_weights)), fc_weights=levels)


def calibration_images(spec: Mapping[str, Any]) -> np.ndarray:
    """Standard normal images, other than those that are timed."""
    shape = (CALIBRATION_IMAGES, *spec["shape"])
    return np.random.default_rng(7).standard_normal(shape, dtype=np.float32)


def write_onnx(spec: Mapping[str, Any]) -> None:
    """One graph, whose batch has a name instead of a number."""
    from fastalex import variants
    from fastalex.networks import onnx_export

    _save(onnx_export.graph_of(variants.get(spec["variant"]), _arrays(spec), batch=None), spec, "onnx")


def _save(graph: Any, spec: Mapping[str, Any], conversion: str) -> None:
    with open(graph_path(spec, conversion, ".onnx"), "wb") as file:
        file.write(graph.SerializeToString())


def write_onnx_dynamic(spec: Mapping[str, Any]) -> None:
    """int8 weights of the fully connected layers; onnxruntime quantises their input at each call."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source, target = alone(spec, "dynamic"), graph_path(spec, "onnx dynamic", ".onnx")
    quantize_dynamic(source, target, op_types_to_quantize=["MatMul", "Gemm"], weight_type=QuantType.QInt8)


def alone(spec: Mapping[str, Any], name: str) -> str:
    """The graph under a folder of its own: onnxruntime's quantisers leave files of fixed names beside it, and several
    run at a time."""
    folder = os.path.join(spec["folder"], name)
    os.makedirs(folder, exist_ok=True)
    link = os.path.join(folder, "graph.onnx")
    if not os.path.lexists(link):
        os.symlink(os.path.abspath(graph_path(spec, "onnx", ".onnx")), link)
    return link


def write_onnx_static(spec: Mapping[str, Any]) -> None:
    """int8 weights by channel and calibrated activations, as QuantizeLinear and DequantizeLinear."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(calibration_images(spec))

        def get_next(self) -> Optional[Dict[str, np.ndarray]]:
            image = next(self.left, None)
            return None if image is None else {"x": image[None]}

    source, target = alone(spec, "static"), graph_path(spec, "onnx static", ".onnx")
    types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(source, target, Reader(), quant_format=QuantFormat.QDQ, per_channel=True, **types)


def write_onnx_nbits(spec: Mapping[str, Any]) -> None:
    """8-bit blocks of 64 weights, for which a fully connected layer must be a MatMul and an Add."""
    import onnx
    from onnx import helper, numpy_helper
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    model = onnx.load(graph_path(spec, "onnx", ".onnx"))
    held = {one.name: one for one in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        if node.op_type != "Gemm":
            nodes.append(node)
            continue
        source, weight, bias = node.input
        turned = np.ascontiguousarray(numpy_helper.to_array(held[weight]).T)
        held[weight].CopyFrom(numpy_helper.from_array(turned, weight))
        product = node.output[0] + ".product"
        nodes.append(helper.make_node("MatMul", [source, weight], [product], name=product))
        nodes.append(helper.make_node("Add", [product, bias], list(node.output), name=node.name))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    # accuracy_level 4: the products are of int8, which is the fastest
    quantizer = MatMulNBitsQuantizer(model, bits=8, block_size=64, is_symmetric=True, accuracy_level=4)
    quantizer.process()
    quantizer.model.save_model_to_file(graph_path(spec, "onnx nbits", ".onnx"), use_external_data_format=False)


def write_openvino(spec: Mapping[str, Any]) -> None:
    """OpenVINO's own format with fp32 weights, which it loads faster than ONNX."""
    import openvino

    _save_openvino(openvino.convert_model(graph_path(spec, "onnx", ".onnx")), spec, "openvino")


def write_openvino_w8(spec: Mapping[str, Any]) -> None:
    """NNCF's compression of the weights to int8, one scale an output."""
    import nncf

    mode = nncf.CompressWeightsMode.INT8_SYM
    _save_openvino(nncf.compress_weights(_read_openvino(spec), mode=mode), spec, "openvino w8")


def write_openvino_int8(spec: Mapping[str, Any]) -> None:
    """NNCF's quantisation after training, of weights and activations."""
    import nncf

    images = nncf.Dataset([image[None] for image in calibration_images(spec)])
    quantised = nncf.quantize(_read_openvino(spec), images, subset_size=CALIBRATION_IMAGES)
    _save_openvino(quantised, spec, "openvino int8")


def _read_openvino(spec: Mapping[str, Any]) -> Any:
    import openvino

    return openvino.Core().read_model(graph_path(spec, "openvino", ".xml"))


def _save_openvino(model: Any, spec: Mapping[str, Any], conversion: str) -> None:
    import openvino

    openvino.save_model(model, graph_path(spec, conversion, ".xml"), compress_to_fp16=False)


def write_torch(spec: Mapping[str, Any]) -> None:
    """The state dict as torch.save writes it."""
    import torch

    state = {name: torch.from_numpy(np.array(array)) for name, array in _arrays(spec).items()}
    torch.save(state, os.path.join(spec["folder"], TORCH_STATE))


def write_ncnn(spec: Mapping[str, Any]) -> None:
    """pnnx from PyTorch to ncnn, with normalisation in the form that pnnx knows."""
    import pnnx
    import torch

    from fastalex import variants
    from fastalex.networks import architecture

    row = variants.get(spec["variant"])
    model = torch_model(spec)
    for path, layer in architecture.module_paths(row):
        if layer.op == "lrn":
            folder, _, leaf = path.rpartition(".")
            setattr(model.get_submodule(folder), leaf, _local_response_norm(torch, layer.options))
    os.chdir(spec["folder"])  # pnnx writes its by-products into the current folder
    pnnx.export(model, "net.pt", (torch.from_numpy(spec["images"][:1]),), fp16=False)
    for name in os.listdir("."):
        if name.startswith(("net.pt", "net.pnnx", "net_")):
            os.unlink(name)  # three quarters of a gigabyte


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
    **{
        weights_file(*mode): lambda spec, mode=mode: write_quantised(spec, *mode)
        for mode in (("fp32", "int8"), ("fp32", "int4"), ("int8", "int8"), ("int8", "int4"))
    },
    "torch": write_torch,
    "onnx": write_onnx,
    "onnx dynamic": write_onnx_dynamic,
    "onnx static": write_onnx_static,
    "onnx nbits": write_onnx_nbits,
    "openvino": write_openvino,
    "openvino w8": write_openvino_w8,
    "openvino int8": write_openvino_int8,
    "ncnn": write_ncnn,
}
#: What else each needs, besides the weights.
NEEDS: Dict[str, Tuple[str, ...]] = {
    "onnx dynamic": ("onnx",),
    "onnx static": ("onnx",),
    "onnx nbits": ("onnx",),
    "openvino": ("onnx",),
    "openvino w8": ("openvino",),
    "openvino int8": ("openvino",),
    "ncnn": ("torch",),
}


def conversions(engines: Sequence[Engine]) -> List[str]:
    """The names in :data:`CONVERSIONS` that ``engines`` need, in order."""
    wanted = {"weights"}
    todo = [name for engine in engines for name in engine.files]
    while todo:
        name = todo.pop()
        wanted.add(name)
        todo += NEEDS.get(name, ())
    return [name for name in CONVERSIONS if name in wanted]


def version(engine: Engine) -> Optional[str]:
    """The version of the distribution; None where pip does not know it."""
    found = _distribution(engine.distributions)
    return found.version if found else None


def installed_mb(names: Sequence[str], without: Sequence[str] = ()) -> Optional[float]:
    """Size in 1e6 bytes of the first installed distribution of ``names`` and of all that it requires (no extras).

    ``without`` are left out of the sum. None where none is installed, or pip did not note its files.
    """
    first = _distribution(names)
    if first is None or not first.files:
        return None
    seen: Dict[str, int] = dict.fromkeys(without, 0)
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
