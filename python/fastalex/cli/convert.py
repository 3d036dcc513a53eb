"""The command ``fastalex convert``."""

from __future__ import annotations

import argparse
import os
from typing import Any

from .._util import console
from ..errors import UserError, one_line
from .common import check_file
from .options import add_check, add_command, add_labels, add_mean, add_variant, add_weights, positive


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(commands, "convert", run, "convert weights of any format to .safetensors or .npz")
    add_weights(parser, "input", metavar="IN")
    parser.add_argument("output", metavar="OUT", help="file to write, .safetensors or .npz")
    add_variant(parser, "detected from the file")
    parser.add_argument(
        "--num-classes", type=positive, metavar="N", help="fail if the weights have another number of classes"
    )
    add_labels(parser, "to store in OUT")
    add_mean(parser, ", which OUT remembers")
    parser.add_argument("--conv-only", action="store_true", help="write only the convolutions, which LPIPS uses")
    add_check(parser)


def run(options: argparse.Namespace) -> int:
    """Write the weights ``options.input`` in another format, with their variant in the metadata."""
    from .. import weights
    from ..weights import adapt, initial, mean_image, quantized, registry
    from ..weights.class_names import read_labels

    if os.path.splitext(options.output)[1].lower() not in weights.FORMATS:
        raise UserError(f"{options.output} must end in {' or '.join(weights.FORMATS)}")
    loaded = weights.load_network(registry.locate(options.input), mmap=not options.no_mmap)
    if options.variant is None:
        match = adapt.find(loaded)
        base, note = match.variant, match.note
    else:
        base, note = options.variant, "set by --variant"
    note = "; ".join([note, *loaded.notes])
    row = adapt.row_for(loaded, base, options.num_classes)
    arrays = dict(zip(row.parameter_shapes(), initial.check(row, adapt.fit(loaded, row))))
    check_file(options, loaded, row, arrays)
    if options.conv_only:
        convolutions = (layer for layer in row.layers() if layer.op == "conv")
        arrays = {name: arrays[name] for layer in convolutions for name in layer.param_shapes}
    metadata = dict(loaded.metadata)  # source and license stay with the weights
    for key in quantized.KEYS:  # the output is float32
        metadata.pop(key, None)
    labels = read_labels(options.labels, row.num_classes) if options.labels else loaded.labels()
    mean = None if options.mean is None else mean_image.given(options.mean, row)
    fitting = labels if labels and len(labels) == row.num_classes else None
    metadata.update(weights.metadata_for(row, fitting, mean_image=mean))
    loaded.check_unchanged()
    weights.save(options.output, arrays, metadata)
    facts = {
        "output": options.output,
        "variant": row.name,
        "how": note,
        "num_classes": row.num_classes,
        "arrays": len(arrays),
        "bytes": os.path.getsize(options.output),
    }
    if options.json:
        console.write_json(facts)
    else:
        console.write(
            "%(shown)s: variant %(variant)s (%(how)s), %(num_classes)d classes, %(arrays)d arrays, %(bytes)d bytes"
            % dict(facts, shown=one_line(options.output))
        )
    return 0
