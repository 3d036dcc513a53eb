"""The learning rate of each group of parameters, at any epoch and iteration."""

from __future__ import annotations

from typing import Any, Dict

from .recipes import Recipe

FACTOR = 0.1  # of every cut, in all of the sources of recipes.py


class Schedule:
    """Sets the rates of an optimizer that :func:`fastalex.train.update.optimizer` made.

    All but ``plateau`` depend on the epoch and iteration alone (both from 0), so a run that resumes has the same.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.reductions, self.best, self.bad = 0, float("inf"), 0

    def set(self, optimizer: Any, epoch: int, iteration: int) -> None:
        """Give each group its rate."""
        for group in optimizer.param_groups:
            group["lr"] = self.rate(group["layer"], group["bias"], epoch, iteration)

    def rate(self, layer: str, bias: bool, epoch: int, iteration: int) -> float:
        """The rate of the weights or biases of ``layer``."""
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
        """Take in the validation error after an epoch; false if it has stopped falling at the last rate too."""
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
        return {"reductions": self.reductions, "best": self.best, "bad": self.bad}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        self.reductions, self.best, self.bad = state["reductions"], state["best"], state["bad"]
