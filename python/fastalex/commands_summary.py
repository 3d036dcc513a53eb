"""The command ``fastalex summary``."""

from __future__ import annotations

import argparse
from typing import Any, Dict, List, Optional, Sequence, Tuple

from . import console
from .commands_common import MAX_BATCH, OK, net_facts, net_from
from .errors import UserError


def summary(options: argparse.Namespace) -> int:
    """Print the layers of a variant, the native layer table, or the list of variants."""
    from . import variants
    from .layers import layer_table

    loaded = _load_weights(options.weights)
    if options.variant is None and loaded is None:
        return _list_variants(options)
    if options.kernels:
        return _summarize_kernels(options)
    base, classes = options.variant, options.num_classes
    if loaded is not None:
        from .weights import adapt, initial

        base = base or adapt.find(loaded).variant
        classes = classes or adapt.class_count(loaded)
    row = variants.get(base, num_classes=classes, input_size=options.input_size)
    if loaded is not None:
        initial.check(row, adapt.fit(loaded, row))
    layers = row.layers()
    facts = _summary_facts(row, layers)
    if options.json:
        console.write_json(dict(facts, table=layer_table(layers)) if options.table else facts)
    elif options.table:
        console.write(layer_table(layers).rstrip("\n"))
    else:
        _print_layers(facts)
    return OK


def _summarize_kernels(options: argparse.Namespace) -> int:
    from . import commands_tune

    options.threads = None
    sizes = {"num_classes": options.num_classes, "input_size": options.input_size}
    net = net_from(options, **{key: value for key, value in sizes.items() if value})
    if options.batch > MAX_BATCH:
        raise UserError("--batch may be at most %d, not %d" % (MAX_BATCH, options.batch))
    facts = dict(net_facts(net), batch=options.batch, **net.kernels(options.batch))
    if options.json:
        console.write_json(facts)
    else:
        commands_tune.print_kernels(facts)
    return OK


def _summary_facts(row: Any, layers: List[Any]) -> Dict[str, Any]:
    rows = [
        {
            "name": layer.name,
            "op": layer.op,
            "output_shape": list(layer.out_shape),
            "params": layer.params,
            "macs": layer.macs,
            "weight_bytes": 4 * layer.params,
        }
        for layer in layers
    ]
    totals = {key: sum(layer[key] for layer in rows) for key in ("params", "macs", "weight_bytes")}
    facts = {"variant": row.name, "summary": row.summary, "input_shape": list(layers[0].in_shape), "layers": rows}
    return dict(facts, num_classes=row.num_classes, total=totals)


def _print_layers(facts: Dict[str, Any]) -> None:
    columns = ("layer", "op", "output", "parameters", "MACs", "bytes (fp32)")
    numbers = columns[3:]

    def figures(row: Dict[str, Any]) -> Tuple[str, ...]:
        return tuple(f"{row[key]:,}" if row[key] else "" for key in ("params", "macs", "weight_bytes"))

    rows = [(row["name"], row["op"], _shape(row["output_shape"]), *figures(row)) for row in facts["layers"]]
    rows.append(("total", "", "", *figures(facts["total"])))
    title = "%s: %s; input %s" % (facts["variant"], facts["summary"], _shape(facts["input_shape"]))
    console.table(title, columns, rows, right=numbers)


def _list_variants(options: argparse.Namespace) -> int:
    from . import variants

    if options.num_classes or options.input_size or options.table or options.kernels:
        raise UserError("name a variant: fastalex summary VARIANT (there are: %s)" % ", ".join(variants.VARIANTS))
    rows = list(variants.VARIANTS.values())
    if options.json:
        keys = ("name", "summary", "input_size", "num_classes", "params", "macs")
        console.write_json({"variants": [{key: getattr(row, key) for key in keys} for row in rows]})
        return OK
    cells = [(row.name, row.input_size, f"{row.params:,}", row.summary) for row in rows]
    console.table("", ("variant", "input", "parameters", "what it is"), cells, right=("input", "parameters"))
    return OK


def _load_weights(given: Optional[str]) -> Any:
    if given is None:
        return None
    from . import weights

    return weights.load_named(given)


def _shape(sides: Sequence[int]) -> str:
    return " x ".join(str(side) for side in sides)
