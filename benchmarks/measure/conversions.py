"""Conversions: functions that make the files of each engine, all from the same weights."""

from __future__ import annotations

import os
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from benchmarks.measure.engine_files import TORCH_STATE, WEIGHTS, graph_path, weights_file
from benchmarks.measure.engines import Engine
from benchmarks.measure.runtimes import torch_model
from benchmarks.measure.timing import random_images

CALIBRATION_IMAGES = 8  # random, like the timed images: only speed is measured with them, not accuracy


def write_weights(spec: Mapping[str, Any]) -> None:
    """Write seeded random weights as a fastalex file; every other file is made from it.

    With ``spec["density"]`` they have these densities on the image of batch 1.
    """
    from fastalex import variants, weights
    from fastalex.weights import initial

    row = variants.get(spec["variant"])
    if spec.get("density"):
        from fastalex import density

        images = random_images(spec["shape"], 1)
        arrays = density.random_weights(row, images, spec["density"], threads=spec["threads"])
    else:
        arrays = initial.random_weights(row)
    weights.save(os.path.join(spec["folder"], WEIGHTS), arrays, {})


def write_quantized(spec: Mapping[str, Any], precision: str, fc_weights: str) -> None:
    """Write fastalex's quantized file of a mode (:func:`weights_file`)."""
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
    """Standard normal images, different from the timed ones."""
    shape = (CALIBRATION_IMAGES, *spec["shape"])
    return np.random.default_rng(7).standard_normal(shape, dtype=np.float32)


def write_onnx(spec: Mapping[str, Any]) -> None:
    """Write one ONNX graph with a symbolic batch."""
    from fastalex import variants
    from fastalex.networks import onnx_export

    _save(onnx_export.graph_of(variants.get(spec["variant"]), _arrays(spec), batch=None), spec, "onnx")


def _save(graph: Any, spec: Mapping[str, Any], conversion: str) -> None:
    with open(graph_path(spec, conversion, ".onnx"), "wb") as file:
        file.write(graph.SerializeToString())


def write_onnx_dynamic(spec: Mapping[str, Any]) -> None:
    """Write int8 weights of the fully connected layers; onnxruntime quantizes their input at each call."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source, target = alone(spec, "dynamic"), graph_path(spec, "onnx dynamic", ".onnx")
    quantize_dynamic(source, target, op_types_to_quantize=["MatMul", "Gemm"], weight_type=QuantType.QInt8)


def alone(spec: Mapping[str, Any], name: str) -> str:
    """The graph under a folder of its own: onnxruntime's quantizers leave files of fixed names beside it, and several
    run at a time."""
    folder = os.path.join(spec["folder"], name)
    os.makedirs(folder, exist_ok=True)
    link = os.path.join(folder, "graph.onnx")
    if not os.path.lexists(link):
        os.symlink(os.path.abspath(graph_path(spec, "onnx", ".onnx")), link)
    return link


def write_onnx_static(spec: Mapping[str, Any]) -> None:
    """Write per-channel int8 weights and calibrated activations as QuantizeLinear and DequantizeLinear."""
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
    """Write weights in 8-bit blocks of 64, which require fully connected layers as a MatMul and an Add."""
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
    # accuracy_level 4: int8 products, the fastest
    quantizer = MatMulNBitsQuantizer(model, bits=8, block_size=64, is_symmetric=True, accuracy_level=4)
    quantizer.process()
    quantizer.model.save_model_to_file(graph_path(spec, "onnx nbits", ".onnx"), use_external_data_format=False)


def write_openvino(spec: Mapping[str, Any]) -> None:
    """Write OpenVINO's own format with fp32 weights, which loads faster than ONNX."""
    import openvino

    _save_openvino(openvino.convert_model(graph_path(spec, "onnx", ".onnx")), spec, "openvino")


def write_openvino_w8(spec: Mapping[str, Any]) -> None:
    """Write weights compressed by NNCF to int8, one scale per output."""
    import nncf

    mode = nncf.CompressWeightsMode.INT8_SYM
    _save_openvino(nncf.compress_weights(_read_openvino(spec), mode=mode), spec, "openvino w8")


def write_openvino_int8(spec: Mapping[str, Any]) -> None:
    """Write a model with weights and activations quantized by NNCF after training."""
    import nncf

    images = nncf.Dataset([image[None] for image in calibration_images(spec)])
    quantized = nncf.quantize(_read_openvino(spec), images, subset_size=CALIBRATION_IMAGES)
    _save_openvino(quantized, spec, "openvino int8")


def _read_openvino(spec: Mapping[str, Any]) -> Any:
    import openvino

    return openvino.Core().read_model(graph_path(spec, "openvino", ".xml"))


def _save_openvino(model: Any, spec: Mapping[str, Any], conversion: str) -> None:
    import openvino

    openvino.save_model(model, graph_path(spec, conversion, ".xml"), compress_to_fp16=False)


def write_torch(spec: Mapping[str, Any]) -> None:
    """Write the state dict with torch.save."""
    import torch

    state = {name: torch.from_numpy(np.array(array)) for name, array in _arrays(spec).items()}
    torch.save(state, os.path.join(spec["folder"], TORCH_STATE))


def write_ncnn(spec: Mapping[str, Any]) -> None:
    """Convert from PyTorch to ncnn with pnnx, with normalization in the form that pnnx knows."""
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
            os.unlink(name)  # 750 MB


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


#: Conversions by name, each after those whose files it reads.
CONVERSIONS: Dict[str, Callable[[Mapping[str, Any]], None]] = {
    "weights": write_weights,
    **{
        weights_file(*mode): lambda spec, mode=mode: write_quantized(spec, *mode)
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
#: Other conversions whose files each one reads, besides the weights.
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
    needed = {"weights"}
    todo = [name for engine in engines for name in engine.files]
    while todo:
        name = todo.pop()
        needed.add(name)
        todo += NEEDS.get(name, ())
    return [name for name in CONVERSIONS if name in needed]
