"""Streams of a real RTSP server: when its frames were made, and what happens when it stops."""

import threading
from collections.abc import Iterator

import pytest

from mmpnet.runtime.sources.frame import Event, Frame
from mmpnet.runtime.sources.open import open_source
from mmpnet.runtime.sources.options import LiveOptions
from mmpnet.runtime.sources.stream_probe import why_no_stream
from support.rtsp_camera import RtspCamera, clock_of

pytestmark = pytest.mark.slow


def frames_of(camera: RtspCamera, events: list[Event], live: LiveOptions | None = None) -> Iterator[Frame]:
    return open_source(camera.address(), live=live or LiveOptions()).frames(threading.Event(), events.append)


@pytest.mark.parametrize(
    ("options", "apart_s"),
    [(["--rate", "1/1", "--key-every", 1], 1.0), (["--codec", "jpeg"], 0.1)],
    ids=["h264", "jpeg"],
)
def test_a_frame_has_the_time_at_which_it_was_made(options: list[object], apart_s: float) -> None:
    """FFmpeg reads seconds of a stream before it opens it, and splits H.264 into frames by the start of the next."""
    with RtspCamera(*options) as camera:
        frames = frames_of(camera, [])
        seen = [next(frames) for _ in range(4)]
        made_s = [clock_of(frame.pixels_bgr) for frame in seen]
        late_s = [frame.captured_s - made for frame, made in zip(seen, made_s, strict=True)]
        assert late_s == pytest.approx([0.0] * 4, abs=apart_s / 2)
        assert [frame.source_time_s for frame in seen] == pytest.approx(
            [made - made_s[0] for made in made_s], abs=apart_s / 2
        )
        assert seen[0].skipped > 0, "those of the time before are counted as dropped"
        frames.close()  # type: ignore[attr-defined]


def test_the_first_frame_may_be_seconds_away() -> None:
    """A key frame comes every 6 s; the first one was sent before the stream was opened."""
    with RtspCamera("--key-every", 60) as camera:
        first = frames_of(camera, [])
        next(first)  # the server sends to this one from its first key frame on, and to the next one as well
        second = frames_of(camera, [])
        frame = next(second)
        assert frame.captured_s - clock_of(frame.pixels_bgr) == pytest.approx(0, abs=0.5)
        for frames in (first, second):
            frames.close()  # type: ignore[attr-defined]


def test_a_server_that_was_away_is_opened_again() -> None:
    events: list[Event] = []
    with RtspCamera() as camera:
        frames = frames_of(camera, events)
        seen = [next(frames) for _ in range(3)]
        camera.stop()
        back = threading.Timer(1.0, camera.start)
        back.start()
        while "reconnecting" not in [event.kind for event in events] or len(seen) < 6:
            seen.append(next(frames))
        later = [next(frames) for _ in range(2)]
        back.join()
        assert [event.kind for event in events][:2] == ["connecting", "reconnecting"]
        assert "no frame after" in events[1].reason
        assert "its server ended the connection" in events[1].reason
        assert {event.kind for event in events[1:]} == {"reconnecting"}
        for frame in later:
            assert frame.captured_s - clock_of(frame.pixels_bgr) == pytest.approx(0, abs=0.5)
            away_s = clock_of(frame.pixels_bgr) - clock_of(seen[0].pixels_bgr)
            assert frame.source_time_s == pytest.approx(away_s, abs=0.5)
        frames.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [[], ["--digest"]], ids=["basic", "digest"])
def test_the_login_is_used_and_its_refusal_is_the_reason(kind: list[str]) -> None:
    with RtspCamera("--login", "me:a%b", *kind) as camera:
        assert why_no_stream(camera.address(login="me:a%25b")).startswith("its server answers, but sends no frame")
        assert why_no_stream(camera.address(login="me:qjzw")).endswith(
            "401 Unauthorized; check the user name and password"
        )
        assert "needs a login" in why_no_stream(camera.address())
        assert "404 Not Found; check the path" in why_no_stream(camera.address("other", login="me:a%25b"))
        frames = open_source(camera.address(login="me:a%25b")).frames(threading.Event(), lambda _: None)
        assert next(frames).pixels_bgr.shape[0] == 48
        frames.close()  # type: ignore[attr-defined]
