"""The diagnosis that ``fastalex info`` prints: the state of this installation and this machine."""

from __future__ import annotations

import importlib.util
import os
import platform
from importlib import metadata
from typing import Any, Dict, List, Optional

from .._version import __version__
from ..errors import BackendError, UserError

#: Module, distributions that may contain it, purpose.
OPTIONAL = (
    ("rich", ("rich",), "tables on the command line"),
    ("torch", ("torch",), "the PyTorch reference, tensors as input, training"),
    ("tensorboard", ("tensorboard",), "events of training runs"),
    ("matplotlib", ("matplotlib",), "learning curves of training runs"),
    ("sklearn", ("scikit-learn",), "examples/train_digits.py"),
    ("cuda.bindings", ("cuda-python", "cuda-bindings"), "streams of several libraries at once"),
    ("cupy", ("cupy", "cupy-cuda12x", "cupy-cuda11x"), "arrays of a GPU as input"),
    ("onnxruntime", ("onnxruntime", "onnxruntime-gpu"), "comparison in the tests"),
)
REQUIRED = (("numpy", ("numpy",), "arrays"), ("PIL", ("Pillow", "pillow"), "images"))


def collect() -> Dict[str, Any]:
    """Collect everything that ``info`` shows, as plain values. Problems are reported in the result, not raised.

    ``ok`` is false if the native engine cannot be loaded, no backend works, the bundled weights are damaged, or a
    self-test fails; ``problems`` then has a sentence for each.
    """
    report: Dict[str, Any] = {
        "version": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "location": os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
        "cpu": _cpu(),
        "device": _device(),
        "packages": [_package(*entry) for entry in REQUIRED + OPTIONAL],
        "weights": _weights(),
    }
    report.update(_engine())
    report["advice"] = _advice(report)
    report["problems"] = _problems(report)
    report["ok"] = not report["problems"]
    return report


def _engine() -> Dict[str, Any]:
    try:
        from .. import _core
    except ImportError as error:
        nothing: Dict[str, Any] = {
            "build": {},
            "isa": None,
            "fc_layout": None,
            "backends": [],
            "gpus": [],
            "selftest": [],
        }
        return {"engine": str(error), **nothing}
    from ..runtime import device_spec

    report: Dict[str, Any] = {"engine": "", "build": _core.build_info(), "backends": _core.backends()}
    report["gpus"] = _gpus([entry["name"] for entry in report["backends"] if entry["available"]])
    report["fc_layout"] = device_spec.FC_LAYOUTS[0]
    try:
        report["isa"] = _core.cpu_isa()
    except BackendError:  # the cpu backend's entry has the reason
        report["isa"] = None
    report["selftest"] = _selftest([entry["name"] for entry in report["backends"] if entry["available"]])
    return report


def _gpus(backends: List[str]) -> List[Dict[str, Any]]:
    """Describe every GPU of every backend: properties, matching device file, and source of the tuning rules."""
    from ..runtime import device_spec
    from ..tuning import rules

    entries = []
    for backend, gpu in ((name, gpu) for name in backends for gpu in device_spec.gpus(name)):
        device = device_spec.DeviceSpec(backend, gpu)
        known = rules.known_as(gpu)
        entry = dict(vars(gpu), device=device.name, driver_cuda=gpu.driver_version)
        entry.update(
            recognized=known.device.name if known.device else None,
            card=known.card.name if known.card else None,
            tuning=rules.choose(device).source,
        )
        entries.append(entry)
    return entries


def _selftest(backends: List[str]) -> List[Dict[str, Any]]:
    from ..runtime import device_spec
    from ..selftest import checks

    quick = [name for name in backends if not device_spec.runs_engines(name)]  # an engine for each case takes minutes
    return [outcome._asdict() for outcome in checks.run_all(quick)]


def _problems(report: Dict[str, Any]) -> List[str]:
    if report["engine"]:
        return [f"the native engine cannot be loaded ({report['engine']}); install fastalex again"]
    problems = []
    from ..runtime.device_spec import AUTO_ORDER

    status = {entry["name"]: entry for entry in report["backends"]}
    if not any(status[name]["available"] for name in AUTO_ORDER):
        problems.append(f"no backend works on this machine: {status['cpu']['reason']}")
    problems += [
        "the bundled weights '{name}' cannot be used: {reason}".format(**row)
        for row in report["weights"]
        if row["reason"]
    ]
    failed = [entry for entry in report["selftest"] if not entry["ok"]]
    if failed:
        first = failed[0]
        problems.append(
            f"{len(failed)} of {len(report['selftest'])} self-tests failed; the first is {first['case']} on "
            f"{first['backend']}: {first['reason']}"
        )
    return problems


def _cpu() -> Dict[str, Any]:
    from ..hardware import devices

    cpu = devices.cpu()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cpu.cores
    return {"model": cpu.model, "machine": cpu.machine, "cores": cpu.cores, "usable_cores": usable}


def _device() -> Dict[str, Any]:
    from ..hardware import devices

    try:
        match = devices.recognize()
    except UserError as error:
        return {"name": None, "title": None, "card": None, "reason": str(error)}
    return {
        "name": match.device.name if match.device else None,
        "title": match.device.title if match.device else None,
        "card": match.card.name if match.card else None,
        "reason": match.reason,
    }


def _advice(report: Dict[str, Any]) -> str:
    from ..hardware import installation

    usable = any(entry["name"] == "cuda" and entry["available"] for entry in report["backends"])
    try:
        return installation.line(report["build"], usable)
    except UserError as error:
        return str(error)


def _package(module: str, distributions: Any, purpose: str) -> Dict[str, Any]:
    """Look for a package without importing it, which takes seconds for some."""
    try:
        installed = importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        installed = False
    version = _version(distributions) if installed else None
    return {"name": module, "found": installed, "version": version, "purpose": purpose}


def _version(distributions: Any) -> Optional[str]:
    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def _weights() -> List[Dict[str, Any]]:
    from .. import weights

    entries = []
    for name in weights.BUNDLED:
        entry: Dict[str, Any] = {"name": name, "path": str(weights.bundled(name))}
        try:
            loaded = weights.load(entry["path"])
            row = loaded.variant()
            entry.update(variant=row.name if row else None, classes=row.num_classes if row else None)
            entry.update(bytes=os.path.getsize(entry["path"]), reason="")
        except (UserError, OSError) as error:
            entry.update(variant=None, classes=None, bytes=None, reason=str(error))
        entries.append(entry)
    return entries
