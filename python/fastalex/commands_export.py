"""The command ``fastalex export``: a network as a file for other programs."""

from __future__ import annotations

import argparse
import os
from typing import Any, Callable, Dict, List

from . import console
from .errors import UserError

ANY_BATCH = "any"
SUFFIXES = {".onnx": "onnx", ".engine": "engine", ".plan": "engine"}


def export(options: argparse.Namespace, read_labels: Callable[[str, int], List[str]]) -> int:
    """Write the network that ``options.weights`` are for as ``options.output``."""
    kind = options.to or SUFFIXES.get(os.path.splitext(options.output)[1].lower())
    if kind is None:
        raise UserError("say what %s is to be: --to onnx or --to engine" % options.output)
    facts = _onnx(options, read_labels) if kind == "onnx" else _engine(options)
    facts = dict(facts, output=options.output, to=kind, bytes=os.path.getsize(options.output))
    if options.json:
        console.write_json(facts)
    else:
        console.write(
            "%s: %s, variant %s, batch %s, %d bytes; %s"
            % (console.printable(options.output), kind, facts["variant"], facts["batch"], facts["bytes"], facts["note"])
        )
    return 0


def _onnx(options: argparse.Namespace, read_labels: Callable[[str, int], List[str]]) -> Dict[str, Any]:
    """The weights as float32, dequantised where they are kept in fewer bits."""
    from . import onnx_graph, variants, weights
    from .files import replacing
    from .weights import adapt, initial, registry

    for name, value in (
        ("precision", options.precision),
        ("fc-weights", options.fc_weights),
        ("engine", options.engine),
    ):
        if value is not None:
            raise UserError("an ONNX file holds float32 for whatever reads it; leave out --%s" % name)
    loaded = weights.load(registry.locate(options.weights))
    base = options.variant or adapt.find(loaded).variant
    classes = adapt.class_count(loaded) if isinstance(base, str) else None
    row = variants.get(base, num_classes=classes, input_size=options.input_size)
    arrays = dict(zip(row.parameter_shapes(), initial.check(row, adapt.fit(loaded, row))))
    labels = read_labels(options.labels, row.num_classes) if options.labels else loaded.labels()
    known = labels if labels and len(labels) == row.num_classes else None
    batch = None if options.batch == ANY_BATCH else options.batch
    model = onnx_graph.graph_of(row, arrays, batch, options.softmax, weights.metadata_for(row, known))
    with replacing(options.output) as stream:
        stream.write(model.SerializeToString())
    note = "input x, output %s" % model.graph.output[0].name
    return {"variant": row.name, "batch": options.batch, "note": note}


def _engine(options: argparse.Namespace) -> Dict[str, Any]:
    """An engine for this machine's GPU and TensorRT."""
    from .model import AlexNet
    from .weights import registry

    if options.batch == ANY_BATCH:
        raise UserError("an engine needs its largest batch: --batch 8 serves 1 to 8 images")
    if options.labels:
        raise UserError("an engine holds no class names; leave out --labels")
    sizes = {"input_size": options.input_size} if options.input_size else {}
    net = AlexNet(
        options.variant,
        weights=registry.locate(options.weights),
        device=options.device,
        precision=options.precision or "fp32",
        fc_weights=options.fc_weights,
        engine=options.engine,
        **sizes,
    )
    net.save_engine(options.output, options.batch, options.softmax)
    note = "%s, %s, fc weights %s, %s" % (net.device, net.precision, net.fc_weights, net.tuning)
    return {"variant": net.variant.name, "batch": options.batch, "note": note}
