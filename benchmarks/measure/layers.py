"""Measuring the layers of fastalex on this CPU, with the machine's limits beside them."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from benchmarks import floors
from benchmarks.measure import power
from benchmarks.measure.engine_processes import Tools
from benchmarks.measure.limits import NoLimitsError
from benchmarks.measure.processes import CHILD_TIMEOUT_S
from benchmarks.numeric_classes import mode_name

CASE = ("variant", "batch", "threads", "precision", "fc_weights")
#: Modes that are measured by default.
MODES = (("fp32", "fp32"), ("bf16", "int8"), ("int8", "int8"))


class Measurement:
    """One run over networks, numbers of threads, batches and modes; :attr:`rows` grow as it goes."""

    def __init__(self, base: Mapping[str, Any], tools: Optional[Tools], log: Callable[[str], None]) -> None:
        self.base, self.tools, self.log = base, tools or Tools(), log
        self.rows: List[Dict[str, Any]] = []
        self.without_limits = False

    def run(self, variants: Sequence[str], batches: Sequence[int], modes: Sequence[Tuple[str, str]]) -> None:
        for variant in variants:
            for threads in self.base["counts"]:
                for batch in batches:
                    for mode in modes:
                        self._case(dict(zip(CASE, (variant, batch, threads, *mode))))

    def _case(self, case: Mapping[str, Any]) -> None:
        name = mode_name(case["precision"], case["fc_weights"])
        self.log(f"{case['variant']}, {name}, batch {case['batch']}, threads {case['threads']}: layers")
        spec = dict(self.base, **case, cpus=self.base["cpus"][: case["threads"]])
        spec["limits"] = floors.combine(self._limits(spec))
        row = self.tools.once("layers", spec, CHILD_TIMEOUT_S)
        row.update(case, state=power.state(self.base["cpus"]))
        self.rows.append(row)

    def _limits(self, spec: Mapping[str, Any]) -> List[Dict[str, Optional[float]]]:
        """Measure the machine's limits once; report once if they cannot be measured."""
        if self.without_limits:
            return []
        try:
            return [self.tools.limits(spec["cpus"], spec["threads"], self.base["quick"])]
        except NoLimitsError as error:
            self.without_limits = True
            self.log(str(error))
            return []
