"""A trace of the engine's steps that opens in Perfetto (ui.perfetto.dev) and in chrome://tracing.

The format is Chrome's "Trace Event Format": complete events (``ph`` is ``X``) with start ``ts`` and duration ``dur`` in
microseconds, and metadata events (``M``) that name the process and its threads.
"""

from __future__ import annotations

from typing import Any, Dict, List

from .._version import __version__
from .inputs import computed
from .steps import Step, measure

PID = 1


def trace(net: Any, batch: int = 1, repeat: int = 3) -> Dict[str, Any]:
    """Run a batch of random images ``repeat`` times and return the trace, one row for each run.

    The steps of a run follow one another without a gap: what lies between them is not measured.

    :returns: an object for a JSON file.
    :raises UserError: as :func:`.steps.measure` does.
    """
    steps = measure(net, batch, repeat)
    title = f"{net.variant.name} on {net.device}, {net.precision}, batch {batch}"
    events = [_named("process_name", 0, title)]
    for run in range(repeat):
        events.append(_named("thread_name", run + 1, f"run {run + 1}"))
        events += _run(net, steps, run, batch)
    facts = {
        "version": __version__,
        "variant": net.variant.name,
        "device": net.device,
        "precision": net.precision,
        "fc_weights": net.fc_weights,
        "threads": net.threads,
        "batch": batch,
    }
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": {key: str(facts[key]) for key in facts}}


def _run(net: Any, steps: List[Step], run: int, batch: int) -> List[Dict[str, Any]]:
    """Return the events of one run, which begins where the runs before it end."""
    layers = computed(net.variant)
    start = 1e6 * sum(sum(step.seconds[:run]) for step in steps)
    events = []
    for step in steps:
        rows = [layers[name] for name in step.layers]
        lasts = 1e6 * step.seconds[run]
        facts = {"layers": list(step.layers), "macs": batch * sum(row.macs for row in rows)}
        event = {"name": " + ".join(step.layers), "cat": rows[0].op, "ph": "X", "ts": start, "dur": lasts}
        events.append(dict(event, pid=PID, tid=run + 1, args=dict(facts, output=list(rows[-1].out_shape))))
        start += lasts
    return events


def _named(what: str, thread: int, name: str) -> Dict[str, Any]:
    return {"name": what, "ph": "M", "pid": PID, "tid": thread, "args": {"name": name}}
