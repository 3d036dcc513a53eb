"""The learning rate of each group of parameters by epoch and iteration."""

from __future__ import annotations

from typing import Any, Dict

from .recipes import Recipe

FACTOR = 0.1  # of every cut, in all sources of recipes.py


class Schedule:
    """The schedule of a recipe, for an optimizer created by :func:`fastalex.train.update.optimizer`.

    All schedules except ``plateau`` depend only on the epoch and the iteration, both counted from 0.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.reductions, self.best, self.bad = 0, float("inf"), 0

    def set(self, optimizer: Any, epoch: int, iteration: int) -> None:
        """Set the rate of each group."""
        for group in optimizer.param_groups:
            group["lr"] = self.rate(group["layer"], group["bias"], epoch, iteration)

    def rate(self, layer: str, bias: bool, epoch: int, iteration: int) -> float:
        """Return the rate of the weights or biases of ``layer``."""
        recipe = self.recipe
        base = recipe.bias_lr if bias and recipe.bias_lr is not None else recipe.lr
        rate = base * (FACTOR ** self._cuts(epoch, iteration) if not bias or recipe.bias_follows else 1.0)
        for name, start, own in recipe.layer_lr:
            if name == layer and epoch >= start and (not bias or own == 0):
                rate = own
        return rate

    def _cuts(self, epoch: int, iteration: int) -> int:
        kind = self.recipe.schedule
        if kind == "plateau":
            return self.reductions
        if kind == "constant":
            return 0
        return sum((epoch if kind == "epochs" else iteration) >= cut for cut in self.recipe.cuts)

    def validated(self, error: float) -> bool:
        """Record the validation error of an epoch; return False if it has stopped falling at the lowest rate too."""
        if error < self.best:
            self.best, self.bad = error, 0
            return True
        self.bad += 1
        if self.recipe.schedule != "plateau" or self.bad <= self.recipe.patience:
            return True
        if self.reductions == self.recipe.reductions:
            return False
        self.reductions, self.bad = self.reductions + 1, 0
        return True

    def state_dict(self) -> Dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"reductions": self.reductions, "best": self.best, "bad": self.bad}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        self.reductions, self.best, self.bad = state["reductions"], state["best"], state["bad"]
