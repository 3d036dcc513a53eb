"""fastalex weights pack: a folder that FASTALEX_WEIGHTS_DIR names on a machine without a network."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil

import pytest

from fastalex import AlexNet, UserError, variants, weights
from fastalex.cli.main import main
from fastalex.weights import download, hub, initial, packing, packs, registry
from fastalex.weights.readers import safetensors

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def content(seed):
    stream = io.BytesIO()
    safetensors.write(stream, initial.random_weights("alexnet-digits", seed=seed), {})
    return stream.getvalue()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A machine with the published file `net`, a file robot.npz, and a cache of the Hub that has robot/net."""
    cache = tmp_path / "cache"
    cache.mkdir()
    monkeypatch.setenv("FASTALEX_WEIGHTS_DIR", str(cache))
    body = content(1)
    (cache / "net.safetensors").write_bytes(body)
    row = registry.File("net", "net.safetensors", ("http://127.0.0.1:9/",), None, "sha256", "", "owt", "test", "none")
    monkeypatch.setitem(registry.FILES, "net", row._replace(digest=hashlib.sha256(body).hexdigest()))
    weights.save(tmp_path / "robot.npz", initial.random_weights("alexnet-digits", seed=2))
    snapshot = tmp_path / "hub" / "models--robot--net" / "snapshots" / COMMIT
    for folder, seed in (("", 3), ("b", 4)):
        (snapshot / folder).mkdir(parents=True, exist_ok=True)
        (snapshot / folder / "model.safetensors").write_bytes(content(seed))
    (snapshot / "config.json").write_text(json.dumps({"fastalex": {"labels": list("abcdefghij")}}))

    def fetched(text, notes, quiet=False):
        return str(snapshot / (hub.parsed(text).file or "model.safetensors"))

    monkeypatch.setattr(hub, "fetch", fetched)
    return tmp_path


@pytest.fixture
def elsewhere(here, tmp_path, monkeypatch):
    """A pack of all of these, on a machine that has nothing else."""
    folder = tmp_path / "pack"
    names = ["net", "hf:robot/net", "hf:robot/net/b/model.safetensors", str(here / "robot.npz"), "net"]
    packing.pack(names, str(folder))
    for path in (here / "cache", here / "hub"):
        shutil.rmtree(path)
    (here / "robot.npz").unlink()

    def unreachable(*_, **__):
        raise AssertionError("there is no network")

    monkeypatch.setattr(hub, "fetch", unreachable)
    monkeypatch.setattr(download, "download", unreachable)
    monkeypatch.setenv("FASTALEX_WEIGHTS_DIR", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def seed_of(name):
    net = AlexNet.from_pretrained(name, device="cpu")
    arrays = [initial.random_weights("alexnet-digits", seed=seed) for seed in range(5)]
    return [(net.get_parameter("conv1.weight") == one["conv1.weight"]).all() for one in arrays].index(True)


def test_all_names_mean_the_same_elsewhere(elsewhere):
    assert [seed_of(name) for name in ("net", "robot.npz", "hf:robot/net", "hf:robot/net@main")] == [1, 2, 3, 3]
    assert seed_of("hf:robot/net/b/model.safetensors") == 4
    assert seed_of(f"hf:robot/net@{COMMIT}/model.safetensors") == 3
    assert AlexNet.from_pretrained("hf:robot/net", device="cpu").labels == list("abcdefghij")
    assert AlexNet.from_pretrained("digits", device="cpu").variant.name == "alexnet-digits"
    with pytest.raises(AssertionError, match="no network"):
        registry.locate("hf:robot/net@v2")
    with pytest.raises(UserError, match=r"no weights of that name .*, net, hf:robot/net, .*, robot\.npz\)"):
        registry.locate("other.npz")


def test_what_is_in_the_folder(elsewhere):
    files = sorted(path.relative_to(elsewhere).as_posix() for path in elsewhere.rglob("*") if path.is_file())
    top = f"hf/robot/net/{COMMIT}/"
    assert files == [
        *("fastalex-weights.json", "files/robot.npz/robot.npz"),
        *(top + "b/model.safetensors", top + "config.json", top + "model.safetensors", "net.safetensors"),
    ]
    listed = json.loads((elsewhere / packs.LIST).read_text())
    assert listed["schema"] == 1
    for row in listed["weights"]:
        for file in row["files"]:
            body = (elsewhere / file["path"]).read_bytes()
            assert (file["bytes"], file["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())


def test_a_pack_that_cannot_be_written_is_used(elsewhere):
    for path in [elsewhere, *elsewhere.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert seed_of("hf:robot/net") == 3
        assert main(["weights", "verify"]) == 0
    finally:
        for path in [elsewhere, *elsewhere.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)


def test_a_pack_of_a_pack(elsewhere, tmp_path):
    again = packing.pack(["hf:robot/net", "net", "robot.npz"], str(tmp_path / "again"))
    assert [(entry.name, entry.commit) for entry in again] == [("hf:robot/net", COMMIT), ("net", ""), ("robot.npz", "")]
    assert again[0] == packs.read(str(elsewhere))[1]


@pytest.mark.parametrize("what", ["bytes", "shorter", "missing", "config"])
def test_a_damaged_file_is_refused(elsewhere, what, capsys):
    path = elsewhere / "hf/robot/net" / COMMIT / ("config.json" if what == "config" else "model.safetensors")
    body = path.read_bytes()
    if what == "missing":
        path.unlink()
    else:
        path.write_bytes(body[:-1] if what == "shorter" else body[:-1] + b"?")
    sentence = f"{path} is missing or damaged: copy the pack again, or make it anew by 'fastalex weights pack'"
    with pytest.raises(UserError) as refused:
        registry.locate("hf:robot/net")
    assert str(refused.value) == sentence
    assert main(["weights", "verify"]) == 2
    assert capsys.readouterr().err.strip().endswith(sentence)
    assert seed_of("net") == 1


def test_verify_computes_what_a_note_has_said(elsewhere):
    path = elsewhere / "net.safetensors"
    registry.locate("net")
    status = path.stat()
    with open(path, "r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"?")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert registry.locate("net") == str(path)
    with pytest.raises(UserError, match="missing or damaged"):
        registry.verify()


FILE = {"path": "a", "bytes": 1, "sha256": "b"}
LISTS = [
    *("", "{", "[]", "{}", '{"schema": 1}', '{"weights": 1}', "\0" * 9),
    *(json.dumps({"weights": [{"name": "n", "commit": "", "files": files}]}) for files in ([], [{}], "x", [1])),
    *(json.dumps({"weights": [{"name": "n", "commit": "", "files": [dict(FILE, path=p)]}]}) for p in ("/a", "../a", 1)),
    json.dumps({"weights": [{"name": "n", "commit": "", "files": [dict(FILE, bytes="1")]}]}),
    json.dumps({"weights": [{"name": "hf:n", "commit": "", "files": [FILE]}]}),
]


@pytest.mark.parametrize("text", LISTS)
def test_a_damaged_list_is_refused(here, text):
    (here / "cache" / packs.LIST).write_text(text)
    with pytest.raises(UserError, match=r"fastalex-weights\.json (is|is not valid|is damaged): copy the pack again"):
        registry.locate("net")


def test_a_list_that_cannot_be_read(here):
    (here / "cache" / packs.LIST).mkdir()
    with pytest.raises(UserError, match=r"fastalex-weights\.json cannot be read: Is a directory$"):
        registry.locate("net")


def test_a_list_of_a_later_release(here):
    (here / "cache" / packs.LIST).write_text('{"schema": 2, "weights": {}}')
    with pytest.raises(UserError, match="of a later release of fastalex"):
        registry.locate("net")


@pytest.mark.peers
def test_data_files_behind_links(here, tmp_path, monkeypatch):
    """As in the cache of huggingface_hub, where every file is a link to one that is called by its hash."""
    from fastalex.networks.onnx_export import graph_of

    onnx = pytest.importorskip("onnx")
    row = variants.get("torchvision", widths=(16, 32, 48, 48, 32, 64, 64), num_classes=5)
    graph = graph_of(row, initial.random_weights(row, seed=1))
    snapshot, blobs = here / "hub/models--robot--net/snapshots" / COMMIT / "onnx", here / "hub/models--robot--net/blobs"
    snapshot.mkdir()
    blobs.mkdir()
    onnx.save_model(
        graph, str(snapshot / "m.onnx"), save_as_external_data=True, location="m.onnx.data", size_threshold=0
    )
    for number, path in enumerate(sorted(snapshot.iterdir())):
        path.rename(blobs / str(number))
        path.symlink_to(blobs / str(number))
    made = packing.pack(["hf:robot/net/onnx/m.onnx"], str(tmp_path / "pack"))
    top = f"hf/robot/net/{COMMIT}/onnx/"
    assert [file.path for file in made[0].files] == [top + "m.onnx", top + "m.onnx.data"]
    assert not any(path.is_symlink() for path in (tmp_path / "pack").rglob("*"))
    shutil.rmtree(here / "hub")
    monkeypatch.setenv("FASTALEX_WEIGHTS_DIR", str(tmp_path / "pack"))
    assert AlexNet.from_pretrained("hf:robot/net/onnx/m.onnx", device="cpu").variant.num_classes == 5


def test_nothing_is_left_of_a_pack_that_fails(here, monkeypatch):
    (here / "cut.npz").write_bytes((here / "robot.npz").read_bytes()[:1000])
    (here / "other").mkdir()
    shutil.copy(here / "robot.npz", here / "other")
    (here / "there").mkdir()
    for name in ("net", "digits"):
        shutil.copy(here / "robot.npz", here / "other" / name)
    robot, out = str(here / "robot.npz"), str(here / "pack")
    before = sorted(os.listdir(here))
    for names, folder, sentence in (
        ([robot, str(here / "cut.npz")], out, "cut.npz"),
        ([robot, str(here / "none.npz")], out, "there is no weights file"),
        ([robot, str(here / "other" / "robot.npz")], out, r"two of the files are called robot\.npz; rename one"),
        (["digits"], out, "'digits' come with fastalex; leave them out"),
        ([str(here / "other" / "net")], out, "other/net is called like the published weights 'net'; rename it"),
        ([str(here / "other" / "digits")], out, "digits is called like the published weights 'digits'; rename it"),
        ([robot], str(here / "there"), "there is there already; name a new folder"),
        ([robot], str(here / "no" / "pack"), "pack cannot be written: No such file"),
    ):
        with pytest.raises(UserError, match=sentence):
            packing.pack(names, folder)
    monkeypatch.setattr(packing, "write_atomically", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(UserError, match="cannot be written: No space left"):
        packing.pack([robot], out)
    assert sorted(os.listdir(here)) == before


def test_the_commands(here, capsys, monkeypatch):
    out = str(here / "pack")
    assert main(["weights", "pack", "net", "hf:robot/net", "--out", out]) == 0
    assert "FASTALEX_WEIGHTS_DIR" in capsys.readouterr().out
    monkeypatch.setenv("FASTALEX_WEIGHTS_DIR", out)
    assert main(["weights", "verify", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"folder": out, "verified": ["net", "hf:robot/net"]}
    assert main(["weights", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)["packed"]] == ["net", "hf:robot/net"]
    assert main(["weights", "fetch", "hf:robot/net", "--json"]) == 0
    path = os.path.join(out, "hf/robot/net", COMMIT, "model.safetensors")
    assert json.loads(capsys.readouterr().out) == {"hf:robot/net": path}
    assert main(["summary", "--weights", "hf:robot/net"]) == 0
    capsys.readouterr()
    for words, sentence in (
        (["pack", "net"], "name the weights and a new folder"),
        (["pack", "--out", out + "2"], "name the weights and a new folder"),
        (["pack", "net", "--out", ""], "name the weights and a new folder"),
        (["verify", "net"], "verify takes no names"),
        (["list", "--out", out], "--out is for 'fastalex weights pack'"),
    ):
        assert main(["weights", *words]) == 2
        assert sentence in capsys.readouterr().err


def test_verify_without_a_pack(here, capsys):
    assert main(["weights", "verify"]) == 0
    assert capsys.readouterr().out == f"{here / 'cache'}: net verified\n"
    (here / "cache" / "net.safetensors").write_bytes(b"x")
    assert main(["weights", "verify"]) == 2
    assert "does not have the sha256" in capsys.readouterr().err
