"""The command ``fastalex train``."""

from __future__ import annotations

import argparse
import os
from typing import Any, Dict, List

from .._util import console
from ..errors import one_line
from .common import BROKEN, OK, not_negative
from .options import add_command, add_profile, add_variant, positive


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(commands, "train", run, "train or fine-tune a network (requires PyTorch)")
    add = parser.add_argument
    add(
        "data",
        metavar="DIR",
        help="folder with one folder of images per class or with tar shards, or with train/ and val/ folders of either",
    )
    add("--val", metavar="DIR", help="validation images (default: DIR/val, otherwise a part of DIR)")
    add("--holdout", type=float, default=0.1, metavar="S", help="fraction of each class in that part (default: 0.1)")
    add("--out", default="run", metavar="DIR", help="folder for checkpoint, weights, logs and curves (default: run)")
    add(
        "--recipe",
        metavar="R",
        help="paper, original, caffe, torchvision or jetbot (default: paper, or jetbot with --finetune)",
    )
    add_variant(parser, "that of the weights or the recipe")
    add("--finetune", metavar="W", help="start from these weights, a file or a name listed by 'fastalex weights'")
    add("--classes", type=positive, metavar="N", help="fail if the data has another number of classes")
    add("--epochs", type=positive, metavar="N", help="number of epochs (default: the recipe's)")
    add("--batch", type=positive, metavar="N", help="images per update, over all devices (default: the recipe's)")
    add("--lr", type=float, metavar="X", help="learning rate (default: the recipe's)")
    add("--momentum", type=float, metavar="X", help="momentum of the update (default: the recipe's)")
    add("--weight-decay", type=float, metavar="X", help="weight decay of the update (default: the recipe's)")
    add(
        "--init",
        metavar="I",
        help="initial weights: normal (as in the paper), he (for narrow networks) or pytorch (default: the recipe's)",
    )
    add("--dropout", metavar="D", help="dropout: halved (as in the paper), inverted or off (default: the recipe's)")
    add("--crop", metavar="C", help="crop: paper, inclusive, resized or center (default: the recipe's)")
    add("--color", metavar="C", help="PCA color noise: eigenvalues, deviations or off (default: the recipe's)")
    add("--no-flip", action="store_true", help="do not mirror images")
    add("--input-size", type=positive, metavar="S", help="side of the input in pixels (default: the variant's own)")
    add_profile(parser, "the recipe's, otherwise the variant's own")
    add("--seed", type=int, default=0, metavar="N", help="seed of all random numbers (default: 0)")
    add("--workers", type=int, default=2, metavar="N", help="processes per device that decode images (default: 2)")
    add(
        "--device",
        default="auto",
        metavar="D",
        help="auto, cpu, cuda or cuda:1; with --parallel columns also a list, cuda:0,cuda:1 (default: auto)",
    )
    add("--parallel", metavar="P", help="scheme under torchrun: data, columns or hybrid (default: data)")
    add(
        "--accumulate",
        type=positive,
        default=1,
        metavar="N",
        help="split each batch into N parts and accumulate their gradients (default: 1)",
    )
    add(
        "--timeout",
        type=positive,
        default=600,
        metavar="S",
        help="seconds without an answer after which another process counts as gone (default: 600)",
    )
    add("--dtype", default="float32", metavar="T", help="float32, or float64 to compare runs (default: float32)")
    add("--amp", metavar="T", help="mixed precision: bf16, or fp16 on a GPU (default: off)")
    add(
        "--save-every",
        type=positive,
        default=0,
        metavar="N",
        help="write a checkpoint every N steps (default: only after each epoch)",
    )
    add("--resume", action="store_true", help="resume from the checkpoint in --out")
    add("--trust", action="store_true", help="resume with PyTorch 2.5.1 or older too, from a checkpoint of your own")
    add("--bad-limit", type=int, default=100, metavar="N", help="number of unreadable images to accept (default: 100)")
    add("--timings", action="store_true", help="print where the time goes: data, forward, backward, update, ...")
    add("--no-tensorboard", action="store_true", help="do not write TensorBoard events")


def run(options: argparse.Namespace) -> int:
    """Train a network; see :mod:`fastalex.train`."""
    from ..images import profiles
    from ..networks import variants
    from ..train import elastic, loop, recipes, timings
    from ..train.settings import Settings

    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    settings = Settings(
        data=options.data,
        out=options.out,
        validation=options.val,
        holdout=options.holdout,
        seed=not_negative("--seed", options.seed),
        workers=not_negative("--workers", options.workers),
        device=options.device,
        parallel=options.parallel or ("data" if several else "none"),
        accumulate=options.accumulate,
        amp=options.amp,
        save_every=options.save_every,
        resume=options.resume,
        trust=options.trust,
        bad_limit=not_negative("--bad-limit", options.bad_limit),
        tensorboard=not options.no_tensorboard,
        finetune=options.finetune,
        classes=options.classes,
        quiet=options.json,
        timeout=options.timeout,
        dtype=options.dtype,
    )
    names = ("epochs", "batch", "lr", "momentum", "weight_decay", "init", "dropout", "crop", "color", "profile")
    overrides = {name: getattr(options, name) for name in names}
    if options.profile is not None:
        profiles.get(options.profile)  # raises an error for an unknown name
    overrides["flip"] = False if options.no_flip else None
    name = options.recipe or (recipes.FINETUNE if options.finetune else recipes.DEFAULT)
    recipe = recipes.get(name, **overrides)
    variant: Any = options.variant
    if options.input_size is not None:
        variant = variants.get(variant or recipe.variant, input_size=options.input_size)
    run: Any = None
    try:
        with loop.processes():
            run = (timings.TimedRun if options.timings else loop.Run)(settings, recipe, variant)
            _print_start(run, settings)
            try:
                facts = run.run()
            except KeyboardInterrupt:
                if run.first:
                    console.error(_where_it_stopped(run, options.words[1:]))
                raise
            if run.first:
                _print_end(facts, options.json)
            if options.timings and not options.json:
                timings.show(run)
    except elastic.LostError as lost:
        if elastic.is_first_of_host():
            console.error(_where_it_was_lost(lost, run, options.words[1:]))
        return BROKEN
    return OK


def _where_it_stopped(run: Any, words: List[str]) -> str:
    from ..train import elastic

    if run.saved is None and not run.settings.resume:
        return "stopped before the first checkpoint; nothing is saved"
    again = "unless torchrun starts the processes again, " if elastic.is_elastic() else ""
    return f"stopped; {_checkpoint(run)}{again}go on with: {elastic.command(words)}"


def _where_it_was_lost(lost: Exception, run: Any, words: List[str]) -> str:
    from ..train import elastic

    again = f"{lost}; {_checkpoint(run)}unless torchrun starts the processes again, "
    if run is None or (run.saved is None and not run.settings.resume):
        return f"{again}start the run again: nothing is saved"
    return f"{again}go on with: {elastic.command(words)}"


def _checkpoint(run: Any) -> str:
    return "" if run is None or run.saved is None else f"the checkpoint is of step {run.saved}; "


def _print_start(run: Any, settings: Any) -> None:
    if settings.quiet or not run.first:
        return
    devices = f"device {run.scheme.device}"
    if run.scheme.kind != "none":
        devices = f"{run.scheme.kind} over {run.scheme.world} processes"
        if run.scheme.world == 1:
            devices = f"columns on {', '.join(map(str, run.scheme.link.devices))}"
    console.write(
        f"{run.row.name}, {run.row.params:,} parameters, recipe {run.recipe.name}; "
        f"{len(run.training.samples)} training images, {len(run.validation.samples)} validation images, "
        f"{len(run.training.classes)} classes; {devices}"
    )


def _print_end(facts: Dict[str, Any], as_json: bool) -> None:
    if as_json:
        console.write_json(facts)
        return
    sent = facts["bytes_sent_a_step"]
    if sent:
        parts = ", ".join(f"{count:,} {name}" for name, count in sorted(sent.items()))
        console.write(f"bytes sent per step by each process: {sum(sent.values()):,} ({parts})")
    if facts["bad_images"]:
        console.error(f"{facts['bad_images']} images could not be read; see bad-images.jsonl in {facts['out']}")
    best = one_line(os.path.join(facts["out"], "best.safetensors"))
    console.write(f"best top-1 {100 * facts['best_top1']:.2f}%: {best}")
