"""Writers of weights files, independent of the readers: torch.save, protobuf's runtime, and the old tar layout
byte by byte, which PyTorch can no longer write."""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import lzma
import pickle
import struct
import tarfile
import zipfile
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Sequence, Tuple

import numpy as np

# torch.save ---------------------------------------------------------------------------------------------------------


def torch_bytes(value: Any, container: str) -> bytes:
    """``value`` as ``torch.save`` writes it: ``zip`` or ``stream``."""
    import torch

    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=container == "zip")
    return stream.getvalue()


class _TarPickler(pickle.Pickler):
    """Pickler that writes each tensor as a persistent id, a number."""

    def __init__(self, stream: Any, keys: Mapping[int, int]) -> None:
        super().__init__(stream, 2)
        self.keys = keys

    def persistent_id(self, value: Any) -> Any:
        return str(self.keys[id(value)]) if id(value) in self.keys else None


def tar_bytes(tensors: Mapping[str, Any], wrap: Any = lambda tensors: tensors) -> bytes:
    """A dict of tensors in PyTorch's first container; tensors that share a storage share it in the file."""
    import torch

    storages: Dict[int, Tuple[int, torch.Tensor]] = {}  # address -> key, the whole storage
    for tensor in tensors.values():
        flat = torch.as_strided(tensor, (tensor.untyped_storage().nbytes() // tensor.element_size(),), (1,), 0)
        storages.setdefault(tensor.untyped_storage().data_ptr(), (1000 + len(storages), flat))
    members = {"sys_info": pickle.dumps({"protocol_version": 1000, "little_endian": True}, 2)}
    parts = [pickle.dumps(len(storages), 2)]
    for key, flat in storages.values():
        kind = type(_typed(flat))
        parts.append(_global_pickle((key, "cpu"), "torch " + kind.__name__))
        parts.append(struct.pack("<q", flat.numel()) + flat.numpy().tobytes())
    members["storages"] = b"".join([*parts, pickle.dumps([], 2)])
    parts = [pickle.dumps(len(tensors), 2)]
    keys = {}
    for index, tensor in enumerate(tensors.values()):
        keys[id(tensor)] = index
        kind = type(_typed(tensor)).__name__.replace("Storage", "Tensor")
        parts.append(
            _global_pickle((index, storages[tensor.untyped_storage().data_ptr()][0]), "torch " + kind)
            + struct.pack("<i4x", tensor.dim())
            + struct.pack(f"<{2 * tensor.dim() + 1}q", *tensor.shape, *tensor.stride(), tensor.storage_offset())
        )
    members["tensors"] = b"".join(parts)
    stream = io.BytesIO()
    _TarPickler(stream, keys).dump(wrap(dict(tensors)))
    members["pickle"] = stream.getvalue()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return archive.getvalue()


def _typed(tensor: Any) -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {"torch.float32": _Named("FloatStorage"), "torch.int64": _Named("LongStorage")}[str(tensor.dtype)]()


def _Named(name: str) -> type:  # noqa: N802
    return type(name, (), {})


def _global_pickle(first: Tuple[Any, Any], name: str) -> bytes:
    """The tuple (first[0], first[1], global) in protocol 2."""
    head = pickle.dumps(first[0], 2)[2:-1] + pickle.dumps(first[1], 2)[2:-1]
    module, _, attribute = name.partition(" ")
    return b"\x80\x02(" + head + b"c" + module.encode() + b"\n" + attribute.encode() + b"\nt."


# Caffe --------------------------------------------------------------------------------------------------------------

_KINDS = {"float": 2, "double": 1, "int64": 3, "int32": 5, "uint32": 13, "bool": 8, "string": 9, "message": 11}
_KINDS["enum"] = 5  # as int32
_MESSAGES = {
    "BlobShape": [(1, "dim", "int64*packed")],
    "BlobProto": [
        (7, "shape", "BlobShape"),
        (5, "data", "float*packed"),
        (8, "double_data", "double*packed"),
        (1, "num", "int64"),
        (2, "channels", "int64"),
        (3, "height", "int64"),
        (4, "width", "int64"),
    ],
    "InputParameter": [(1, "shape", "BlobShape*")],
    "ConvolutionParameter": [
        (1, "num_output", "uint32"),
        (2, "bias_term", "bool"),
        (3, "pad", "uint32*"),
        (4, "kernel_size", "uint32*"),
        (5, "group", "uint32"),
        (6, "stride", "uint32*"),
        (9, "pad_h", "uint32"),
        (10, "pad_w", "uint32"),
        (11, "kernel_h", "uint32"),
        (12, "kernel_w", "uint32"),
        (13, "stride_h", "uint32"),
        (14, "stride_w", "uint32"),
        (18, "dilation", "uint32*"),
    ],
    "InnerProductParameter": [(1, "num_output", "uint32"), (2, "bias_term", "bool"), (6, "transpose", "bool")],
    "LRNParameter": [
        (1, "local_size", "uint32"),
        (2, "alpha", "float"),
        (3, "beta", "float"),
        (4, "norm_region", "enum"),
        (5, "k", "float"),
    ],
    "PoolingParameter": [
        (1, "pool", "enum"),
        (2, "kernel_size", "uint32"),
        (3, "stride", "uint32"),
        (4, "pad", "uint32"),
        (5, "kernel_h", "uint32"),
        (6, "kernel_w", "uint32"),
        (12, "global_pooling", "bool"),
        (13, "round_mode", "enum"),
    ],
    "ReLUParameter": [(1, "negative_slope", "float")],
    "ELUParameter": [(1, "alpha", "float")],
    "PowerParameter": [(1, "power", "float"), (2, "scale", "float"), (3, "shift", "float")],
    "BatchNormParameter": [(1, "use_global_stats", "bool"), (3, "eps", "float")],
    "ScaleParameter": [(1, "axis", "int32"), (4, "bias_term", "bool")],
    "DropoutParameter": [(1, "dropout_ratio", "float")],
    "SliceParameter": [(2, "slice_point", "uint32*"), (3, "axis", "int32")],
    "ConcatParameter": [(2, "axis", "int32")],
    "EltwiseParameter": [(1, "operation", "enum")],
    "V0LayerParameter": [
        (1, "name", "string"),
        (2, "type", "string"),
        (7, "pad", "uint32"),
        (8, "kernelsize", "uint32"),
        (9, "group", "uint32"),
        (10, "stride", "uint32"),
        (11, "pool", "enum"),
        (13, "local_size", "uint32"),
        (14, "alpha", "float"),
        (15, "beta", "float"),
        (22, "k", "float"),
        (50, "blobs", "BlobProto*"),
    ],
    "V1LayerParameter": [
        (1, "layer", "V0LayerParameter"),
        (2, "bottom", "string*"),
        (3, "top", "string*"),
        (4, "name", "string"),
        (5, "type", "enum"),
        (6, "blobs", "BlobProto*"),
        (9, "concat_param", "ConcatParameter"),
        (10, "convolution_param", "ConvolutionParameter"),
        (12, "dropout_param", "DropoutParameter"),
        (17, "inner_product_param", "InnerProductParameter"),
        (18, "lrn_param", "LRNParameter"),
        (19, "pooling_param", "PoolingParameter"),
        (21, "power_param", "PowerParameter"),
        (24, "eltwise_param", "EltwiseParameter"),
        (30, "relu_param", "ReLUParameter"),
        (31, "slice_param", "SliceParameter"),
    ],
    "LayerParameter": [
        (1, "name", "string"),
        (2, "type", "string"),
        (3, "bottom", "string*"),
        (4, "top", "string*"),
        (7, "blobs", "BlobProto*"),
        (104, "concat_param", "ConcatParameter"),
        (106, "convolution_param", "ConvolutionParameter"),
        (108, "dropout_param", "DropoutParameter"),
        (110, "eltwise_param", "EltwiseParameter"),
        (117, "inner_product_param", "InnerProductParameter"),
        (118, "lrn_param", "LRNParameter"),
        (121, "pooling_param", "PoolingParameter"),
        (122, "power_param", "PowerParameter"),
        (123, "relu_param", "ReLUParameter"),
        (126, "slice_param", "SliceParameter"),
        (139, "batch_norm_param", "BatchNormParameter"),
        (140, "elu_param", "ELUParameter"),
        (142, "scale_param", "ScaleParameter"),
        (143, "input_param", "InputParameter"),
    ],
    "NetParameter": [
        (1, "name", "string"),
        (2, "layers", "V1LayerParameter*"),
        (3, "input", "string*"),
        (4, "input_dim", "int64*"),
        (8, "input_shape", "BlobShape*"),
        (100, "layer", "LayerParameter*"),
    ],
}
V1_TYPES = {"Convolution": 4, "InnerProduct": 14, "LRN": 15, "Pooling": 17, "ReLU": 18, "Dropout": 6, "Softmax": 20}
V1_TYPES.update({"Accuracy": 1, "BNLL": 2, "Concat": 3, "Flatten": 8, "Sigmoid": 19, "SoftmaxWithLoss": 21, "TanH": 23})
V1_TYPES.update({"Split": 22, "Eltwise": 25, "Power": 26, "Slice": 33, "AbsVal": 35})
V0_TYPES = {"Convolution": "conv", "InnerProduct": "innerproduct", "LRN": "lrn", "Pooling": "pool", "ReLU": "relu"}
V0_TYPES.update({"Dropout": "dropout", "Softmax": "softmax"})


@functools.lru_cache(maxsize=None)
def caffe_messages(packed: bool = True) -> Dict[str, Any]:
    """The message classes of caffe.proto used here, made by protobuf's runtime from a descriptor."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name=f"caffe{packed}.proto", package="caffe", syntax="proto2")
    for name, rows in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, label, kind in rows:
            kind, repeated, option = kind.partition("*")
            field = message.field.add(name=label, number=number, label=3 if repeated else 1)
            field.type = _KINDS.get(kind, 11)
            if kind not in _KINDS:
                field.type_name = ".caffe." + kind
            if option:
                field.options.packed = packed
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe." + name)) for name in _MESSAGES}


def caffe_layers(row: Any) -> List[Tuple[str, str, Dict[str, Any]]]:
    """(type, name, options) of each layer of a variant, in Caffe's words."""
    types = {"conv": "Convolution", "fc": "InnerProduct", "relu": "ReLU", "lrn": "LRN", "maxpool": "Pooling"}
    types["dropout"] = "Dropout"
    return [(types[layer.op], layer.name, dict(layer.options)) for layer in row.layers()]


def caffemodel_bytes(
    row: Any,
    arrays: Mapping[str, np.ndarray],
    version: int = 2,
    packed: bool = True,
    double: bool = False,
    old_shape: bool = False,
) -> bytes:
    """``arrays`` (names of Caffe) as a NetParameter with layers of ``version`` 0, 1 or 2."""
    classes = caffe_messages(packed)
    net = classes["NetParameter"](name=row.name)
    for kind, name, options in caffe_layers(row):
        if version == 0 and options.get("pad"):  # V0 pads in a layer of its own
            net.layers.add().layer.MergeFrom(
                classes["V0LayerParameter"](name=name + "_pad", type="padding", pad=options["pad"])
            )
        layer = net.layer.add() if version == 2 else net.layers.add()
        if version == 0:
            layer = layer.layer
        layer.name = name
        layer.type = {0: V0_TYPES, 1: V1_TYPES}[version][kind] if version < 2 else kind
        _set_caffe_options(layer, kind, options, version)
        for leaf in ("weight", "bias"):
            if f"{name}.{leaf}" in arrays:
                _set_blob(layer.blobs.add(), arrays[f"{name}.{leaf}"], double, old_shape)
    return net.SerializeToString()


def _set_caffe_options(layer: Any, kind: str, options: Dict[str, Any], version: int) -> None:
    if kind == "Convolution":
        if version == 0:
            layer.kernelsize, layer.stride, layer.group = options["kernel"], options["stride"], options["groups"]
            return
        target = layer.convolution_param
        target.num_output, target.group = options["out"], options["groups"]
        target.kernel_size.append(options["kernel"])
        target.stride.append(options["stride"])
        target.pad.append(options["pad"])
    elif kind == "LRN":
        target = layer if version == 0 else layer.lrn_param
        target.local_size, target.alpha = options["size"], options["alpha"] * options["size"]
        target.beta, target.k = options["beta"], options["k"]
    elif kind == "Pooling":
        target = layer if version == 0 else layer.pooling_param
        target.pool, target.stride = 0, options["stride"]
        setattr(target, "kernelsize" if version == 0 else "kernel_size", options["kernel"])


def _set_blob(blob: Any, array: np.ndarray, double: bool, old_shape: bool) -> None:
    (blob.double_data if double else blob.data).extend(array.reshape(-1).tolist())
    if old_shape:
        sides = (1,) * (4 - array.ndim) + array.shape
        blob.num, blob.channels, blob.height, blob.width = sides
    else:
        blob.shape.dim.extend(array.shape)


class CaffeLayer(NamedTuple):
    """A layer as caffe.proto has it: ``options`` is the content of its ``<kind>_param`` (``{"relu_param": {...}}``)."""

    kind: str
    name: str
    bottoms: Sequence[str]
    tops: Sequence[str]
    options: Mapping[str, Mapping[str, Any]] = {}
    blobs: Sequence[np.ndarray] = ()


def caffe_net(layers: Sequence[CaffeLayer], shape: Sequence[int], **options: Any) -> Any:
    """A NetParameter of any layers, with the inputs named ``data`` of ``shape`` (N, C, H, W).

    :param options: ``version`` (1, 2), ``packed``, ``double``, ``old_shape`` as for :func:`caffemodel_bytes`, and
        ``stated``: by which field the input is: ``input_dim``, ``input_shape`` or ``layer``.
    """
    version, stated = options.get("version", 2), options.get("stated", "input_dim")
    net = caffe_messages(options.get("packed", True))["NetParameter"](name="made")
    if stated == "layer":
        net.layer.add(name="data", type="Input", top=["data"]).input_param.shape.add().dim.extend(shape)
    else:
        net.input.append("data")
        target = net.input_dim if stated == "input_dim" else net.input_shape.add().dim
        target.extend(shape)
    for one in layers:
        layer = net.layer.add() if version == 2 else net.layers.add()
        layer.name, layer.type = one.name, one.kind if version == 2 else V1_TYPES[one.kind]
        layer.bottom.extend(one.bottoms)
        layer.top.extend(one.tops)
        for key, values in one.options.items():
            target = getattr(layer, key)
            target.SetInParent()
            for field, value in values.items():
                if isinstance(value, (list, tuple)):
                    getattr(target, field).extend(value)
                else:
                    setattr(target, field, value)
        for array in one.blobs:
            _set_blob(layer.blobs.add(), array, options.get("double", False), options.get("old_shape", False))
    return net


def caffe_text(net: Any) -> str:
    """A NetParameter of generation 2 as a prototxt: without the blobs."""
    from google.protobuf import text_format

    copy = type(net).FromString(net.SerializeToString())
    for layer in copy.layer:
        layer.ClearField("blobs")
    return text_format.MessageToString(copy)


def prototxt(row: Any, side: int) -> str:
    """The network as the text that OpenCV reads beside a caffemodel."""
    lines = ['name: "net"', 'input: "data"']
    lines += [f"input_dim: {number}" for number in (1, row.channels, side, side)]
    bottom = "data"
    for kind, name, options in caffe_layers(row):
        top = bottom if kind in ("ReLU", "Dropout") else name
        lines.append(f'layer {{ name: "{name}" type: "{kind}" bottom: "{bottom}" top: "{top}"')
        if kind == "Convolution":
            words = (options["out"], options["pad"], options["kernel"], options["groups"], options["stride"])
            lines.append("convolution_param { num_output: %d pad: %d kernel_size: %d group: %d stride: %d }" % words)
        elif kind == "LRN":
            words = (options["size"], options["alpha"] * options["size"], options["beta"], options["k"])
            lines.append("lrn_param { local_size: %d alpha: %.9g beta: %.9g k: %.9g }" % words)
        elif kind == "Pooling":
            lines.append(
                "pooling_param { pool: MAX kernel_size: %d stride: %d }" % (options["kernel"], options["stride"])
            )
        elif kind == "InnerProduct":
            lines.append("inner_product_param { num_output: %d }" % options["out"])
        lines.append("}")
        bottom = top
    return "\n".join(lines)


# All of them ----------------------------------------------------------------------------------------------------------


def every_kind(row: Any, arrays: Mapping[str, np.ndarray]) -> Dict[str, Callable[[], bytes]]:
    """One file of each format for Caffe's network ``row``: its name, and a function that makes its bytes."""
    from fastalex.networks.onnx_export import graph_of
    from fastalex.weights.readers import npz, safetensors

    def checkpoint() -> Dict[str, Any]:
        import torch

        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    return {
        "zip.pth": lambda: torch_bytes({"state_dict": checkpoint(), "epoch": 3}, "zip"),
        "stream.pth": lambda: torch_bytes({"state_dict": checkpoint(), "epoch": 3}, "stream"),
        "tar.pth": lambda: tar_bytes(checkpoint()),
        "net.caffemodel": lambda: caffemodel_bytes(row, arrays),
        "v1.caffemodel": lambda: caffemodel_bytes(row, arrays, version=1, packed=False),
        "net.onnx": lambda: graph_of(row, arrays).SerializeToString(),
        "net.safetensors": lambda: _written(safetensors, arrays, {"k": "v"}),
        "net.npz": lambda: _written(npz, arrays, {"k": "v"}),
        "int8.safetensors": lambda: _quantized(safetensors, row, arrays, "int8"),
        "int4.safetensors": lambda: _quantized(safetensors, row, arrays, "int4"),
        "int4.npz": lambda: _quantized(npz, row, arrays, "int4"),
    }


def every_container(name: str, make: Callable[[], bytes]) -> Dict[str, Callable[[], bytes]]:
    """What ``make`` makes as the file ``name`` in each kind of container: its name, and a function for its bytes."""
    return {
        name + ".gz": lambda: gzip.compress(make()),
        name + ".bz2": lambda: bz2.compress(make()),
        name + ".xz": lambda: lzma.compress(make()),
        "net.tar": lambda: _tarred(name, make(), "w"),
        "net.tar.gz": lambda: _tarred(name, make(), "w:gz"),
        "stored.zip": lambda: _zipped(name, make(), zipfile.ZIP_STORED),
        "deflated.zip": lambda: _zipped(name, make(), zipfile.ZIP_DEFLATED),
        "lzma.zip": lambda: _zipped(name, make(), zipfile.ZIP_LZMA),
    }


def _tarred(name: str, data: bytes, mode: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode, format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]
        info = tarfile.TarInfo("é/" + name)  # which needs an extended header
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def _zipped(name: str, data: bytes, method: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr("labels.txt", b"a\nb\n")
        archive.writestr(name, data)
    return stream.getvalue()


def _written(module: Any, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    stream = io.BytesIO()
    module.write(stream, arrays, metadata)
    return stream.getvalue()


def _quantized(module: Any, row: Any, arrays: Mapping[str, np.ndarray], storage: str) -> bytes:
    from fastalex import weights
    from fastalex.quantize import Calibration
    from fastalex.weights import quantized

    steps = {layer.name: 0.5 for layer in row.layers() if layer.param}
    packed, metadata = quantized.to_file(arrays, row, storage)
    metadata.update(weights.metadata_for(row, ["a", "b"], Calibration(steps, "max", 1)))
    return _written(module, packed, metadata)
