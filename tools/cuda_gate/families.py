"""The kernels of each family, from csrc/cuda/kernels/<family>_instances.h, compiled for an architecture."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

from fastalex._util.files import Replacement, write_atomically

from .toolchain import Nvrtc, ToolError, Usage, assemble, fingerprint

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"
KERNELS = CSRC / "cuda" / "kernels"
CACHE = ROOT / "build" / "cuda_gate"
# Lists are evaluated for the lowest architecture of NVRTC 12.9 with half arithmetic.
FACTS_ARCHITECTURE = 53
# No --use_fast_math, as in the product.
OPTIONS = ["-std=c++14", f"-I{CSRC}"]


@dataclass(frozen=True)
class Instance:
    """One kernel of a list. ``expression`` is C++ in fastalex::cuda; ``rest``: what the list says after the general
    columns, as text."""

    family: str
    name: str
    expression: str
    threads: int
    shared_bytes: int
    min_sm: int
    max_sm: int
    tensor: bool
    rest: Tuple[str, ...]

    def fits(self, architecture: int, tensor_cores: bool = True) -> bool:
        """Whether the kernel is for this architecture (of a device that has tensor cores or not)."""
        above = not self.min_sm or architecture >= self.min_sm
        below = not self.max_sm or architecture <= self.max_sm
        return above and below and (tensor_cores or not self.tensor)


def families() -> List[str]:
    """Names of the lists."""
    return sorted(path.name[: -len("_instances.h")] for path in KERNELS.glob("*_instances.h"))


def sources() -> List[Path]:
    """All files that a kernel can include."""
    return sorted(path for path in KERNELS.iterdir() if path.suffix in (".h", ".cuh"))


def list_macro(family: str) -> str:
    return f"FASTALEX_{family.upper()}_INSTANCES"


def unit(family: str) -> str:
    """The head of a translation unit with a family's kernels and its list."""
    header = (KERNELS / (family + "_instances.h")).read_text(encoding="utf-8")
    if list_macro(family) not in header:
        raise ToolError(f"{family}_instances.h does not define {list_macro(family)}")
    own = [name for name in (family + ".cuh", family + "_instances.h") if (KERNELS / name).is_file()]
    includes = "".join(f'#include "cuda/kernels/{name}"\n' for name in own)
    return includes + "using namespace fastalex;\nusing namespace fastalex::cuda;\n"


# Each instance becomes one element of an array in the PTX, from which read_facts takes it again: so that the compiler
# evaluates the constants, and expands the names, exactly as it does for the product.
SUPPORTED, TEXT_BYTES, TEXTS = 5, 512, 3
FACTS = """
#define TEXT_(...) #__VA_ARGS__
#define TEXT(...) TEXT_(__VA_ARGS__)
#define FACT_(NAME, KERNEL, ARGS, THREADS, SHARED, MIN, MAX, TENSOR, ...)  \\
  {{int(THREADS), int(SHARED), int(MIN), int(MAX), int(TENSOR)}, {NAME, TEXT(KERNEL), TEXT(__VA_ARGS__)}},
#define FACT(...) FACT_(__VA_ARGS__, )
struct Fact {
  int numbers[%d];
  char texts[%d][%d];
};
extern "C" __device__ const Fact facts[] = {
FASTALEX_LIST(FACT)
};
""" % (SUPPORTED, TEXTS, TEXT_BYTES)


def read_list(nvrtc: Nvrtc, family: str, architecture: int = FACTS_ARCHITECTURE) -> List[Instance]:
    """Instances in the list of a family, in order; it is the same for every architecture."""
    source = unit(family) + f"#define FASTALEX_LIST {list_macro(family)}\n" + FACTS
    options = [f"--gpu-architecture=compute_{architecture}", *OPTIONS]
    return read_facts(family, nvrtc.compile(source, options).text)


def read_facts(family: str, ptx: str) -> List[Instance]:
    """Instances from the array ``facts`` in PTX."""
    array = re.search(r"\bfacts\[\d+\]\s*=\s*\{([^}]*)\}", ptx)
    if not array:
        raise ToolError(f"the list of {family} is empty")
    data = bytes(int(value) % 256 for value in array.group(1).split(","))
    size = 4 * SUPPORTED + TEXTS * TEXT_BYTES
    data += bytes(-len(data) % size)  # NVRTC omits trailing zeros
    instances = []
    for start in range(0, len(data), size):
        words = [data[start + 4 * i :][:4] for i in range(SUPPORTED)]
        number = [int.from_bytes(word, "little", signed=True) for word in words]
        texts = [data[start + 4 * SUPPORTED + TEXT_BYTES * i :][:TEXT_BYTES] for i in range(TEXTS)]
        name, expression, rest = (text.split(b"\0")[0].decode() for text in texts)
        cells = tuple(cell.strip() for cell in rest.rstrip(", ").split(",")) if rest.strip(", ") else ()
        instances.append(Instance(family, name, _bare(expression), *number[:4], bool(number[4]), cells))
    return instances


def _bare(expression: str) -> str:
    """A kernel's name without the parentheses that kept its commas together."""
    expression = expression.strip()
    return expression[1:-1].strip() if expression.startswith("(") else expression


@dataclass(frozen=True)
class Compiled:
    """A family for an architecture. ``symbols[name]``, ``usage[name]`` by the instance's name."""

    family: str
    architecture: int
    instances: List[Instance]
    symbols: Dict[str, str]
    usage: Dict[str, Usage]
    cubin: Path


def compile_family(family: str, architecture: int) -> Compiled:
    """Compile every instance of ``family`` for ``architecture``, or take it from the cache if nothing has changed.

    :raises ToolError: if a compiler refuses.
    """
    nvrtc = Nvrtc()
    key = fingerprint([*sources(), Path(__file__)], nvrtc.version, family, str(architecture))
    record = CACHE / (f"{family}_sm{architecture}_{key}.json")
    cubin = record.with_suffix(".cubin")
    if record.is_file() and cubin.is_file():
        return _from_json(json.loads(record.read_text(encoding="utf-8")), cubin)
    instances = [one for one in read_list(nvrtc, family) if one.fits(architecture)]
    CACHE.mkdir(parents=True, exist_ok=True)
    for old in CACHE.glob(f"{family}_sm{architecture}_*"):
        old.unlink(missing_ok=True)
    symbols: Dict[str, str] = {}
    usage: Dict[str, Usage] = {}
    file = Replacement(cubin)
    if instances:
        options = [f"--gpu-architecture=compute_{architecture}", *OPTIONS]
        ptx = nvrtc.compile(unit(family), options, [one.expression for one in instances])
        said = assemble(ptx.text, architecture, Path(file.temporary))
        symbols = {one.name: symbol for one, symbol in zip(instances, ptx.lowered)}
        usage = {name: said[symbol] for name, symbol in symbols.items()}
    else:
        Path(file.temporary).write_bytes(b"")
    file.keep()
    compiled = Compiled(family, architecture, instances, symbols, usage, cubin)
    write_atomically(record, json.dumps(_to_json(compiled)))
    return compiled


def _to_json(compiled: Compiled) -> dict:
    return {
        "family": compiled.family,
        "architecture": compiled.architecture,
        "instances": [asdict(one) for one in compiled.instances],
        "symbols": compiled.symbols,
        "usage": {name: asdict(usage) for name, usage in compiled.usage.items()},
    }


def _from_json(record: dict, cubin: Path) -> Compiled:
    instances = [Instance(**dict(one, rest=tuple(one["rest"]))) for one in record["instances"]]
    usage = {name: Usage(**one) for name, one in record["usage"].items()}
    return Compiled(record["family"], record["architecture"], instances, record["symbols"], usage, cubin)


def duplicates(instances: Sequence[Instance]) -> List[str]:
    """Names that more than one instance has."""
    names = [one.name for one in instances]
    return sorted({name for name in names if names.count(name) > 1})
