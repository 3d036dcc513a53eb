"""The command ``fastalex``.

Exit codes: 0; 1 if ``info`` finds something broken; 2, with one sentence on standard error, for what the caller can
mend; 130 if interrupted; 141 if the reader of the output went away (as if by SIGPIPE).
Modules that cost time to load are imported inside the commands.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any, Dict, Iterator, List, NoReturn, Optional, Sequence, Tuple

from . import __version__, console
from .errors import BackendError, UserError

OK, BROKEN, MISTAKE, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 130, 141
CLASSIFY_BATCH = 16  # images in memory at once
MAX_BATCH = 4096
WARM_UP_S = 0.5


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line ``argv`` (default: the process's) and return the exit code. Prints; never exits."""
    try:
        return _main(sys.argv[1:] if argv is None else list(argv))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        console.discard_output()
        return PIPE_CLOSED
    except console.OutputError as error:
        console.discard_output()
        console.complain("the output cannot be written: %s" % error)
    except (UserError, BackendError) as error:
        console.complain(str(error))
    except MemoryError:
        console.complain("there is not enough memory for this; try a smaller batch or network")
    except ImportError as error:
        console.complain("the installation is not complete (%s); install fastalex again" % error)
    except OSError as error:
        console.complain("%s%s" % (error.strerror or error, ": %s" % error.filename if error.filename else ""))
    return MISTAKE


def _main(argv: List[str]) -> int:
    try:
        options, unknown = _parser().parse_known_args(argv)
    except SystemExit:  # --help or --version, whose text argparse has handed to _Parser
        return OK
    if unknown:  # argparse itself would point to the help of the whole program
        raise UserError("unknown arguments: %s (see: fastalex %s --help)" % (" ".join(unknown), options.command))
    return options.run(options)


# The parser ---------------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, and writes through :mod:`fastalex.console`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise UserError("%s (see: %s --help)" % (message, self.prog))

    def _print_message(self, message: str, file: Any = None) -> None:
        if message:
            console.write(message.rstrip("\n"))


def _parser() -> _Parser:
    parser = _Parser(prog="fastalex", description="The AlexNet family on this machine: classify, inspect, measure.")
    parser.add_argument("--version", action="version", version="fastalex " + __version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_classify(commands)
    _add_info(commands)
    _add_summary(commands)
    _add_bench(commands)
    _add_tune(commands)
    _add_convert(commands)
    _add_export(commands)
    _add_quantize(commands)
    _add_weights(commands)
    return parser


def _add(commands: Any, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    return parser


def _add_classify(commands: Any) -> None:
    parser = _add(commands, "classify", classify, "name what is on images")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="a file, or a folder: the images in it, sorted")
    _add_net(parser, "default: the one the weights are for")
    parser.add_argument("--weights", metavar="W", help="a weights file, or 'digits', which is built in")
    parser.add_argument("--topk", type=_positive, default=5, metavar="K", help="classes to show, best first (5)")
    parser.add_argument("--profile", metavar="P", help="preprocessing; default: the variant's own")
    parser.add_argument("--labels", metavar="FILE", help="names of the classes, one a line, UTF-8")


def _add_info(commands: Any) -> None:
    _add(commands, "info", info, "what was found here, what was refused and why, and a self-test")


def _add_summary(commands: Any) -> None:
    parser = _add(commands, "summary", summary, "the layers of a network, or the list of networks")
    parser.add_argument("variant", nargs="?", metavar="VARIANT", help="left out: list the variants")
    parser.add_argument("--num-classes", type=_positive, metavar="N", help="width of the last layer")
    parser.add_argument("--input-size", type=_positive, metavar="S", help="side of the input in pixels")
    parser.add_argument("--weights", metavar="W", help="take the variant from this file, or check that it fits")
    parser.add_argument("--table", action="store_true", help="print the layer table that the native engine reads")
    parser.add_argument("--kernels", action="store_true", help="print which kernel serves each layer on --device")
    _add_numbers(parser)
    parser.add_argument("--batch", type=_positive, default=1, metavar="N", help="with --kernels: batch size (1)")


def _add_bench(commands: Any) -> None:
    parser = _add(commands, "bench", bench, "measure the time of a batch on this machine")
    _add_net(parser, "default: alexnet2012, or the one the weights are for")
    parser.add_argument("--weights", default="random", metavar="W", help="a file, 'digits', or 'random' (default)")
    parser.add_argument("--batch", type=_positive, nargs="+", default=[1], metavar="N", help="batch sizes (1)")
    parser.add_argument("--repeat", type=_positive, default=20, metavar="N", help="measured runs of each batch (20)")


def _add_tune(commands: Any) -> None:
    parser = _add(commands, "tune", tune, "measure which kernels are best on this GPU, and keep that in your cache")
    parser.add_argument("--device", default="cuda", metavar="D", help="the GPU: cuda (default), or cuda:1")
    parser.add_argument(
        "--variant", nargs="+", default=["alexnet2012"], metavar="V", help="networks (alexnet2012); see 'summary'"
    )
    parser.add_argument(
        "--precision", nargs="+", default=["fp32", "fp16"], metavar="T", help="of activations (fp32 fp16)"
    )
    parser.add_argument("--fc-weights", nargs="+", metavar="T", help="fully connected weights; default: --precision")
    parser.add_argument("--batch", type=_positive, nargs="+", default=[1], metavar="N", help="batch sizes (1)")
    parser.add_argument("--repeat", type=_positive, default=20, metavar="N", help="runs of each of three rounds (20)")
    parser.add_argument("--dry-run", action="store_true", help="print the figures and keep nothing")


def _add_convert(commands: Any) -> None:
    parser = _add(commands, "convert", convert, "write weights of any format as .safetensors or .npz")
    parser.add_argument("input", metavar="IN", help="a weights file, or a name that 'fastalex weights' lists")
    parser.add_argument("output", metavar="OUT", help="the file to write, .safetensors or .npz")
    parser.add_argument("--variant", metavar="V", help="see 'fastalex summary'; default: found from the file")
    parser.add_argument("--num-classes", type=_positive, metavar="N", help="refuse weights of another number")
    parser.add_argument("--labels", metavar="FILE", help="names of the classes to write with them, one a line, UTF-8")


def _add_export(commands: Any) -> None:
    parser = _add(commands, "export", export, "write a network for other programs: an ONNX file or a TensorRT engine")
    parser.add_argument("weights", metavar="WEIGHTS", help="a weights file, 'digits', or what 'fastalex weights' lists")
    parser.add_argument("output", metavar="OUT", help="the file to write")
    parser.add_argument("--to", choices=("onnx", "engine"), help="default: by OUT's suffix, .onnx, .engine or .plan")
    parser.add_argument("--variant", metavar="V", help="see 'fastalex summary'; default: found from the file")
    parser.add_argument("--input-size", type=_positive, metavar="S", help="side of the input; default: the variant's")
    parser.add_argument(
        "--batch", type=_batch, default=1, metavar="N", help="images at a time (1); onnx: 'any'; engine: the most"
    )
    parser.add_argument("--softmax", action="store_true", help="probabilities instead of logits")
    parser.add_argument("--labels", metavar="FILE", help="onnx: names of the classes to write with it, one a line")
    parser.add_argument("--device", default="tensorrt", metavar="D", help="engine: tensorrt (default) or tensorrt:1")
    parser.add_argument("--precision", metavar="T", help="engine: fp32 (default) or fp16")
    parser.add_argument("--fc-weights", metavar="T", help="engine: as --precision (default), int8 or int4")
    _add_engine(parser)


def _add_quantize(commands: Any) -> None:
    text = "write weights in fewer bits, with the ranges that int8 precision needs"
    parser = _add(commands, "quantize", quantize, text)
    parser.add_argument("input", metavar="WEIGHTS", help="a weights file, 'digits', or what 'fastalex weights' lists")
    parser.add_argument("output", metavar="OUT", help="the file to write, .safetensors or .npz")
    parser.add_argument("--calibrate", metavar="DIR", help="images like those to come, in this folder and below it")
    parser.add_argument(
        "--method", default="percentile", metavar="M", help="of calibration: percentile (default), entropy or max"
    )
    parser.add_argument(
        "--percentile", type=float, metavar="P", help="share of the activations that is not clipped (99.99)"
    )
    parser.add_argument("--images", type=_positive, default=512, metavar="N", help="look at N of the images (512)")
    parser.add_argument(
        "--fc-weights", default="int8", metavar="T", help="fully connected weights: int8 (default), int4 or fp32"
    )
    parser.add_argument("--profile", metavar="P", help="preprocessing; default: the variant's own")
    parser.add_argument("--variant", metavar="V", help="see 'fastalex summary'; default: found from the file")
    parser.add_argument("--threads", type=_positive, metavar="N", help="CPU threads; default: all it may use")


def _add_weights(commands: Any) -> None:
    parser = _add(commands, "weights", weights, "list the published weights, or fetch some")
    parser.add_argument("action", nargs="?", choices=("list", "fetch"), default="list", help="default: list")
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to fetch")


def _add_net(parser: argparse.ArgumentParser, variant_default: str) -> None:
    parser.add_argument("--variant", metavar="V", help="see 'fastalex summary'; " + variant_default)
    _add_numbers(parser)
    parser.add_argument("--threads", type=_positive, metavar="N", help="CPU threads; default: all it may use")


def _add_numbers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", default="auto", metavar="D", help="auto (default), cpu, cuda, cuda:1, tensorrt or naive"
    )
    parser.add_argument(
        "--precision",
        default="fp32",
        metavar="T",
        help="of activations: fp32 (default), bf16 or int8 on a CPU, fp16 on a GPU; int8: see 'quantize --calibrate'",
    )
    parser.add_argument(
        "--fc-weights",
        metavar="T",
        help="fully connected weights: fp32, fp16, bf16, int8 or int4; default: as the file has them, else --precision",
    )
    parser.add_argument("--exact", action="store_true", help="on a CPU: no Winograd convolutions")
    _add_engine(parser)


def _add_engine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--engine", metavar="E", help="on TensorRT: plugins (default) or native, TensorRT's own layers alone"
    )


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError("must be a whole number above 0, not '%s'" % text)
    return value


def _batch(text: str) -> Any:
    return text if text == "any" else _positive(text)


# classify -----------------------------------------------------------------------------------------------------------


def classify(options: argparse.Namespace) -> int:
    """Print the most probable classes of each image; images that cannot be read are complained about and left out."""
    if options.weights in (None, "random"):
        raise UserError("classify needs trained weights: --weights FILE, or --weights digits, which is built in")
    net = _net(options, profile=_profile_name(options.profile))
    if options.labels is not None:
        net.labels = _read_labels(options.labels, net.variant.num_classes)
    if not options.json:
        console.write("%s, variant %s, profile %s\n" % (_device_line(net, options), net.variant.name, _profile(net)))
    results: List[Dict[str, Any]] = []
    failed = False
    for entry in _classified(net, options.images, options.topk):
        failed = failed or "error" in entry
        if "error" in entry:
            console.complain(entry["error"])
        elif not options.json:
            _print_predictions(entry)
        if options.json:
            results.append(entry)
    if options.json:
        console.write_json(dict(_net_facts(net), profile=_profile(net), images=results))
    return MISTAKE if failed else OK


def _classified(net: Any, paths: Sequence[str], topk: int) -> Iterator[Dict[str, Any]]:
    """``{"path", "predictions"}`` or ``{"path", "error"}`` for each image, in order."""
    from . import image_files

    waiting: List[Tuple[str, Any]] = []  # path, preprocessed image or the error
    for path, error in image_files.listed(paths):
        waiting.append((path, error or _preprocessed(net, path)))
        if len(waiting) == CLASSIFY_BATCH:
            yield from _classify_batch(net, waiting, topk)
            waiting = []
    yield from _classify_batch(net, waiting, topk)


def _classify_batch(net: Any, waiting: List[Tuple[str, Any]], topk: int) -> Iterator[Dict[str, Any]]:
    import numpy as np

    good = [image for _, image in waiting if not isinstance(image, UserError)]
    rows = iter(net.classify(np.concatenate(good), topk) if good else ())
    for path, image in waiting:
        if isinstance(image, UserError):
            yield {"path": path, "error": str(image)}
            continue
        ranked = [dict(rank=i + 1, **item._asdict()) for i, item in enumerate(next(rows))]
        yield {"path": path, "predictions": ranked}


def _preprocessed(net: Any, path: str) -> Any:
    try:
        return net.preprocess(path)
    except UserError as error:
        return error


def _print_predictions(entry: Dict[str, Any]) -> None:
    rows = [(item["rank"], item["label"], "%.2f" % (100 * item["probability"])) for item in entry["predictions"]]
    console.table(entry["path"], ("rank", "label", "probability %"), rows, right=("rank", "probability %"))


def _profile_name(name: Optional[str]) -> Optional[str]:
    from . import profiles

    return profiles.get(name).name if name is not None else None


def _profile(net: Any) -> str:
    return net.variant.profile


def _read_labels(path: str, count: int) -> List[str]:
    try:
        with open(path, encoding="utf-8-sig") as stream:
            labels = stream.read().splitlines()
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a null character in the path
        raise UserError(
            "the labels '%s' cannot be read: %s" % (path, getattr(error, "strerror", None) or error)
        ) from None
    while labels and not labels[-1].strip():
        labels.pop()
    if len(labels) != count:
        raise UserError("the labels '%s' are %d, but the network has %d classes" % (path, len(labels), count))
    return labels


# convert, weights ---------------------------------------------------------------------------------------------------


def convert(options: argparse.Namespace) -> int:
    """Write weights in another format; see :mod:`fastalex.commands_convert`."""
    from . import commands_convert

    return commands_convert.convert(options, _read_labels)


def weights(options: argparse.Namespace) -> int:
    """List or fetch published weights; see :mod:`fastalex.commands_convert`."""
    from . import commands_convert

    return commands_convert.weights(options)


# export -------------------------------------------------------------------------------------------------------------


def export(options: argparse.Namespace) -> int:
    """Write a network for other programs; see :mod:`fastalex.commands_export`."""
    from . import commands_export

    return commands_export.export(options, _read_labels)


# quantize -----------------------------------------------------------------------------------------------------------


def quantize(options: argparse.Namespace) -> int:
    """Write weights in fewer bits; see :mod:`fastalex.commands_quantize`."""
    from . import commands_quantize

    options.profile = _profile_name(options.profile)
    return commands_quantize.quantize(options)


# tune ---------------------------------------------------------------------------------------------------------------


def tune(options: argparse.Namespace) -> int:
    """Measure the kernels of this GPU; see :mod:`fastalex.commands_tune`."""
    from . import commands_tune

    return commands_tune.tune(options)


# info ---------------------------------------------------------------------------------------------------------------


def info(options: argparse.Namespace) -> int:
    """Print the diagnosis; exit code 1 if something is broken."""
    from . import diagnosis

    report = diagnosis.collect()
    if options.json:
        console.write_json(report)
    else:
        _print_report(report)
    for problem in report["problems"]:
        console.complain(problem)
    return OK if report["ok"] else BROKEN


def _print_report(report: Dict[str, Any]) -> None:
    cpu, device, build = report["cpu"], report["device"], report["build"]
    rows = [("fastalex", "%s in %s" % (report["version"], report["location"]))]
    rows += [("python", "%s on %s" % (report["python"], report["platform"]))]
    rows += [("build: " + key, build[key]) for key in build]
    rows += [
        ("CPU", "%s, %s, %d cores, %d usable" % tuple(cpu[k] for k in ("model", "machine", "cores", "usable_cores")))
    ]
    rows += [("instruction set", report["isa"] or "none")]
    rows += [("device", device["card"] or device["title"] or "no device of devices/*.toml")]
    rows += [("", device["reason"])]
    console.table("", ("", ""), rows)
    _print_gpus(report)
    backends = [
        (row["name"], "available" if row["available"] else "refused", row["reason"]) for row in report["backends"]
    ]
    console.table("Backends", ("name", "state", "reason"), backends)
    packages = [
        (row["name"], (row["version"] or "found") if row["found"] else "-", row["purpose"])
        for row in report["packages"]
    ]
    console.table("Python packages", ("name", "version", "used for"), packages)
    weights = [(row["name"], row["variant"] or "-", row["bytes"] or "-", row["path"]) for row in report["weights"]]
    console.table("Weights that come with fastalex", ("name", "variant", "bytes", "path"), weights, right=("bytes",))
    _print_selftest(report["selftest"])


def _print_gpus(report: Dict[str, Any]) -> None:
    """The GPUs that a backend can use; nothing where there is none, the backends' table then says why."""
    rows = []
    for gpu in report["gpus"]:
        about = "sm_%d, %d SMs, %d MHz, %.1f GiB" % (
            gpu["sm"],
            gpu["sms"],
            gpu["clock_khz"] // 1000,
            gpu["memory_bytes"] / 2**30,
        )
        rows.append((gpu["device"], gpu["name"], about, gpu["card"] or gpu["recognised"] or "-", gpu["tuning"]))
    if rows:
        console.table("GPUs", ("device", "name", "what it is", "known as", "tuning"), rows)


def _print_selftest(outcomes: List[Dict[str, Any]]) -> None:
    """One row for each op of each backend, and one for each case that failed."""
    rows = []
    for backend, op in dict.fromkeys((row["backend"], row["op"]) for row in outcomes):
        group = [row for row in outcomes if (row["backend"], row["op"]) == (backend, op)]
        failed = [row for row in group if not row["ok"]]
        shares = [row["share"] for row in group if row["share"] is not None]
        share = "%.3f" % max(shares) if shares else "-"
        rows.append((backend, op, len(group), share, "%d failed" % len(failed) if failed else "passed"))
        rows += [("", row["case"], "", "", "FAILED: " + row["reason"]) for row in failed]
    columns = ("backend", "op", "cases", "error / bound", "result")
    console.table("Self-test against the naive backend", columns, rows, right=("cases", "error / bound"))


# summary ------------------------------------------------------------------------------------------------------------


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
    net = _net(options, **{key: value for key, value in sizes.items() if value})
    if options.batch > MAX_BATCH:
        raise UserError("--batch may be at most %d, not %d" % (MAX_BATCH, options.batch))
    facts = dict(_net_facts(net), batch=options.batch, **net.kernels(options.batch))
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


# bench --------------------------------------------------------------------------------------------------------------


def bench(options: argparse.Namespace) -> int:
    """Print the time of a batch: seeded random images in, logits out, everything warm."""
    largest = max(options.batch)
    if largest > MAX_BATCH:
        raise UserError("--batch may be at most %d, not %d" % (MAX_BATCH, largest))
    net = _net(options)
    rows = [_measure(net, batch, options.repeat) for batch in options.batch]
    if options.json:
        console.write_json(dict(_net_facts(net), param_bytes=net.param_bytes, weights=options.weights, batches=rows))
        return OK
    console.write(
        "%s, variant %s, %s%s, fc weights %s\n"
        % (
            _device_line(net, options),
            net.variant.name,
            net.precision,
            ", exact" if net.exact else "",
            net.fc_weights,
        )
    )
    columns = ("batch", "median ms", "p10 ms", "p90 ms", "images/s", "runs")
    keys = ("median_ms", "p10_ms", "p90_ms")
    cells = [
        (row["batch"], *("%.3f" % row[key] for key in keys), "%.1f" % row["images_per_s"], row["runs"]) for row in rows
    ]
    console.table("", columns, cells, right=columns)
    return OK


def _measure(net: Any, batch: int, repeat: int) -> Dict[str, Any]:
    """Times of ``repeat`` runs in ms, after at least one run and :data:`WARM_UP_S`."""
    import time

    import numpy as np

    row = net.variant
    images = np.random.default_rng(0).standard_normal((batch, row.channels, row.input_size, row.input_size), np.float32)
    start = time.perf_counter()
    net(images)
    while time.perf_counter() - start < WARM_UP_S:
        net(images)
    times = []
    for _ in range(repeat):
        before = time.perf_counter()
        net(images)
        times.append(1e3 * (time.perf_counter() - before))
    p10, median, p90 = (float(value) for value in np.percentile(times, (10, 50, 90)))
    figures = {"median_ms": median, "p10_ms": p10, "p90_ms": p90, "images_per_s": 1e3 * batch / median}
    return dict(figures, batch=batch, runs=repeat)


# Shared by classify and bench ---------------------------------------------------------------------------------------


def _net(options: argparse.Namespace, **overrides: Any) -> Any:
    from .model import AlexNet

    return AlexNet(
        options.variant,
        weights=options.weights,
        device=options.device,
        precision=options.precision,
        fc_weights=options.fc_weights,
        threads=options.threads,
        exact=options.exact,
        engine=options.engine,
        **overrides,
    )


def _net_facts(net: Any) -> Dict[str, Any]:
    return {
        "version": __version__,
        "variant": net.variant.name,
        "device": net.device,
        "isa": _isa(net),
        "threads": net.threads,
        "precision": net.precision,
        "fc_weights": net.fc_weights,
        "exact": net.exact,
        "tuning": net.tuning,
    }


def _isa(net: Any) -> Optional[str]:
    from . import _core

    return _core.cpu_isa() if net.device == "cpu" else None


def _device_line(net: Any, options: argparse.Namespace) -> str:
    """``device auto chose cpu (v3, 2 threads)``: no choice is made in silence."""
    chosen = "device auto chose %s" % net.device if options.device == "auto" else "device %s" % net.device
    isa = _isa(net)
    threads = "1 thread" if net.threads == 1 else "%d threads" % net.threads
    return "%s (%s, %s)" % (chosen, isa, threads) if isa else chosen
