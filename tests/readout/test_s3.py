"""Sources in an S3 of moto's: a folder of images, tar shards, HDF5, Parquet."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from fastalex import UserError, readout
from tests.readout import stimuli

pytestmark = pytest.mark.scale
NUMBERS = range(11)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """A bucket with the same images in every kind of source, at a server in this process."""
    import s3fs
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        server = ThreadedMotoServer(port=0, verbose=False)
        server.start()
        stack.callback(server.stop)
        patch.setenv("AWS_ENDPOINT_URL", "http://%s:%d" % server.get_host_and_port())
        place = tmp_path_factory.mktemp("s3")
        stimuli.write_folder(place / "images", NUMBERS)
        stimuli.write_tars(place / "shards", NUMBERS, 4)
        stimuli.write_hdf5_arrays(place / "stimuli.h5", NUMBERS)
        stimuli.write_parquet(place / "train.parquet", NUMBERS)
        fs = s3fs.S3FileSystem()
        fs.mkdir("bucket")
        for name in ("images", "shards", "stimuli.h5", "train.parquet"):
            fs.put(str(place / name), f"bucket/{name}", recursive=True)
        yield fs


@pytest.mark.parametrize("name", ["images", "shards", "shards/*.tar", "stimuli.h5", "train.parquet"])
def test_every_source_in_s3(net, expected, bucket, tmp_path, name):
    done = []
    readout.read_out(net, f"s3://bucket/{name}", str(tmp_path / "out"), ["fc7"], batch=4, report=done.append)
    assert done == [4, 8, 11]
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "fc7.npy"), expected("fc7", NUMBERS))


def test_what_s3_refuses_is_one_sentence(net, bucket, tmp_path):
    for address, sentence in (
        (
            "s3://nobucket/images",
            "there is no folder, and no file of .tar, .h5, .hdf5, .parquet, at 's3://nobucket/images'",
        ),
        ("s3://bucket/none.tar", "there is nothing at 's3://bucket/none.tar'"),
    ):
        with pytest.raises(UserError, match=sentence) as caught:
            readout.read_out(net, address, str(tmp_path / "out"), ["fc7"])
        assert "\n" not in str(caught.value)


def test_an_object_that_goes_while_it_is_read(net, expected, bucket, tmp_path):
    def remove(done):
        if done == 2:
            bucket.rm("bucket/images/000010.png")

    with pytest.raises(UserError, match="a file of 's3://bucket/images' is gone: .*000010.png"):
        readout.read_out(net, "s3://bucket/images", str(tmp_path / "out"), ["fc7"], batch=2, report=remove)
    bucket.pipe("bucket/images/000010.png", stimuli.png(10))
    readout.read_out(net, "s3://bucket/images", str(tmp_path / "out"), ["fc7"], batch=2)
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "fc7.npy"), expected("fc7", NUMBERS))
