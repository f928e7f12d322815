"""A server that speaks S3 on this machine (moto), so that buckets are tested without an account."""

import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import s3fs
from moto.server import ThreadedMotoServer

KEY, SECRET = "KEYOFTHETESTS", "secret/of+the/tests"


@contextmanager
def s3_server(*, empty: bool = True) -> Iterator[ThreadedMotoServer]:
    """A server that child processes and fsspec find by the environment; the block may stop it.

    empty: without it, the server has the buckets of the one before.
    """
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    settings = {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    before = {key: os.environ.get(key) for key in settings}
    os.environ.update(settings)
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        if empty:  # all servers of a process have the same buckets
            urllib.request.urlopen(urllib.request.Request(f"{address}/moto-api/reset", method="POST"))
        yield server
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})
        server.stop()


@contextmanager
def bucket(name: str) -> Iterator["s3fs.S3FileSystem"]:
    """A bucket in an empty server."""
    with s3_server():
        system = s3fs.S3FileSystem()
        system.mkdir(name)
        yield system
