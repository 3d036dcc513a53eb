"""The commands ``fastalex convert`` and ``fastalex weights``."""

from __future__ import annotations

import argparse
import os
from typing import Any, Dict, List

from . import console
from .commands_common import read_labels
from .errors import UserError


def convert(options: argparse.Namespace) -> int:
    """Write the weights ``options.input`` in another format, with the variant that they are for."""
    from . import variants, weights
    from .weights import adapt, initial, quantised, registry

    if os.path.splitext(options.output)[1].lower() not in weights.FORMATS:
        raise UserError("%s must end in %s" % (options.output, " or ".join(weights.FORMATS)))
    loaded = weights.load(registry.locate(options.input))
    if options.variant is None:
        found = adapt.find(loaded)
        base, note = found.variant, found.note
    else:
        base, note = options.variant, "as you said"
    classes = options.num_classes or (adapt.class_count(loaded) if isinstance(base, str) else None)
    row = variants.get(base, num_classes=classes)
    arrays = dict(zip(row.parameter_shapes(), initial.check(row, adapt.fit(loaded, row))))
    if options.conv_only:
        convolutions = (layer for layer in row.layers() if layer.op == "conv")
        arrays = {name: arrays[name] for layer in convolutions for name in layer.param_shapes}
    metadata = dict(loaded.metadata)  # source and licence stay with the weights
    for key in quantised.KEYS:  # what is written is float32
        metadata.pop(key, None)
    labels = read_labels(options.labels, row.num_classes) if options.labels else loaded.labels()
    metadata.update(weights.metadata_for(row, labels if labels and len(labels) == row.num_classes else None))
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
            "%(output)s: variant %(variant)s (%(how)s), %(num_classes)d classes, %(arrays)d arrays, %(bytes)d bytes"
            % {key: console.printable(value) if isinstance(value, str) else value for key, value in facts.items()}
        )
    return 0


def weights(options: argparse.Namespace) -> int:
    """List the registered weights, or fetch some."""
    from .weights import registry

    if options.action == "fetch":
        if not options.names:
            raise UserError("name the weights to fetch (there are: %s)" % ", ".join(registry.FILES))
        paths = {name: registry.fetch(name, quiet=options.json) for name in options.names}
        if options.json:
            console.write_json(paths)
        else:
            console.write("\n".join(console.printable(path) for path in paths.values()))
        return 0
    rows = registry.listing()
    if options.json:
        console.write_json({"folder": registry.folder(), "weights": rows})
    else:
        columns = ("name", "variant", "here", "bytes", "licence", "file")
        console.table("Weights in %s" % registry.folder(), columns, [_cells(row) for row in rows], right=("bytes",))
    return 0


def _cells(row: Dict[str, Any]) -> List[str]:
    size = "-" if row["bytes"] is None else f"{row['bytes']:,}"
    return [row["name"], row["variant"], "yes" if row["present"] else "no", size, row["licence"], row["filename"]]
