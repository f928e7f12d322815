"""No login in an address is ever shown."""

import string

from hypothesis import given
from hypothesis import strategies as st

from mmpnet.runtime.sources.redact import without_password

WORD = st.text(string.ascii_letters + string.digits, min_size=1, max_size=12)
PASSWORD = st.text(string.ascii_letters + string.digits + "@:!$%&'()*+,;=._~-/?#", min_size=1, max_size=20)
PORT = st.one_of(st.just(""), st.integers(1, 65535).map(":{}".format))
PATH = st.sampled_from(["", "/", "/live", "/live/1", "/a/x.mjpg"])


@given(
    scheme=st.sampled_from(["rtsp", "RTSP", "http", "https", "rtmp"]),
    user=WORD,
    password=PASSWORD,
    host=WORD,
    port=PORT,
    path=PATH,
)
def test_the_login_becomes_stars_and_all_else_stays(
    scheme: str, user: str, password: str, host: str, port: str, path: str
) -> None:
    shown = without_password(f"{scheme}://{user}:{password}@{host}{port}{path}")
    assert shown == f"{scheme}://***@{host}{port}{path}"


@given(scheme=st.sampled_from(["rtsp", "http"]), host=WORD, port=PORT, path=PATH)
def test_an_address_without_a_login_stays_as_it_is(scheme: str, host: str, port: str, path: str) -> None:
    address = f"{scheme}://{host}{port}{path}"
    assert without_password(address) == address


NAME = st.sampled_from(["pwd", "user", "loginpas", "x", "side_", "key2", "channel%20", "n"])


@given(name=NAME, value=PASSWORD, separator=st.sampled_from(["&", "_", ";"]))
def test_no_value_is_shown_unless_its_name_is_harmless(name: str, value: str, separator: str) -> None:
    """The marker begins and ends the value, so that a part of it is found, too."""
    secret = f"qj{value}zw".replace("@", "")
    shown = without_password(f"http://h/x?channel=1{separator}{name}={secret}")
    assert "qj" not in shown
    assert "zw" not in shown
