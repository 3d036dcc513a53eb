"""The command ``fastalex export``, which writes a network as a file for other programs."""

from __future__ import annotations

import argparse
import os
from typing import Any, Dict

from .._util import console
from ..errors import UserError, one_line
from .common import check_file
from .options import add_check, add_command, add_engine, add_labels, add_variant, add_weights, positive

ANY_BATCH = "any"
SUFFIXES = {".onnx": "onnx", ".engine": "engine", ".plan": "engine"}


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(commands, "export", run, "export a network as an ONNX file or a TensorRT engine")
    add_weights(parser, "weights", metavar="WEIGHTS")
    parser.add_argument("output", metavar="OUT", help="file to write")
    parser.add_argument(
        "--to", choices=("onnx", "engine"), help="format (default: from the suffix of OUT, .onnx, .engine or .plan)"
    )
    add_variant(parser, "detected from the file")
    parser.add_argument(
        "--input-size", type=positive, metavar="S", help="side of the input in pixels (default: the variant's own)"
    )
    parser.add_argument(
        "--batch",
        type=_batch,
        default=1,
        metavar="N",
        help="batch size; 'any' for an ONNX file of any batch size; for an engine the largest one (default: 1)",
    )
    parser.add_argument("--softmax", action="store_true", help="output probabilities instead of logits")
    add_labels(parser, "to store in an ONNX file")
    parser.add_argument(
        "--device", default="tensorrt", metavar="D", help="GPU of the engine, such as tensorrt:1 (default: tensorrt)"
    )
    parser.add_argument("--precision", metavar="T", help="precision of the engine: fp32 or fp16 (default: fp32)")
    parser.add_argument(
        "--fc-weights",
        metavar="T",
        help="precision of the engine's fully connected weights, such as int8 or int4 (default: that of --precision)",
    )
    add_engine(parser)
    add_check(parser)


def _batch(text: str) -> Any:
    return text if text == ANY_BATCH else positive(text)


def run(options: argparse.Namespace) -> int:
    """Write the network of ``options.weights`` to ``options.output``."""
    kind = options.to or SUFFIXES.get(os.path.splitext(options.output)[1].lower())
    if kind is None:
        raise UserError(f"the suffix of {options.output} is unknown: add --to onnx or --to engine")
    facts = _onnx(options) if kind == "onnx" else _engine(options)
    facts = dict(facts, output=options.output, to=kind, bytes=os.path.getsize(options.output))
    if options.json:
        console.write_json(facts)
    else:
        console.write(
            f"{one_line(options.output)}: {kind}, variant {facts['variant']}, batch {facts['batch']}, "
            f"{facts['bytes']} bytes; {facts['note']}"
        )
    return 0


def _onnx(options: argparse.Namespace) -> Dict[str, Any]:
    """Write an ONNX file with float32 weights, dequantized if the file has quantized ones; return facts about it."""
    from .. import weights
    from .._util.files import replacing
    from ..networks import onnx_export
    from ..weights import adapt, initial, registry, resolve
    from ..weights.class_names import read_labels
    from ..weights.readers import mapped

    for name, value in (
        ("precision", options.precision),
        ("fc-weights", options.fc_weights),
        ("engine", options.engine),
    ):
        if value is not None:
            raise UserError(f"an ONNX file is always written in float32; leave out --{name}")
    loaded = weights.load_network(registry.locate(options.weights), mmap=not options.no_mmap)
    row = adapt.row_for(loaded, resolve.chosen(loaded, options.variant, 1), input_size=options.input_size)
    labels = read_labels(options.labels, row.num_classes) if options.labels else loaded.labels()
    known = labels if labels and len(labels) == row.num_classes else None
    batch = None if options.batch == ANY_BATCH else options.batch
    metadata = weights.metadata_for(row, known)
    fitted = adapt.fit(loaded, row)
    with mapped.reading_once(loaded.arrays.values()):
        arrays = dict(zip(row.parameter_shapes(), initial.check(row, fitted)))
        check_file(options, loaded, row, arrays)
    with mapped.reading_once(loaded.arrays.values()):  # which looks once more, after seconds
        model = onnx_export.graph_of(row, arrays, batch, options.softmax, metadata)
    loaded.check_unchanged()  # after the last look at its arrays, of which the model has copies
    with replacing(options.output, tidy=True) as stream:
        stream.write(model.SerializeToString())
    note = f"input x, output {model.graph.output[0].name}"
    return {"variant": row.name, "batch": options.batch, "note": note}


def _engine(options: argparse.Namespace) -> Dict[str, Any]:
    """Write an engine for this machine's GPU and TensorRT; return facts about it."""
    from ..model import AlexNet
    from ..weights import registry

    if options.batch == ANY_BATCH:
        raise UserError("an engine needs a largest batch size: --batch 8, for example, serves 1 to 8 images")
    if options.labels:
        raise UserError("an engine cannot store class names; leave out --labels")
    sizes = {"input_size": options.input_size} if options.input_size else {}
    net = AlexNet(
        options.variant,
        weights=registry.locate(options.weights),
        device=options.device,
        precision=options.precision or "fp32",
        fc_weights=options.fc_weights,
        engine=options.engine,
        check=not options.no_check,
        **sizes,
    )
    net.save_engine(options.output, options.batch, options.softmax)
    note = f"{net.device}, {net.precision}, fc weights {net.fc_weights}, {net.tuning}"
    return {"variant": net.variant.name, "batch": options.batch, "note": note}
