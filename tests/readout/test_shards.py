"""Parts of a read-out and their merge, against the read-out in one piece; locks; results of other runs."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile

import pytest

from fastalex import AlexNet, UserError, readout
from fastalex.cli.main import main
from fastalex.readout import lock, shards
from fastalex.readout.run import Run
from fastalex.readout.sources import base
from tests.readout import killed, stimuli

COUNT = 23
LAYERS = ["conv5", "fc7"]


@pytest.fixture
def source(tmp_path):
    """Shards of 6 images, of which two are none: one in the middle, and the last."""
    bad = (7, 22)

    def encode(number):
        return b"no image" if number in bad else stimuli.png(number)

    return str(stimuli.write_tars(tmp_path / "shards", range(COUNT), 6, encode))


def both(net, source, tmp_path, count, **options):
    """Read out whole, and in ``count`` parts that are merged; return the two folders."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    readout.read_out(net, source, str(whole), LAYERS, batch=3, **options)
    for index in range(count, 0, -1):  # in any order
        readout.read_out(net, source, str(parts), LAYERS, batch=3, shard=f"{index}/{count}", **options)
    readout.merge(str(parts))
    return whole, parts


@pytest.mark.parametrize("format", ["npy", "zarr", "hdf5", pytest.param("parquet", marks=pytest.mark.scale)])
def test_merged_shards_are_the_whole(net, source, tmp_path, format):
    whole, parts = both(net, source, tmp_path, 3, format=format)
    assert killed.differences(whole, parts) == []
    manifest = readout.Results(str(parts)).manifest
    assert manifest["rows"] == 21 and list(manifest["left_out"]) == [
        "shard-000001.tar/000007.png",
        "shard-000003.tar/000022.png",
    ]
    assert len(manifest["machine"]["shards"]) == 3
    assert sorted(os.listdir(parts)) == sorted([*os.listdir(whole), *(shards.Shard(i, 3).folder for i in (1, 2, 3))])


@pytest.mark.parametrize(
    ("images", "batch", "count"), [(23, 3, 8), (23, 3, 1), (24, 4, 5), (1, 16, 1), (10**6, 16, 1000)]
)
def test_shards_are_whole_blocks_that_cover_everything_once(images, batch, count):
    spans = [shards.Shard(index, count).span(images, batch) for index in range(1, count + 1)]
    assert spans[0][0] == 0 and spans[-1][1] == images
    assert all(before[1] == after[0] for before, after in zip(spans, spans[1:]))
    assert all(start < stop and start % batch == 0 for start, stop in spans)
    sizes = [-(-(stop - start) // batch) for start, stop in spans]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/0", "-1/3", "a/b", "1/3/5", "1/999999999999", "1.0/2", ""])
def test_what_is_no_shard(text):
    with pytest.raises(UserError, match="a shard is I/N, the I-th of N"):
        shards.parse(text)


def test_more_shards_than_blocks(net, source, tmp_path):
    with pytest.raises(UserError, match="23 images in batches of 16 are 2 blocks, too few for 3 shards; use at most 2"):
        readout.read_out(net, source, str(tmp_path / "out"), LAYERS, shard="1/3")


def test_merges_that_cannot_be(net, source, tmp_path):
    out = str(tmp_path / "out")
    with pytest.raises(UserError, match="cannot read '.*out': No such file"):
        readout.merge(out)
    os.makedirs(out)
    with pytest.raises(UserError, match="there are no shards in"):
        readout.merge(out)
    for index in (1, 3):
        readout.read_out(net, source, out, LAYERS, batch=3, shard=f"{index}/3")
    with pytest.raises(UserError, match=r"lacks 1 of 3 shards \(2/3\); run those first"):
        readout.merge(out)
    second = tmp_path / "out" / shards.Shard(2, 3).folder
    second.mkdir()
    with pytest.raises(UserError, match="there are no complete results in .*shard-00002-of-00003"):
        readout.merge(out)
    readout.read_out(net, source, out, LAYERS, "thingsvision", batch=3, shard="2/3")
    with pytest.raises(UserError, match="differ, the profile differs: .* there, thingsvision in the second"):
        readout.merge(out)
    readout.read_out(net, source, out, LAYERS, batch=3, shard="2/3", restart=True)
    readout.merge(out)
    readout.read_out(net, source, out, LAYERS, batch=3, shard="1/2")
    with pytest.raises(UserError, match="has shards of 2 and of 3; remove those"):
        readout.merge(out)


def test_a_merge_that_was_interrupted_goes_on(net, source, tmp_path, monkeypatch):
    whole, parts = both(net, source, tmp_path, 3)
    for name in ("conv5.npy", "fc7.npy", readout.RESULT, readout.NAMES):
        os.unlink(parts / name)
    add, added = Run.add, []

    def interrupted(self, block):
        added.append(block)
        if len(added) == 3:
            raise KeyboardInterrupt
        add(self, block)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "add", interrupted)
        with pytest.raises(KeyboardInterrupt):
            readout.merge(str(parts))
    assert not (parts / readout.RESULT).exists()
    readout.merge(str(parts))
    assert killed.differences(whole, parts) == []
    monkeypatch.setattr(Run, "add", None)  # a complete merge is not repeated
    readout.merge(str(parts))


def test_the_command_line_of_shards(net, source, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["readout", source, "--out", str(out), "--weights", "digits", "--device", "cpu", "--layers", "fc7"]
    words += ["--batch", "3"]
    for index in (1, 2):
        assert main([*words, "--shard", f"{index}/2", "--json"]) == 2  # an image is left out
        said = json.loads(capsys.readouterr().out)
        assert said["settings"]["shard"]["index"] == index and said["output"].endswith(f"shard-0000{index}-of-00002")
    assert main(["readout", "--merge", str(out)]) == 2
    said = capsys.readouterr()
    assert "21 x 192" in said.out and said.err.count("\n") == 2
    for wrong, sentence in (
        (["readout", source, "--merge", str(out)], "--merge takes the folder of the shards and no SOURCE or --out"),
        (
            ["readout", source, "--weights", "digits", "--layers", "fc7"],
            "name the images and the folder for the results",
        ),
        (["readout", "--merge", str(out), "--format", "zarr"], "joins shards as they are; leave out --format"),
        (["readout", "--merge", str(out), "--spatial-mean"], "joins shards as they are; leave out --spatial-mean"),
        ([*words, "--shard", "3/2"], "a shard is I/N"),
        ([*words, "--shard", "1/2", "--dtype", "int8"], "name its folder by --fitted DIR"),
        ([*words, "--format", "csv"], "format must be one of npy, zarr, hdf5, parquet"),
        ([*words[:3], "s3://bucket/out", *words[4:]], "results are written to a folder of this machine"),
    ):
        assert main(wrong) == 2
        err = capsys.readouterr().err
        assert sentence in err and err.count("\n") == 1


# results of other runs


def test_what_differs_is_said(net, source, tmp_path):
    out = str(tmp_path / "out")
    readout.read_out(net, source, out, LAYERS)
    other = AlexNet("alexnet-digits", weights="random", device="cpu")
    weights = f"the weights differ: {net.fingerprint()[:12]} there, {other.fingerprint()[:12]} here"
    for arguments, options, words in (
        ((other,), {}, weights),
        ((net,), {"profile": "thingsvision"}, f"(the profile differs: {net.variant.profile} there, thingsvision here)"),
        ((net,), {"dtype": "float16"}, "the dtype differs: float32 there, float16 here"),
        ((net,), {"batch": 8}, "the batch differs: 16 there, 8 here"),
        ((net,), {"format": "zarr"}, "the format differs: npy there, zarr here"),
        ((net,), {"layers": ["fc6"]}, "the layers differ: conv5 fc7 there, fc6 here"),
    ):
        layers = options.pop("layers", LAYERS)
        with pytest.raises(UserError, match="has results of other images") as caught:
            readout.read_out(*arguments, source, out, layers, **options)
        assert words in str(caught.value)
    stimuli.write_tar(tmp_path / "shards" / "shard-000004.tar", [30])
    with pytest.raises(UserError, match="the number of images differs: 23 there, 24 here; the list of images differs"):
        readout.read_out(net, source, out, LAYERS)


def test_another_instruction_set_is_another_run(net, source, tmp_path, monkeypatch):
    readout.read_out(net, source, str(tmp_path / "out"), LAYERS)
    monkeypatch.setattr(readout.settings._core, "cpu_isa", lambda: "v0")
    with pytest.raises(UserError, match="the instruction set differs: v.* there, v0 here"):
        readout.read_out(net, source, str(tmp_path / "out"), LAYERS)


# locks


HOLDER = """
import sys, time
from fastalex.readout import lock
with lock.exclusive(sys.argv[1]) as held:
    print(held, flush=True)
    time.sleep(60)
"""


def test_the_second_job_of_a_destination_is_refused_until_the_first_is_dead(net, source, tmp_path):
    out = tmp_path / "out"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(out)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "True\n"
        with pytest.raises(UserError, match=f"another process .process {holder.pid} on .* writes to '.*out'; wait"):
            readout.read_out(net, source, str(out), ["fc7"])
        readout.read_out(net, source, str(out), ["fc7"], batch=3, shard="1/2")  # has a folder, and lock, of its own
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    assert (out / lock.LOCK).exists()  # which nobody holds
    readout.read_out(net, source, str(out), ["fc7"])
    assert not (out / lock.LOCK).exists()


def test_a_lock_is_free_at_once_and_not_held_where_there_are_none(tmp_path, monkeypatch):
    import fcntl

    for _ in range(3):
        with lock.exclusive(str(tmp_path)) as held:
            assert held
            with pytest.raises(UserError, match="another process"), lock.exclusive(str(tmp_path)):
                pass
    monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(38, "Function not implemented")))
    with lock.exclusive(str(tmp_path)) as held:
        assert not held


def test_processes_that_take_turns_never_hold_a_lock_together(tmp_path):
    """Each removes the file when it is done: the next must notice that it waits for one that is gone."""
    program = """
import os, sys, time
from fastalex.errors import UserError
from fastalex.readout import lock
end, turns = time.monotonic() + 0.4, 0
while time.monotonic() < end:
    try:
        with lock.exclusive(sys.argv[1]):
            os.mkdir(sys.argv[1] + "/inside")
            os.rmdir(sys.argv[1] + "/inside")
            turns += 1
    except UserError:
        time.sleep(0.0005)
print(turns)
"""
    runs = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in "123"
    ]
    turns = [int(run.communicate()[0]) for run in runs]
    assert all(run.returncode == 0 for run in runs) and sum(turns) > 10


def test_shards_of_one_source_count_it_once(net, source, tmp_path, monkeypatch):
    from fastalex.readout.sources.tar import Tar

    scanned, scan = [], Tar.scan
    monkeypatch.setattr(Tar, "scan", lambda self, file: scanned.append(file.name) or scan(self, file))
    for index in (1, 2, 3):
        readout.read_out(net, source, str(tmp_path / "out"), ["fc7"], batch=3, shard=f"{index}/3")
    assert len(scanned) == 4


def test_a_shard_without_an_image_that_can_be_read(net, tmp_path, capsys):
    """It is complete, and merged like any other; the whole is what one process writes."""

    def encode(number):
        return b"no image" if 3 <= number < 6 else stimuli.png(number)

    folder = str(stimuli.write_folder(tmp_path / "images", range(9), encode))
    whole, parts = both(net, folder, tmp_path, 3)
    assert killed.differences(whole, parts) == []
    empty = readout.Results(str(parts / shards.Shard(2, 3).folder))
    assert (empty.layers, list(empty.names()), empty.manifest["rows"]) == ([], [], 0)
    words = ["readout", folder, "--out", str(parts), "--weights", "digits", "--device", "cpu", "--layers", *LAYERS]
    assert main([*words, "--batch", "3", "--shard", "2/3"]) == 2  # is there, and says the same again
    assert capsys.readouterr().err.count("\n") == 3
    assert main(["rdm", empty.folder, "--out", str(tmp_path / "a.npy")]) == 2
    assert "has no rows: none of its images can be read" in capsys.readouterr().err


def test_shards_that_are_copies_are_not_merged(net, source, tmp_path):
    out = tmp_path / "out"
    first, second = (out / shards.Shard(index, 2).folder for index in (1, 2))
    readout.read_out(net, source, str(out), ["fc7"], batch=3, shard="1/2")
    shutil.copytree(first, second)
    with pytest.raises(UserError, match="00002-of-00002' are of shard 1/2, not of the one that its name says"):
        readout.merge(str(out))
    shutil.rmtree(second)
    readout.read_out(net, source, str(second), ["fc7"], batch=3)
    with pytest.raises(UserError, match="00002-of-00002' are of no shard, not of"):
        readout.merge(str(out))


def test_images_of_one_name_are_all_counted(net, tmp_path):
    path = tmp_path / "twice.tar"
    with tarfile.open(path, "w") as tar:
        for content in (stimuli.png(0), b"no image", stimuli.png(1), b"none", stimuli.png(2), b"none either"):
            stimuli.add(tar, "a.png", content)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    manifest = readout.read_out(net, str(path), str(whole), ["fc7"], batch=2)
    for index in (1, 2, 3):
        readout.read_out(net, str(path), str(parts), ["fc7"], batch=2, shard=f"{index}/3")
    readout.merge(str(parts))
    assert killed.differences(whole, parts) == []
    name = "twice.tar/a.png"
    assert list(manifest["left_out"]) == [name, f"{name} (again)", f"{name} (again) (again)"]
    assert (manifest["rows"], manifest["done"]) == (3, 6)


def test_a_lock_needs_no_room_on_the_disk(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with lock.exclusive(str(tmp_path)) as held:
        assert held
        with pytest.raises(UserError, match="another process writes to"), lock.exclusive(str(tmp_path)):
            pass


def test_the_count_is_in_its_file_before_another_process_may_read_it(source, tmp_path, monkeypatch):
    seen, held = [], base.locked

    @contextlib.contextmanager
    def locked(stream):
        with held(stream):
            yield
            seen.append((tmp_path / base.CATALOG).read_bytes())

    monkeypatch.setattr(base, "locked", locked)
    readout.open_source(source).prepare(str(tmp_path))
    assert [rows[0] for rows in json.loads(seen[0])["images"]] == [6, 6, 6, 5]
