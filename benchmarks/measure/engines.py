"""The engines compared on a CPU: every mode of fastalex and of its peers, and their requirements."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

from benchmarks.measure import runtimes
from benchmarks.measure.engine_files import WEIGHTS, weights_file
from benchmarks.numeric_classes import BITS16, FC8, FC16, FP32, INT8, MODES, own_engine


@dataclass(frozen=True)
class Engine:
    """One mode of one peer.

    ``numeric_class`` is what is compared with what (:data:`CLASSES`); an engine that finds out only when it has loaded
    tells it then. ``modules`` must be importable, ``distributions`` are the names under which pip may know the first
    of them, ``files`` are what :data:`conversions.CONVERSIONS` must have made, and ``slow`` engines are left out of
    quick runs.
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


_NCNN = {"peer": "ncnn", "modules": ("ncnn", "pnnx", "torch"), "distributions": ("ncnn",), "files": ("torch", "ncnn")}
_OPENCV = ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless")


def _own(precision: str, fc_weights: str) -> Engine:
    file = weights_file(precision, fc_weights)
    return Engine(
        own_engine(precision, fc_weights),
        "fastalex",
        MODES[precision, fc_weights],
        runtimes.Fastalex,
        {"precision": precision, "fc_weights": fc_weights},
        modules=("fastalex",),
        distributions=("fastalex",),
        files=() if file == WEIGHTS else (file,),
    )


def _torch(name: str, numeric_class: str, mode: str, slow: bool = False, **options: Any) -> Engine:
    torch = ("torch",)
    return Engine(name, "torch", numeric_class, runtimes.Torch, {"mode": mode, **options}, torch, torch, torch, slow)


def _onnxruntime(name: str, numeric_class: str, graph: str, *modules: str, slow: bool = False) -> Engine:
    needs = ("onnxruntime", "onnx", *modules)
    packages = ("onnxruntime", "onnxruntime-gpu")
    return Engine(
        name, "onnxruntime", numeric_class, runtimes.OnnxRuntime, {"graph": graph}, needs, packages, (graph,), slow
    )


def _openvino(name: str, numeric_class: str, graph: str, precision: Optional[str] = None) -> Engine:
    needs = ("openvino", "onnx") if graph == "openvino" else ("openvino", "onnx", "nncf")
    options = {"graph": graph, "precision": precision}
    return Engine(name, "openvino", numeric_class, runtimes.OpenVino, options, needs, ("openvino",), (graph,))


#: Every engine by name, fastalex first.
ENGINES: Dict[str, Engine] = {
    engine.name: engine
    for engine in (
        *(_own(*mode) for mode, numeric_class in MODES.items() if numeric_class != FC16),
        _torch("torch eager", FP32, "eager"),
        _torch("torch channels_last", FP32, "channels_last"),
        _torch("torch compile", FP32, "compile", slow=True),
        _torch("torch compile bf16", BITS16, "compile", slow=True, dtype="bfloat16"),
        _torch("torch channels_last bf16", BITS16, "channels_last", slow=True, dtype="bfloat16"),
        _onnxruntime("onnxruntime", FP32, "onnx"),
        _onnxruntime("onnxruntime dynamic int8 fc", FC8, "onnx dynamic"),
        _onnxruntime("onnxruntime MatMulNBits 8", FC8, "onnx nbits", "onnx_ir"),
        _onnxruntime("onnxruntime static QDQ", INT8, "onnx static"),
        _openvino("openvino f32", FP32, "openvino", "f32"),
        _openvino("openvino default", BITS16, "openvino"),
        _openvino("openvino NNCF w8 f32", FC8, "openvino w8", "f32"),
        _openvino("openvino NNCF w8", BITS16, "openvino w8"),
        _openvino("openvino NNCF PTQ", INT8, "openvino int8"),
        Engine("opencv dnn", "opencv", FP32, runtimes.OpenCv, {}, ("cv2", "onnx"), _OPENCV, ("onnx",)),
        Engine("ncnn fp32", numeric_class=FP32, make=runtimes.Ncnn, options={"fp16": False}, **_NCNN),
        Engine("ncnn fp16 storage", numeric_class=BITS16, make=runtimes.Ncnn, options={"fp16": True}, **_NCNN),
    )
}
#: Fastest engine of each class, for a quick run on a machine without a committed comparison.
USUALLY_FASTEST: Dict[str, Tuple[str, ...]] = {
    FP32: ("openvino f32", "ncnn fp32"),
    FC8: ("openvino NNCF w8 f32", "onnxruntime MatMulNBits 8"),
    BITS16: ("openvino NNCF w8",),
    INT8: ("openvino NNCF PTQ", "onnxruntime static QDQ"),
}
PEERS: Tuple[str, ...] = tuple(dict.fromkeys(engine.peer for engine in ENGINES.values() if engine.peer != "fastalex"))


def missing_module(engine: Engine) -> Optional[str]:
    """First package that ``engine`` needs and that is not installed; None if all are."""
    for name in engine.modules:
        if importlib.util.find_spec(name) is None:
            return name
    return None
