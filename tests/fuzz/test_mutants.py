"""Damaged files of every format: used or refused in one sentence, within 5 s and 500 MB, in processes of their own."""

from __future__ import annotations

from random import Random

import pytest

from tests.fuzz import corpus, mutators, planted, pool, targets, worker

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("google.protobuf")

pytestmark = pytest.mark.peers


@pytest.mark.parametrize("name", [name for name in corpus.FORMATS if name != "checkpoint"])  # whose files are a .pth's
def test_mutators_know_their_formats(name):
    """No damage falls back to bytes of no meaning, and a case is the same each time."""
    for files in corpus.FORMATS[name].make():
        for file, data in files.items():
            damaged = [mutators.structured(file, data, Random(number)) for number in range(8)]
            assert damaged == [mutators.structured(file, data, Random(number)) for number in range(8)]
            assert len(set(damaged) - {data}) > 4


@pytest.mark.slow
@pytest.mark.parametrize("name", corpus.FORMATS)
def test_sound_files_are_used(name, tmp_path):
    target = corpus.FORMATS[name].target
    uses = targets.USES.get(target, (0,))
    for index, files in enumerate(corpus.FORMATS[name].make()):
        for number in uses if index == 0 else (index,):  # every use of the first file, one of the others
            seen = targets.use(target, worker.place(files, str(tmp_path / "case")), number)
            assert not seen.refusal or "needs the ranges of the activations" in seen.refusal, (list(files), number)
            assert name != "tuning" or not seen.notes, "a sound cache was read as a broken one"


@pytest.mark.slow
def test_planted_faults_are_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "FORMATS", dict(corpus.FORMATS))
    planted.register()
    cases = [(planted.NAME, number) for number in range(len(planted.FAULTS))]
    found = {result.number: result for result in pool.run(cases, str(tmp_path), module="tests.fuzz.planted")}
    for number, kind in enumerate(planted.FAULTS.values()):
        assert found[number].verdict.kind == kind, found[number]


@pytest.mark.slow
@pytest.mark.parametrize("name", corpus.FORMATS)
def test_damaged_files_do_no_harm(name, tmp_path, request):
    count = request.config.getoption("--mutations")
    results = list(pool.run(((name, number) for number in range(count)), str(tmp_path)))
    bad = pool.faults(results)
    assert len(results) == count and not bad, f"{len(bad)} of {count}; {bad[0].replay}: {bad[0].verdict}"
    kinds = {result.verdict.kind for result in results}
    assert kinds == ({pool.LOADED} if name == "tuning" else set(pool.GOOD))  # a cache is never refused
