"""The command ``fastalex summary``."""

from __future__ import annotations

import argparse
from typing import Any, Dict, List, Optional, Sequence, Tuple

from .._util import console
from ..errors import UserError, one_line
from .common import MAX_BATCH, OK, USAGE_ERROR, located, net_facts, net_from, profile_name
from .options import add_command, add_mean, add_precision, add_profile, positive


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(commands, "summary", run, "list the network variants, or show the layers of one")
    parser.add_argument(
        "variant", nargs="?", metavar="VARIANT", help="network variant to show; without one, all are listed"
    )
    parser.add_argument(
        "--num-classes", type=positive, metavar="N", help="number of classes (default: the variant's own)"
    )
    parser.add_argument(
        "--input-size", type=positive, metavar="S", help="side of the input in pixels (default: the variant's own)"
    )
    parser.add_argument(
        "--weights",
        metavar="W",
        help="weights file, or a name of weights, to take the variant from or to check VARIANT against",
    )
    parser.add_argument("--table", action="store_true", help="print the layer table that the native engine reads")
    parser.add_argument("--kernels", action="store_true", help="print the kernels of each layer on --device")
    parser.add_argument(
        "--density",
        nargs="+",
        metavar="IMAGE",
        help="images and folders: print the share of the inputs of fc6, fc7 and fc8 that is not zero for them",
    )
    add_profile(parser, "the variant's own; for --density")
    add_mean(parser, "; for --density")
    add_precision(parser)
    parser.add_argument("--batch", type=positive, default=1, metavar="N", help="batch size for --kernels (default: 1)")


def run(options: argparse.Namespace) -> int:
    """Print the layers of a variant, the native layer table, or the list of variants."""
    from ..networks import variants
    from ..networks.layers import layer_table

    if options.density is not None:
        return _summarize_density(options)
    loaded = _load_weights(options.weights)
    if options.variant is None and loaded is None:
        return _list_variants(options)
    if options.kernels:
        return _summarize_kernels(options)
    if loaded is None:
        row = variants.get(options.variant, num_classes=options.num_classes, input_size=options.input_size)
    else:
        from ..weights import adapt, initial, resolve

        named = resolve.chosen(loaded, options.variant, 1)
        row = adapt.row_for(loaded, named, options.num_classes, input_size=options.input_size)
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
    options.threads = None
    sizes = {"num_classes": options.num_classes, "input_size": options.input_size}
    net = net_from(options, **{key: value for key, value in sizes.items() if value})
    if options.batch > MAX_BATCH:
        raise UserError(f"--batch must be at most {MAX_BATCH}, not {options.batch}")
    facts = dict(net_facts(net), batch=options.batch, **net.kernels(options.batch))
    if options.json:
        console.write_json(facts)
    else:
        _print_kernels(facts)
    return OK


def _summarize_density(options: argparse.Namespace) -> int:
    """Print the densities of the fully connected layers; images that cannot be read are reported and left out."""
    from .. import density
    from ..images import listing
    from ..weights import registry

    if options.kernels or options.table:
        raise UserError(f"give one of --density and {'--kernels' if options.kernels else '--table'}")
    if options.weights in (None, "random"):
        raise UserError("--density needs trained weights: use --weights FILE, or the built-in --weights digits")
    options.weights, options.threads = registry.locate(options.weights), None
    sizes = {"num_classes": options.num_classes, "input_size": options.input_size}
    sizes = {key: value for key, value in sizes.items() if value}
    net = net_from(options, profile=profile_name(options.profile), **sizes)
    paths = list(listing.listed(options.density, console.error))
    counted: List[Dict[str, float]] = []
    with console.progress("counting zeros", len(paths), options.json) as report:
        for done, (path, error) in enumerate(paths, 1):
            try:
                if error is not None:
                    raise error
                counted.append(density.means(density.measure(net, path)))
            except UserError as reason:
                console.error(str(reason))
            report(done)
    if counted:  # otherwise there is a sentence for each of the images
        _print_density(options, net, counted)
    return OK if len(counted) == len(paths) else USAGE_ERROR


def _print_density(options: argparse.Namespace, net: Any, counted: List[Dict[str, float]]) -> None:
    """Print mean, minimum and maximum over the images, from the densities for each of them."""
    layers = {layer.name: layer for layer in net.variant.layers() if layer.op == "fc"}
    rows: List[Dict[str, Any]] = []
    for name, layer in layers.items():
        shares = [one[name] for one in counted]
        row = {"name": name, "inputs": layer.param_shapes[layer.param + ".weight"][1]}
        rows.append(dict(row, mean=sum(shares) / len(shares), minimum=min(shares), maximum=max(shares)))
    if options.json:
        console.write_json(dict(net_facts(net), profile=net.variant.profile, images=len(counted), density=rows))
        return
    columns = ("layer", "inputs", "mean", "minimum", "maximum")
    cells = [(row["name"], f"{row['inputs']:,}", *(f"{row[key]:.3f}" for key in columns[2:])) for row in rows]
    images = "1 image" if len(counted) == 1 else f"{len(counted)} images"
    title = f"{net.variant.name}, {net.precision}, {images}: share of the inputs that is not zero"
    console.table(title, columns, cells, right=columns[1:])


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
    title = f"{facts['variant']}: {facts['summary']}; input {_shape(facts['input_shape'])}"
    console.table(title, columns, rows, right=numbers)


def _list_variants(options: argparse.Namespace) -> int:
    from ..networks import variants

    if options.num_classes or options.input_size or options.table or options.kernels:
        raise UserError(f"name a variant: fastalex summary VARIANT (there are: {', '.join(variants.VARIANTS)})")
    rows = list(variants.VARIANTS.values())
    if options.json:
        keys = ("name", "summary", "input_size", "num_classes", "params", "macs")
        console.write_json({"variants": [{key: getattr(row, key) for key in keys} for row in rows]})
        return OK
    cells = [(row.name, row.input_size, f"{row.params:,}", row.summary) for row in rows]
    console.table("", ("variant", "input", "parameters", "description"), cells, right=("input", "parameters"))
    return OK


def _load_weights(name: Optional[str]) -> Any:
    if name is None:
        return None
    from .. import weights

    return weights.load_network(located(name))


def _shape(sides: Sequence[int]) -> str:
    return " x ".join(str(side) for side in sides)


def _print_kernels(facts: Dict[str, Any]) -> None:
    """Print the kernels of one network, as returned by ``AlexNet.kernels``."""
    cells = []
    for step in facts["steps"]:
        cells.append((", ".join(step["layers"]), step["candidate"], step.get("split", 1), *_kernel(step, 0)))
        cells += [("", "", "", *_kernel(step, index)) for index in range(1, len(step["kernels"]))]
    title = (
        f"{facts['variant']} on {facts['device']}, {facts['precision']}, fc weights {facts['fc_weights']}, "
        f"batch {facts['batch']}"
    )
    title += "; one CUDA graph" if facts["graph"] else ""
    console.table(
        title, ("layers", "chosen", "split", "kernel", "grid", "threads", "shared B"), cells, right=("split",)
    )
    if facts["tuning"]:
        console.write(one_line(f"tuning: {facts['tuning']}"))


def _kernel(step: Dict[str, Any], index: int) -> Any:
    if index >= len(step["kernels"]):
        return "", "", "", ""
    kernel = step["kernels"][index]
    return kernel["name"], " x ".join(map(str, kernel["grid"])), kernel["threads"], kernel["shared_bytes"]
