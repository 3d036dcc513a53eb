"""The commands ``fastalex train`` and ``fastalex evaluate``."""

from __future__ import annotations

import argparse
import os
from typing import Any, Dict

from .._util import console
from .common import not_negative
from .options import add_command, positive


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(commands, "train", run, "train or fine-tune a network (needs PyTorch)")
    add = parser.add_argument
    add("data", metavar="DIR", help="a folder of images for each class, tar shards, or train/ and val/ of either")
    add("--val", metavar="DIR", help="validation images; default: DIR/val, else a share of DIR")
    add("--holdout", type=float, default=0.1, metavar="S", help="that share of each class (0.1)")
    add("--out", default="run", metavar="DIR", help="checkpoint, weights, logs and curves are written here (run)")
    add("--recipe", metavar="R", help="paper (default), original, caffe, torchvision or jetbot (with --finetune)")
    add("--variant", metavar="V", help="see 'fastalex summary'; default: the recipe's, or the weights'")
    add("--finetune", metavar="W", help="start from these weights: a file, or what 'fastalex weights' lists")
    add("--classes", type=positive, metavar="N", help="refuse data with another number of classes")
    add("--epochs", type=positive, metavar="N", help="default: the recipe's, like those below")
    add("--batch", type=positive, metavar="N", help="images of an update, over all devices")
    add("--lr", type=float, metavar="X", help="learning rate")
    add("--momentum", type=float, metavar="X", help="of the update")
    add("--weight-decay", type=float, metavar="X", help="of the update")
    add("--init", metavar="I", help="normal (the paper's), he (for narrow networks) or pytorch")
    add("--dropout", metavar="D", help="halved (the paper's), inverted or off")
    add("--crop", metavar="C", help="paper, inclusive, resized or center")
    add("--color", metavar="C", help="PCA noise by eigenvalues or deviations, or off")
    add("--no-flip", action="store_true", help="no reflections")
    add("--input-size", type=positive, metavar="S", help="side of the input in pixels")
    add("--profile", metavar="P", help="preprocessing; default: the recipe's, or the variant's own")
    add("--seed", type=int, default=0, metavar="N", help="of everything that is random (0)")
    add("--workers", type=int, default=2, metavar="N", help="processes that decode images, of each device (2)")
    add("--device", default="auto", metavar="D", help="auto (default), cpu, cuda, cuda:1; cuda:0,cuda:1 with columns")
    add("--parallel", metavar="P", help="with torchrun: data (default), columns or hybrid")
    add("--accumulate", type=positive, default=1, metavar="N", help="put each batch through in N parts (1)")
    add("--amp", metavar="T", help="mixed precision: bf16, or fp16 on a GPU")
    add("--save-every", type=positive, default=0, metavar="N", help="a checkpoint every N steps, too")
    add("--resume", action="store_true", help="go on from the checkpoint in --out")
    add("--bad-limit", type=int, default=100, metavar="N", help="unreadable images to put up with (100)")
    add("--no-tensorboard", action="store_true", help="write no events for TensorBoard")


def run(options: argparse.Namespace) -> int:
    """Train a network; see :mod:`fastalex.train`."""
    from ..images import profiles
    from ..networks import variants
    from ..train import loop, recipes
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
        bad_limit=not_negative("--bad-limit", options.bad_limit),
        tensorboard=not options.no_tensorboard,
        finetune=options.finetune,
        classes=options.classes,
        quiet=options.json,
    )
    names = ("epochs", "batch", "lr", "momentum", "weight_decay", "init", "dropout", "crop", "color", "profile")
    overrides = {name: getattr(options, name) for name in names}
    if options.profile is not None:
        profiles.get(options.profile)  # a wrong name is refused here
    overrides["flip"] = False if options.no_flip else None
    name = options.recipe or (recipes.FINETUNE if options.finetune else recipes.DEFAULT)
    recipe = recipes.get(name, **overrides)
    variant: Any = options.variant
    if options.input_size is not None:
        variant = variants.get(variant or recipe.variant, input_size=options.input_size)
    with loop.processes():
        run = loop.Run(settings, recipe, variant)
        _say_start(run, settings)
        facts = run.run()
        if run.first:
            _say_end(facts, options.json)
    return 0


def _say_start(run: Any, settings: Any) -> None:
    if settings.quiet or not run.first:
        return
    facts = (run.row.name, f"{run.row.params:,}", run.recipe.name, len(run.training.samples))
    console.write("%s, %s parameters, recipe %s; %d images to train on, " % facts + _rest(run))


def _rest(run: Any) -> str:
    where = f"device {run.scheme.device}"
    if run.scheme.kind != "none":
        where = f"{run.scheme.kind} over {run.scheme.world} processes"
        if run.scheme.world == 1:
            where = f"columns on {', '.join(map(str, run.scheme.link.devices))}"
    return f"{len(run.validation.samples)} to validate, {len(run.training.classes)} classes; {where}"


def _say_end(facts: Dict[str, Any], as_json: bool) -> None:
    if as_json:
        console.write_json(facts)
        return
    sent = facts["bytes_sent_a_step"]
    if sent:
        parts = ", ".join(f"{count:,} {name}" for name, count in sorted(sent.items()))
        console.write(f"bytes sent a step by each process: {sum(sent.values()):,} ({parts})")
    if facts["bad_images"]:
        console.error(f"{facts['bad_images']} images could not be read; see bad-images.jsonl in {facts['out']}")
    console.write(f"best top-1 {100 * facts['best_top1']:.2f}%: {os.path.join(facts['out'], 'best.safetensors')}")
