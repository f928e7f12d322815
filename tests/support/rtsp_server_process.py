"""An RTSP server by GStreamer, run by the system's Python, which has Debian's bindings; see `rtsp_camera`.

It prints its port, then serves /live: gray frames that show the time at which they were made, as `clock_of` reads it.
"""

import argparse
import importlib
import itertools
import sys
import threading
import time
from typing import Any

CLOCK_BITS, BIT_PX, HEIGHT = 48, 8, 48
"""A frame shows the microseconds of time.monotonic() as columns of bits, the lowest at the left."""


def frame_i420(*, still: bool) -> bytes:
    now_us = 0x5555_5555 if still else time.monotonic_ns() // 1000
    row = b"".join((b"\xdc" if now_us >> bit & 1 else b"\x14") * BIT_PX for bit in range(CLOCK_BITS))
    return row * HEIGHT + b"\x80" * (len(row) * HEIGHT // 2)


def encoders(gst: Any, options: argparse.Namespace) -> tuple[Any, Any]:
    """A running encoder: its entry for raw frames, and its exit for encoded ones."""
    caps = f"video/x-raw,format=I420,width={CLOCK_BITS * BIT_PX},height={HEIGHT},framerate={options.rate}"
    if options.codec == "h264":
        coding = (
            f"x264enc tune=zerolatency speed-preset=ultrafast quantizer=18 pass=qual key-int-max={options.key_every} "
            "option-string=scenecut=0 ! video/x-h264,stream-format=avc,alignment=au"
        )
    else:
        coding = "jpegenc"
    pipeline = gst.parse_launch(
        f"appsrc name=raw is-live=true do-timestamp=true format=time caps={caps} ! {coding} ! "
        "appsink name=coded sync=false emit-signals=false"
    )
    pipeline.set_state(gst.State.PLAYING)
    return pipeline.get_by_name("raw"), pipeline.get_by_name("coded")


def serve(gst: Any, rtsp: Any, options: argparse.Namespace) -> Any:
    """Encode frames at the rate of the options, and hand each to the connected clients."""
    raw, coded = encoders(gst, options)
    media_sources: list[Any] = []
    ready = threading.Event()
    numerator, _, denominator = options.rate.partition("/")
    period_s = int(denominator) / int(numerator)
    caps: list[Any] = []

    def encode() -> None:
        next_s = time.monotonic()
        for number in itertools.count():
            raw.emit("push-buffer", gst.Buffer.new_wrapped(frame_i420(still=options.still)))
            sample = coded.emit("pull-sample")
            if not caps:
                caps.append(sample.get_caps())
                ready.set()
            coded_frame = sample.get_buffer()
            content = coded_frame.extract_dup(0, coded_frame.get_size())
            is_key = not coded_frame.has_flags(gst.BufferFlags.DELTA_UNIT)
            if options.damage_every and number % options.damage_every == 0 and not is_key:
                content = content[: len(content) // 2] + bytes(len(content) - len(content) // 2)
            for source in list(media_sources):
                source.emit("push-buffer", gst.Buffer.new_wrapped(content))
            next_s += period_s
            time.sleep(max(next_s - time.monotonic(), 0))

    threading.Thread(target=encode, daemon=True).start()
    ready.wait()
    payload = "rtph264pay" if options.codec == "h264" else "rtpjpegpay"

    def configure(_: Any, media: Any) -> None:
        source = media.get_element().get_by_name("source")
        source.set_property("caps", caps[0])
        media_sources.append(source)
        media.connect("unprepared", lambda *_: media_sources.remove(source) if source in media_sources else None)

    factory = rtsp.RTSPMediaFactory()
    factory.set_launch(f"( appsrc name=source is-live=true do-timestamp=true format=time ! {payload} name=pay0 pt=96 )")
    factory.set_shared(True)
    factory.connect("media-configure", configure)
    return factory


def main() -> None:
    # Debian packages these bindings for the system's Python alone.
    require_version = importlib.import_module("gi").require_version
    for name in ("Gst", "GstRtsp", "GstRtspServer"):
        require_version(name, "1.0")
    gst, gst_rtsp, rtsp_server, glib = (
        importlib.import_module(f"gi.repository.{name}") for name in ("Gst", "GstRtsp", "GstRtspServer", "GLib")
    )

    parser = argparse.ArgumentParser()
    parser.add_argument("--port", default="0")
    parser.add_argument("--rate", default="10/1", help="frames per second, such as 2/5")
    parser.add_argument("--key-every", type=int, default=10, help="frames between two key frames")
    parser.add_argument("--codec", choices=["h264", "jpeg"], default="h264")
    parser.add_argument("--still", action="store_true", help="every frame shows the same time")
    parser.add_argument("--damage-every", type=int, default=0, help="fill half of each n-th frame with zeros")
    parser.add_argument("--login", default="", help="USER:PASSWORD")
    parser.add_argument("--digest", action="store_true")
    options = parser.parse_args()
    gst.init(None)
    factory = serve(gst, rtsp_server, options)
    server = rtsp_server.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(options.port)
    if options.login:
        user, _, password = options.login.partition(":")
        auth, token = rtsp_server.RTSPAuth(), rtsp_server.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        if options.digest:
            auth.set_supported_methods(gst_rtsp.RTSPAuthMethod.DIGEST)
            auth.add_digest(user, password, token)
        else:
            auth.add_basic(rtsp_server.RTSPAuth.make_basic(user, password), token)
        server.set_auth(auth)
        factory.add_role_from_structure(
            gst.Structure.from_string("viewer,media.factory.access=true,media.factory.construct=true")[0]
        )
    server.get_mount_points().add_factory("/live", factory)
    server.attach(None)
    sys.stdout.write(f"{server.get_bound_port()}\n")
    sys.stdout.flush()
    glib.MainLoop().run()


if __name__ == "__main__":
    main()
