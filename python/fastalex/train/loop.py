"""A training run, from its data to the exported weights."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from .. import weights
from .._util import console, signals
from ..errors import UserError
from ..networks import torch_reference, variants
from ..networks.architecture import Variant
from ..weights import registry, resolve
from . import checkpoint, data, elastic, hosts, initial, parallel, report, statistics, update
from .augmentation import Evaluation, Training, mean_image
from .dropout import Masks
from .evaluate import TOP
from .logs import Logs
from .recipes import Recipe
from .schedule import Schedule
from .settings import Settings


class Sums:
    """Sums over an epoch so far: images, loss, and wrong predictions."""

    def __init__(self, images: int = 0, loss: float = 0.0, wrong: int = 0) -> None:
        self.images, self.loss, self.wrong = images, loss, wrong

    def add(self, images: int, loss: float, wrong: int) -> None:
        """Add a batch."""
        self.images, self.loss, self.wrong = self.images + images, self.loss + loss, self.wrong + wrong


class Run:
    """A training run.

    :param variant: name or row of a network; default: that of the weights to fine-tune, or of the recipe.
    :param training: training set; default: found in the folders of ``settings``.
    :param validation: validation set; default: likewise.
    :ivar saved: the step of the last checkpoint; None before there is one, or before an existing one is read.
    :raises UserError: for settings that do not fit together, before anything is written.
    """

    def __init__(
        self,
        settings: Settings,
        recipe: Recipe,
        variant: Any = None,
        training: Optional[data.Images] = None,
        validation: Optional[data.Images] = None,
    ) -> None:
        self.settings, self.recipe = settings, recipe
        self.torch = torch_reference.pytorch()
        kind = parallel.remaining(settings.parallel)
        devices = parallel.start(kind, settings.device, settings.timeout)
        if training is None or validation is None:
            training, validation = data.train_and_validation(
                settings.data, settings.validation, settings.holdout, settings.seed, parallel.divided
            )
        self.training, self.validation = training, validation
        self._check_classes()
        self.start = _weights(settings.finetune)
        self.row = self._variant(variant)
        self.masks = Masks(settings.seed)
        self.scheme = parallel.Scheme(kind, self.row, devices, self.masks, recipe.dropout)
        self.first = self.scheme.rank == 0
        self._check_batch()
        self._check_amp()
        older = self.torch.cuda.amp  # before PyTorch 2.3
        self.scaler = getattr(self.torch.amp, "GradScaler", older.GradScaler)(enabled=settings.amp == "fp16")
        self.schedule, self.epoch, self.step, self.done, self.sums = Schedule(recipe), 0, 0, 0, Sums()
        self.best = -1.0
        self.saved: Optional[int] = None
        self.hold = signals.Hold()
        self.bytes_a_step: Dict[str, int] = {}
        self.last_row: Dict[str, Any] = {}
        self.bad = data.BadImages(None, settings.bad_limit)

    # Checks of the settings ------------------------------------------------------------------------------------------

    def _check_classes(self) -> None:
        expected, actual = self.settings.classes, len(self.training.classes)
        if expected is not None and expected != actual:
            raise UserError(f"--classes is {expected}, but the data has {actual} classes")
        if actual < 2:
            raise UserError(f"the data has only one class, '{self.training.classes[0]}'; training needs two or more")

    def _variant(self, variant: Any) -> Variant:
        base = resolve.chosen(self.start, variant, 1) if self.start else variant or self.recipe.variant
        return variants.get(base, num_classes=len(self.training.classes), profile=self.recipe.profile)

    def _check_batch(self) -> None:
        shares, parts = self.scheme.shares, self.settings.accumulate
        batch = self.recipe.batch
        if batch % (shares * parts):
            fit = [str(number) for number in range(1, min(batch, 2 * shares) + 1) if batch % (number * parts) == 0]
            processes = f", or {fit[-1]} processes" if shares > 1 and fit else ""
            raise UserError(
                f"a batch of {batch} cannot be split equally over {shares} processes in {parts} parts; "
                f"choose another --batch{processes}"
            )

    def _check_amp(self) -> None:
        amp, device = self.settings.amp, self.scheme.device
        if self.settings.dtype not in ("float32", "float64"):
            raise UserError(f"--dtype must be float32 or float64, not '{self.settings.dtype}'")
        if amp not in (None, "bf16", "fp16"):
            raise UserError(f"--amp must be bf16 or fp16, not '{amp}'")
        if amp == "fp16" and device.type != "cuda":
            raise UserError("--amp fp16 needs a GPU; use --amp bf16 on a CPU")
        if amp == "fp16" and self.scheme.kind in ("columns", "hybrid"):
            raise UserError(
                f"--amp fp16 scales the loss in each process separately; with --parallel {self.scheme.kind} use "
                "--amp bf16"
            )

    def _check_hosts(self) -> None:
        """Check that all hosts train the same network on the same data. A collective call."""
        if self.scheme.world == 1:
            return
        settings = self.settings
        hosts.check_clocks(self.scheme)
        facts = {**hosts.contents(self.training, "training"), **hosts.contents(self.validation, "validation")}
        facts.update({name: fact for name, fact in self._facts().items() if name != "recipe"})
        for name, value in dataclasses.asdict(self.recipe).items():
            facts[f"{name} of the recipe"] = json.dumps(value, sort_keys=True)
        for name in ("parallel", "accumulate", "amp", "save_every", "dtype", "finetune", "resume"):
            facts[f"--{name.replace('_', '-')}"] = str(getattr(settings, name))
        hosts.check_same(self.scheme, facts)

    # The run ---------------------------------------------------------------------------------------------------------

    def run(self) -> Dict[str, Any]:
        """Train the network and return a summary of the run.

        :raises UserError: for a checkpoint that does not fit, too many unreadable images, a full disk, or a network
            that diverged.
        :raises KeyboardInterrupt: at Ctrl-C, SIGTERM and SIGHUP, after the running step, when a checkpoint is saved.
        """
        settings, torch = self.settings, self.torch
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        self._check_hosts()
        #: Whether this process writes the files of the run.
        self.writes = hosts.writes(self.scheme, settings.out)
        state = self._resumed()
        self.bad.path = self.path("bad-images.jsonl") if self.writes else None
        self.bad.begin(state["bad"] if state else {})
        self.statistics = statistics.of_training_set(
            self.recipe, self.row, self.training, self.scheme, settings, self.found_bad, self.writes
        )
        self.scheme.prepare(torch.float64 if settings.dtype == "float64" else None)
        self.optimizer = update.optimizer(
            self.recipe, self.row, [(own.name, own.tensor) for own in self.scheme.owned()]
        )
        self._load(state)
        self.logs = Logs(settings.out, self.writes, settings.tensorboard, self.step, self.epoch, state is not None)
        with signals.held() as self.hold, contextlib.closing(self.logs):
            self._epochs()
        return self._summary()

    def _epochs(self) -> None:
        recipe, going = self.recipe, True
        began, at = time.perf_counter(), self.epoch + self.done / self.updates
        while going and self.epoch < recipe.epochs and (self.done or not self._ended()):
            began_epoch, before = time.perf_counter(), self.sums.images
            self._one_epoch(began, at)
            rate = (self.sums.images - before) / (time.perf_counter() - began_epoch)
            going = self._finish_epoch(rate)
            trained = self.epoch - at  # 0 for a run that was resumed before the validation of its epoch
            left = (time.perf_counter() - began) / trained * (recipe.epochs - self.epoch) if trained else 0.0
            if self.first and not self.settings.quiet:
                report.epoch(self.epoch, recipe.epochs, self.last_row, rate, left if going else 0)

    def _ended(self) -> bool:
        return self.recipe.iterations is not None and self.step >= self.recipe.iterations

    @property
    def updates(self) -> int:
        """Number of updates per epoch."""
        return -(-len(self.training.samples) // self.recipe.batch)

    def _one_epoch(self, began: float, at: float) -> None:
        settings, recipe = self.settings, self.recipe
        indices = data.order(len(self.training.samples), settings.seed, self.epoch)
        micro = recipe.batch // settings.accumulate
        share = data.Batches(
            indices, micro, self.done * settings.accumulate, self.scheme.rank % self.scheme.shares, self.scheme.shares
        )
        prepare = Training(self.row, recipe, self.statistics, settings.seed, self.epoch)
        batches = iter(self._loader(self.training, prepare, share))
        self.scheme.network.train()
        title = f"epoch {self.epoch + 1} of {recipe.epochs}"
        with console.progress(title, self.updates, settings.quiet or not self.first) as show:
            while self.done < self.updates and not self._ended():
                parts = [part for part in (next(batches, None) for _ in range(settings.accumulate)) if part]
                self._update(parts, micro)
                elapsed, progress = time.perf_counter() - began, self.epoch + self.done / self.updates - at
                left = elapsed / progress * (recipe.epochs - self.epoch - self.done / self.updates)
                rate = progress * len(self.training.samples) / elapsed
                loss = self.sums.loss / max(1, self.sums.images)
                show(self.done, f"loss {loss:.4f}, {rate:.0f} images/s, {report.clock(left)} left in total")
                if settings.save_every and self.step % settings.save_every == 0:
                    self._save()
                self._check_stop()

    def _check_stop(self) -> None:
        """End the run with a checkpoint if a signal came to any of its processes. A collective call."""
        number = self.scheme.largest(self.hold.number or 0)
        if number:
            self._save()
            raise signals.Stopped(number)

    def _update(self, parts: List[data.Batch], micro: int) -> None:
        """Run one step of the optimizer on the ``parts`` of a batch, of up to ``micro`` images each."""
        torch, device = self.torch, self.scheme.device
        valid = sum(int((part.labels != data.IGNORED).sum()) for part in parts)
        bad = [image for part in parts for image in part.bad]
        count = self.scheme.counted(torch.tensor([valid, len(bad)], dtype=torch.float64, device=device))
        images = int(count[0])
        if count[1]:
            self.found_bad(bad)
        self.schedule.set(self.optimizer, self.epoch, self.step)
        self.optimizer.zero_grad(set_to_none=True)
        totals = torch.zeros(2, dtype=torch.float64, device=device)
        for number, part in enumerate(parts):
            self.masks.step = self.step
            each = len(part.labels)
            own = self.scheme.rank * each if self.scheme.kind == "data" else 0
            self.masks.first_row = number * micro + own
            totals += self._backward(part, max(images, 1), number + 1 < len(parts))
        if images:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        loss, wrong = self.scheme.added(totals).tolist()
        self.sums.add(images, loss, int(wrong))
        self.step, self.done = self.step + 1, self.done + 1
        sent = self.scheme.traffic.take()
        self.bytes_a_step = max(self.bytes_a_step, sent, key=lambda count: sum(count.values()))  # of a full batch
        if not np.isfinite(loss):
            raise self._diverged("the loss is")
        rate = self.schedule.rate("fc8", False, self.epoch, self.step - 1)
        self.logs.step({"step": self.step, "epoch": self.epoch, "loss": loss / max(images, 1), "lr": rate})

    def _diverged(self, what: str) -> UserError:
        best = self.path("best.safetensors")
        start = f", for example with --finetune {best}" if os.path.exists(best) else ""
        return UserError(f"{what} not finite at step {self.step}; start a new run with a smaller --lr{start}")

    def found_bad(self, own: List[Tuple[str, str]], shares: Optional[int] = None) -> None:
        """Collect the unreadable images of all processes; ``own`` are those of this one. A collective call.

        :raises UserError: if there are too many.
        """
        self.bad.add(self.scheme.listed(own, shares or self.scheme.shares))
        self.bad.check()

    def _backward(self, part: data.Batch, images: int, more: bool) -> Any:
        """Add the gradients of ``part`` to the existing ones; return its sum of losses and number of errors.

        :param images: number of images in the batch.
        :param more: further parts of the batch follow.
        """
        torch, device = self.torch, self.scheme.device
        x = part.images.to(device, self.dtype, non_blocking=True)
        targets = self.scheme.targets(part.labels.to(device, non_blocking=True))
        with self.scheme.hold(more):
            with self._autocast():
                logits = self.scheme.logits(x)
            loss = torch.nn.functional.cross_entropy(
                logits.to(self.dtype), targets, reduction="sum", ignore_index=data.IGNORED
            )
            self.scaler.scale(loss / images).backward()
        wrong = ((logits.argmax(1) != targets) & (targets != data.IGNORED)).sum()
        return torch.stack([loss.detach().double(), wrong.double()])

    @property
    def dtype(self) -> Any:
        """The dtype of inputs and losses."""
        return getattr(self.torch, self.settings.dtype)

    def _autocast(self) -> Any:
        torch = self.torch
        kinds = {"bf16": torch.bfloat16, "fp16": torch.float16}
        amp = self.settings.amp
        return torch.autocast(self.scheme.device.type, kinds[amp]) if amp else contextlib.nullcontext()

    def _finish_epoch(self, rate: float) -> bool:
        """Validate, log, and save everything; return False if the schedule has ended.

        :raises UserError: if the last update spoiled the network; earlier files stay.
        """
        scores = self.validate()
        if not np.isfinite(scores["val_loss"]):
            raise self._diverged("the validation loss is")
        self._check_finite()
        lr = self.schedule.rate("fc8", False, self.epoch, self.step - 1)
        going = self.schedule.validated(1 - scores["top1"])
        images = max(1, self.sums.images)
        row = {"epoch": self.epoch, "step": self.step, "lr": lr, "train_loss": self.sums.loss / images}
        row.update(train_error=self.sums.wrong / images, **scores, bad_images=len(self.bad.seen))
        self.last_row = row
        self.logs.epoch(row, rate)
        self.epoch, self.done, self.sums = self.epoch + 1, 0, Sums()
        improved, self.best = scores["top1"] > self.best, max(self.best, scores["top1"])
        self._export(["last.safetensors", "best.safetensors"] if improved else ["last.safetensors"])
        self._save()
        return going

    def _check_finite(self) -> None:
        """Check the weights and momenta, which can be infinite while the losses are finite. A collective call.

        :raises UserError: if the network has diverged.
        """
        tensors = [own.tensor for own in self.scheme.owned()]
        velocities = [checkpoint.velocity(self.optimizer, tensor) for tensor in tensors]
        present = [*tensors, *(velocity for velocity in velocities if velocity is not None)]
        if self.scheme.largest(int(not all(bool(tensor.isfinite().all()) for tensor in present))):
            raise self._diverged("the weights or their updates are")

    def validate(self) -> Dict[str, float]:
        """Return loss, top-1 and top-5 on central crops of the validation set, computed on the training devices."""
        torch, scheme = self.torch, self.scheme
        indices = np.arange(len(self.validation.samples))
        share = data.Batches(indices, self.recipe.batch, 0, scheme.rank % scheme.shares, scheme.shares)
        batches = self._loader(self.validation, Evaluation(self.row, self.recipe, self.statistics), share)
        sums = torch.zeros(4, dtype=torch.float64, device=scheme.device)
        scheme.network.eval()
        bad: List[Tuple[str, str]] = []
        with torch.no_grad():
            for part in batches:
                self._check_stop()
                bad += part.bad
                targets = scheme.targets(part.labels.to(scheme.device))
                with self._autocast():
                    logits = scheme.logits(part.images.to(scheme.device, self.dtype), train=False).to(self.dtype)
                sums += _scores(torch, logits, targets)
        self.found_bad(bad)
        count, loss, top1, top5 = scheme.added(sums).tolist()
        scheme.traffic.take()
        count = max(count, 1.0)
        return {"val_loss": loss / count, "top1": top1 / count, "top5": top5 / count}

    def _loader(self, images: data.Images, prepare: Any, share: data.Batches) -> Any:
        size = self.row.input_size
        dataset = data.Dataset(images, prepare, np.zeros((self.row.channels, size, size), np.float32))
        return data.loader(dataset, share, self.settings.workers, self.scheme.device.type == "cuda")

    def _summary(self) -> Dict[str, Any]:
        """Return the summary of a finished run."""
        row = self.last_row
        return {
            "out": self.settings.out,
            "variant": self.row.name,
            "recipe": self.recipe.name,
            "classes": list(self.training.classes),
            "training_images": len(self.training.samples),
            "validation_images": len(self.validation.samples),
            "epochs": self.epoch,
            "steps": self.step,
            "bad_images": len(self.bad.seen),
            "parallel": self.scheme.kind,
            "processes": self.scheme.world,
            "bytes_sent_a_step": self.bytes_a_step,
            "best_top1": self.best,
            **{key: row[key] for key in ("train_loss", "train_error", "val_loss", "top1", "top5") if row},
        }

    # Files -----------------------------------------------------------------------------------------------------------

    def path(self, name: str) -> str:
        """Return the path of the file ``name`` of this run."""
        return os.path.join(self.settings.out, name)

    def _facts(self) -> Dict[str, str]:
        """Return the facts that must not change when a run is resumed."""
        recipe = dataclasses.asdict(self.recipe)
        for name in ("epochs", "iterations"):  # a run may be extended
            del recipe[name]
        return {
            "data set": data.fingerprint(self.training),
            "variant": json.dumps(self.row.to_dict(), sort_keys=True),
            "recipe": json.dumps(recipe, sort_keys=True),
            "seed": str(self.settings.seed),
        }

    def _resumed(self) -> Optional[Dict[str, Any]]:
        path, resume = self.path("checkpoint.pt"), self.settings.resume
        again = self.scheme.largest(int(elastic.noted(elastic.BEGUN)))  # torchrun has started the processes again
        if not resume and not again:
            if os.path.exists(path):
                raise UserError(
                    f"{self.settings.out} has a checkpoint: add --resume to continue, or choose another --out"
                )
            elastic.leave_note(elastic.BEGUN)
            return None
        state = hosts.newest(self.scheme, path, lambda path: checkpoint.load(path, self.settings.trust), resume)
        elastic.leave_note(elastic.BEGUN)
        if state is None:  # it was lost before the first checkpoint
            return None
        checkpoint.check(path, state, self.training.classes, self._facts(), self.row.parameter_shapes())
        self.saved = state["step"]
        return state

    def _load(self, state: Optional[Dict[str, Any]]) -> None:
        if state is None:
            if self.start is None:
                arrays = initial.arrays(self.row, self.recipe, self.settings.seed)
            else:
                arrays, _ = initial.finetuned(self.row, self.recipe, self.settings.seed, self.start)
            self.scheme.load(arrays)
            return
        self.scheme.load(state["parameters"])
        checkpoint.restore_momenta(self.scheme, self.optimizer, state["momenta"])
        self.schedule.load_state_dict(state["schedule"])
        if set(state["scaler"]) == set(self.scaler.state_dict()):  # else it ran with another --amp
            self.scaler.load_state_dict(state["scaler"])
        self.epoch, self.step, self.done = state["epoch"], state["step"], state["done"]
        self.sums, self.best = Sums(*state["sums"]), state["best"]

    def _save(self) -> None:
        """Write a checkpoint, unless the network has diverged. A collective call.

        :raises UserError: if it has, or if the file cannot be written.
        """
        self._check_finite()
        parameters = self.scheme.assemble(lambda tensor: tensor)
        momenta = checkpoint.momenta(self.scheme, self.optimizer)
        self.scheme.traffic.take()
        if not self.writes:
            self.saved = self.step
            return
        state = {
            "classes": list(self.training.classes),
            "facts": self._facts(),
            "parameters": parameters,
            "momenta": momenta,
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "done": self.done,
            "sums": [self.sums.images, self.sums.loss, self.sums.wrong],
            "best": self.best,
            "bad": self.bad.seen,
        }
        checkpoint.save(self.path("checkpoint.pt"), state)
        self.saved = self.step

    def _export(self, names: Sequence[str]) -> None:
        """Write the weights to the files ``names``, for the native engine and other programs."""
        arrays = {name: tensor.float().numpy() for name, tensor in self.scheme.assemble(lambda t: t).items()}
        self.scheme.traffic.take()
        if not self.writes:
            return
        arrays = initial.scale(self.row, arrays, self.recipe, initial.KEEP)
        mean = mean_image(self.row, self.recipe, self.statistics)
        metadata = weights.metadata_for(self.row, self.training.classes, mean_image=mean)
        metadata["training"] = (
            f"fastalex train, recipe {self.recipe.name}, {self.epoch} epochs, seed {self.settings.seed}; "
            f"validation top-1 {100 * self.last_row['top1']:.2f}%"
        )
        for name in names:
            weights.save(self.path(name), arrays, metadata)


def _scores(torch: Any, logits: Any, targets: Any) -> Any:
    """Return ``[images, sum of losses, number right, number right among the first five]``."""
    known = targets != data.IGNORED
    loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum", ignore_index=data.IGNORED)
    ranked = logits.topk(min(TOP, logits.shape[1]), 1).indices == targets[:, None]
    right, among = (ranked[:, 0] & known).sum(), (ranked.any(1) & known).sum()
    return torch.stack([value.double() for value in (known.sum(), loss, right, among)])


def _weights(name: Optional[str]) -> Optional[weights.Weights]:
    return None if name is None else weights.load_network(registry.locate(name))


@contextlib.contextmanager
def processes() -> Iterator[None]:
    """Return a context that leaves torchrun's process group at its end, also after an error.

    :raises UserError: a mistake of another process that ended it.
    :raises LostError: if another process is gone.
    """
    try:
        with elastic.together():
            yield
    finally:
        parallel.finish()
