"""The command ``fastalex``.

Exit codes: 0; 1 if ``info`` finds something broken; 2, with one sentence on standard error, for what the caller can
mend; 130 if interrupted; 141 if the reader of the output went away (as if by SIGPIPE).
Modules that cost time to load are imported inside the commands.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any, List, NoReturn, Optional, Sequence

from . import __version__, console
from .commands_common import INTERRUPTED, MISTAKE, OK, PIPE_CLOSED
from .errors import BackendError, UserError


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
    _add_readout(commands)
    _add_train(commands)
    _add_evaluate(commands)
    return parser


def _add(commands: Any, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    return parser


def _add_classify(commands: Any) -> None:
    parser = _add(commands, "classify", classify, "name what is on images, videos or a camera")
    parser.add_argument(
        "images",
        nargs="+",
        metavar="SOURCE",
        help="an image; a folder: the images in it, sorted; a pattern, '*.jpg'; a video; a camera: /dev/video0, or "
        "csi://0 on a Jetson; rtsp://...; a GStreamer pipeline",
    )
    _add_net(parser, "default: the one the weights are for")
    parser.add_argument(
        "--weights", "--model", metavar="W", help="a weights file, 'digits', or what 'fastalex weights' lists"
    )
    parser.add_argument(
        "--network", metavar="N", help="'alexnet': weights, preprocessing and defaults of jetson-inference"
    )
    parser.add_argument(
        "--topk", "--topK", type=_positive, metavar="K", help="classes to show, best first (5; with --network 1)"
    )
    parser.add_argument(
        "--threshold", type=_share, metavar="P", help="leave out what is less probable (0; with --network 0.01)"
    )
    parser.add_argument(
        "--smoothing",
        type=_smoothing,
        metavar="W",
        help="of a video's or camera's probabilities: weight of the newest frame, or over how many frames (off)",
    )
    parser.add_argument("--profile", metavar="P", help="preprocessing; default: the variant's own")
    parser.add_argument("--labels", metavar="FILE", help="names of the classes, one a line, UTF-8")
    parser.add_argument("--headless", action="store_true", help="no window; one line of JSON for each frame or image")
    parser.add_argument(
        "--output", metavar="OUT", help="write frames with their overlay: .mp4, .avi or .mkv, or a folder for pictures"
    )
    parser.add_argument(
        "--input-width", type=_positive, metavar="N", help="pixels that a camera is asked for (csi: 1280)"
    )
    parser.add_argument(
        "--input-height", type=_positive, metavar="N", help="pixels that a camera is asked for (csi: 720)"
    )
    parser.add_argument("--input-rate", type=_positive, metavar="N", help="frames a second, likewise (csi: 30)")
    parser.add_argument("--frames", type=_positive, metavar="N", help="stop each video or camera after N frames")


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
    parser.add_argument(
        "--conv-only", action="store_true", help="write the convolutions alone, which are all that LPIPS needs"
    )


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


def _add_readout(commands: Any) -> None:
    text = "write what layers make of a folder of images, as .npy files"
    parser = _add(commands, "readout", readout, text)
    parser.add_argument("images", metavar="DIR", help="the images in this folder and below it, sorted by path")
    parser.add_argument("output", metavar="OUT", help="the folder to write; a run that stopped goes on")
    parser.add_argument("--weights", metavar="W", help="a weights file, 'digits', or what 'fastalex weights' lists")
    parser.add_argument(
        "--tool",
        metavar="T",
        help="layers and preprocessing of brain-score, brain-score-convs, thingsvision or net2brain",
    )
    parser.add_argument("--layers", nargs="+", metavar="L", help="names of layers, see docs/readouts.md")
    parser.add_argument("--profile", metavar="P", help="preprocessing; default: the tool's, or the variant's own")
    parser.add_argument("--batch", type=_positive, default=16, metavar="N", help="images in memory at once (16)")
    parser.add_argument("--dtype", default="float32", metavar="T", help="of the files: float32 (default) or float16")
    parser.add_argument("--restart", action="store_true", help="drop what another run left in OUT")
    _add_net(parser, "default: the one the weights are for")


def _add_train(commands: Any) -> None:
    from . import commands_train

    commands_train.add_train(_add(commands, "train", train, "train or fine-tune a network (needs PyTorch)"), _positive)


def _add_evaluate(commands: Any) -> None:
    from . import commands_train

    parser = _add(commands, "evaluate", evaluate, "top-1 and top-5 accuracy on labelled images")
    commands_train.add_evaluate(parser, _positive)
    _add_net(parser, "default: the one the weights are for")


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


def _share(text: str) -> float:
    return _number(text, 1.0, "a number from 0 to 1")


def _smoothing(text: str) -> float:
    return _number(text, float("inf"), "a number from 0 to 1, or a number of frames")


def _number(text: str, largest: float, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= largest or value == float("inf"):
        raise argparse.ArgumentTypeError("must be %s, not '%s'" % (what, text))
    return value


def _batch(text: str) -> Any:
    return text if text == "any" else _positive(text)


# The commands ------------------------------------------------------------------------------------------------------


def classify(options: argparse.Namespace) -> int:
    """Name what is on images, videos or a camera; see :mod:`fastalex.commands_classify`."""
    from . import commands_classify

    return commands_classify.classify(options)


def info(options: argparse.Namespace) -> int:
    """Print the diagnosis; see :mod:`fastalex.commands_info`."""
    from . import commands_info

    return commands_info.info(options)


def summary(options: argparse.Namespace) -> int:
    """Print the layers of a network; see :mod:`fastalex.commands_summary`."""
    from . import commands_summary

    return commands_summary.summary(options)


def bench(options: argparse.Namespace) -> int:
    """Measure the time of a batch; see :mod:`fastalex.commands_bench`."""
    from . import commands_bench

    return commands_bench.bench(options)


def tune(options: argparse.Namespace) -> int:
    """Measure the kernels of this GPU; see :mod:`fastalex.commands_tune`."""
    from . import commands_tune

    return commands_tune.tune(options)


def convert(options: argparse.Namespace) -> int:
    """Write weights in another format; see :mod:`fastalex.commands_convert`."""
    from . import commands_convert

    return commands_convert.convert(options)


def export(options: argparse.Namespace) -> int:
    """Write a network for other programs; see :mod:`fastalex.commands_export`."""
    from . import commands_export

    return commands_export.export(options)


def quantize(options: argparse.Namespace) -> int:
    """Write weights in fewer bits; see :mod:`fastalex.commands_quantize`."""
    from . import commands_quantize

    return commands_quantize.quantize(options)


def weights(options: argparse.Namespace) -> int:
    """List or fetch published weights; see :mod:`fastalex.commands_convert`."""
    from . import commands_convert

    return commands_convert.weights(options)


def readout(options: argparse.Namespace) -> int:
    """Write the results of layers; see :mod:`fastalex.commands_readout`."""
    from . import commands_readout

    return commands_readout.readout(options)


def train(options: argparse.Namespace) -> int:
    """Train a network; see :mod:`fastalex.commands_train`."""
    from . import commands_train

    return commands_train.train(options)


def evaluate(options: argparse.Namespace) -> int:
    """Top-1 and top-5 on labelled images; see :mod:`fastalex.commands_train`."""
    from . import commands_train

    return commands_train.evaluate(options)
