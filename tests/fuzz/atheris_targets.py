"""Fuzzing by coverage, with atheris: ``python -m tests.fuzz.atheris_targets FORMAT [OPTION OF LIBFUZZER ...]``.

``pip install atheris`` brings it. The corpus is the sound files and some of their mutants, written to a folder of the
temporary ones; mutants come from libFuzzer and from ``mutators/``. A fault of :data:`tests.fuzz.pool.KINDS` ends the
run, and libFuzzer writes its file, which ``python -m tests.fuzz.replay FORMAT FILE`` runs again.
"""

from __future__ import annotations

import os
import sys
import tempfile
from random import Random
from typing import Dict

import atheris

with atheris.instrument_imports(include=["fastalex"]):
    from tests.fuzz import corpus, pool, targets, worker

MUTANTS = 100  # in the corpus


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in corpus.FORMATS:
        sys.exit(f"usage: python -m tests.fuzz.atheris_targets FORMAT [OPTION ...], of {', '.join(corpus.FORMATS)}")
    name, options = sys.argv[1], sys.argv[2:]
    sound = corpus.FORMATS[name].make()
    main_file, others = min(sound[0]), {key: data for key, data in sound[0].items() if key != min(sound[0])}
    target = corpus.FORMATS[name].target
    targets.prepare(target)
    folder = tempfile.mkdtemp(prefix=f"fastalex-atheris-{name}-")

    def one(data: bytes) -> None:
        path = worker.place({main_file: data, **others}, os.path.join(folder, "case"))
        verdict = worker.run(target, path, sum(data[-64:]), raising=True)
        if verdict.kind not in pool.GOOD:
            raise AssertionError(f"{verdict.kind}: {verdict.reason}")

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        chance = Random(seed)
        if chance.random() < 0.5:
            return bytes(atheris.Mutate(data, most))
        return corpus.FORMATS[name].damage(main_file, data, chance)[:most]

    _write_corpus(name, sound, os.path.join(folder, "corpus"))
    defaults = ("-max_len=1000000", "-rss_limit_mb=4096", f"-artifact_prefix={folder}/")
    atheris.Setup([sys.argv[0], *defaults, *options, os.path.join(folder, "corpus")], one, custom_mutator=mutate)
    atheris.Fuzz()


def _write_corpus(name: str, sound: list, folder: str) -> None:
    os.makedirs(folder)
    cases: Dict[str, Dict[str, bytes]] = {f"sound-{index}": files for index, files in enumerate(sound)}
    cases.update({f"mutant-{number}": corpus.case(name, sound, number) for number in range(MUTANTS)})
    for label, files in cases.items():
        with open(os.path.join(folder, label), "wb") as stream:
            stream.write(files[min(files)])


if __name__ == "__main__":
    main()
