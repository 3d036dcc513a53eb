"""The runtimes compared on a CPU: fastalex and its peers.

Each takes a float32 NCHW numpy batch and gives float32 numpy logits; whatever change of layout or precision it wants
happens inside the timed call. Every package is imported inside the functions, when its own process asks for it.
"""

from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping, Optional

import numpy as np

from benchmarks.measure.engine_files import TORCH_STATE, graph_path, weights_file
from benchmarks.numeric_classes import BITS16, FC8, FP32, INT8

THROUGHPUT_BATCH = 8  # from which on AlexNet's documentation recommends fc_layout="throughput"


class Fastalex:
    """This package."""

    def __init__(self, spec: Mapping[str, Any], precision: str, fc_weights: str) -> None:
        from fastalex import AlexNet

        weights = os.path.join(spec["folder"], weights_file(precision, fc_weights))
        options = {"weights": weights, "device": "cpu", "precision": precision, "fc_weights": fc_weights}
        self.make = lambda layout: AlexNet(spec["variant"], threads=spec["threads"], fc_layout=layout, **options)

    def load(self, batch: int) -> None:
        self.run = self.make("latency" if batch < THROUGHPUT_BATCH else "throughput")

    def steps(self, batch: int) -> Optional[List[Dict[str, Any]]]:
        return steps_of(self.run, batch)


def steps_of(net: Any, batch: int) -> Optional[List[Dict[str, Any]]]:
    """Cost of each step of a fastalex network (``AlexNet.kernels``); None if the engine does not report it."""
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
    """onnxruntime's CPU provider with every graph optimization, for a graph of one of the conversions."""

    def __init__(self, spec: Mapping[str, Any], graph: str = "onnx") -> None:
        import onnxruntime

        self.package, self.spec, self.graph = onnxruntime, spec, graph

    def load(self, batch: int) -> None:
        options = self.package.SessionOptions()
        options.graph_optimization_level = self.package.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads, options.inter_op_num_threads = self.spec["threads"], 1
        from fastalex.networks.onnx_export import BATCH

        options.add_free_dimension_override_by_name(BATCH, batch)  # fixed shapes are optimized best
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


def torch_model(spec: Mapping[str, Any]) -> Any:
    """The network in PyTorch with the weights of the comparison, memory-mapped."""
    import torch

    from fastalex.networks import torch_reference

    with torch.device("meta"):
        model = torch_reference.build(spec["variant"])
    state = torch.load(os.path.join(spec["folder"], TORCH_STATE), mmap=True, weights_only=True)
    model.load_state_dict(state, assign=True)
    return model.eval().requires_grad_(False)
