"""A server that speaks S3 on this machine (moto), so that buckets are tested without an account."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import s3fs
from moto.server import ThreadedMotoServer


@contextmanager
def bucket(name: str) -> Iterator["s3fs.S3FileSystem"]:
    """A bucket in an empty server; child processes and fsspec find the server by the environment."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    before = {key: os.environ.get(key) for key in settings}
    os.environ.update(settings)
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        system = s3fs.S3FileSystem()
        system.mkdir(name)
        yield system
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})
        server.stop()
