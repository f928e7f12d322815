"""A password or a signature in an address is noticed, and nothing else is taken for one."""

import pytest

from mmpnet.contract.errors import SourceError
from mmpnet.system.addresses import check_no_secret


@pytest.mark.parametrize(
    "address",
    ["s3://KEY:a/b+c@bucket/x", "s3a://k:p@b", "gs://k:p@b/a", "sftp://me:p@host/a", "https://me:p@h:80/a@b"],
)
def test_a_password_is_noticed_and_not_repeated(address: str) -> None:
    with pytest.raises(SourceError, match=r"^a password is in an address of [a-z0-9]+://; leave it out"):
        check_no_secret(address, error=SourceError)


@pytest.mark.parametrize("query", ["X-Amz-Signature=s3cret", "se=2026&sig=s3cret/x", "token=s3cret"])
def test_a_signed_address_is_noticed_and_its_signature_not_repeated(query: str) -> None:
    with pytest.raises(SourceError, match=r"^https://host/a\.mp4\?\.\.\.: what follows the question mark") as noticed:
        check_no_secret(f"https://host/a.mp4?{query}", error=SourceError)
    assert "s3cret" not in str(noticed.value)


@pytest.mark.parametrize(
    "address",
    [
        "https://host/cam?/a=b.mp4",
        "s3://bucket/cam@door/a.mp4",
        "https://host:8080/cam@1.mp4",
        "file:///a/b:c@d.mp4",
        "sftp://me@host/a:b",
        "a:b@c",
    ],
)
def test_an_address_without_one_is_accepted(address: str) -> None:
    check_no_secret(address, error=SourceError)
