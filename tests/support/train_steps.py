"""Five steps of training under a scheme, in float64, for tests/train/test_parallel.py.

train_steps.steps(kind, devices) -> losses, gradients of the first and last step, parameters, bytes sent
"""

from __future__ import annotations

import torch

from fastalex import variants
from fastalex.train import initial, recipes, update
from fastalex.train.dropout import Masks
from fastalex.train.parallel import Scheme
from fastalex.train.schedule import Schedule

ROW = variants.get("alexnet2012", widths=(24, 64, 96, 96, 64, 1024, 1024), num_classes=10)  # a quarter of the widths
RECIPE = recipes.get("paper", init="he", lr=1e-3)
BATCH, STEPS, SEED = 4, 5, 3
SMALL = variants.get("alexnet2012", widths=(8, 16, 24, 24, 16, 32, 32), num_classes=10, input_size=67)
CPU = torch.device("cpu")


def batch(step, size):
    generator = torch.Generator().manual_seed(step)
    images = torch.randn(BATCH, 3, size, size, dtype=torch.float64, generator=generator)
    return images, torch.randint(10, (BATCH,), generator=generator)


def steps(kind, devices=(CPU,), row=ROW, recipe=RECIPE, accumulate=1):
    masks = Masks(SEED)
    scheme = Scheme(kind, row, list(devices), masks, recipe.dropout)
    scheme.prepare(torch.float64)
    scheme.load(initial.arrays(row, recipe, SEED))
    scheme.network.train()
    optimizer = update.optimizer(recipe, row, [(own.name, own.tensor) for own in scheme.owned()])
    Schedule(recipe).set(optimizer, 0, 0)
    share = BATCH // scheme.shares // accumulate
    losses, gradients = [], []
    scheme.traffic.take()
    sent = {}
    for step in range(STEPS):
        images, labels = batch(step, row.input_size)
        total = torch.zeros((), dtype=torch.float64)
        optimizer.zero_grad()
        for micro in range(accumulate):
            rank = scheme.rank if scheme.shares > 1 else 0
            first = (micro * scheme.shares + rank) * share
            masks.step, masks.first_row = step, first - rank * share if kind == "hybrid" else first
            targets = scheme.targets(labels[first : first + share])
            with scheme.hold(micro + 1 < accumulate):
                logits = scheme.logits(images[first : first + share])
                loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum") / BATCH
                loss.backward()
            total += loss.detach()
        losses.append(scheme.added(total).item())
        sent = sent or scheme.traffic.take()
        if step in (0, STEPS - 1):
            gradients.append(scheme.assemble(lambda tensor: tensor.grad))
        optimizer.step()
    return {
        "losses": losses,
        "gradients": gradients,
        "parameters": scheme.assemble(lambda tensor: tensor),
        "sent": sent,
        "rank": scheme.rank,
    }


def run(rank, world, folder, kinds):
    """One process of ``world``; the first one writes what ``steps`` gave to ``folder``."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    for kind in kinds:
        results = {"whole": steps(kind), "parts": steps(kind, row=SMALL, accumulate=4 // world)}
        if rank == 0:
            torch.save(results, f"{folder}/{kind}.pt")
    torch.distributed.destroy_process_group()
