"""mmp-run --config: one file of options and cameras, which the command line overrides, and secrets stay secret."""

import json
import re
import socket
import sys
from pathlib import Path

import pytest
import tomllib
import typer
from typer.testing import CliRunner, Result

from mmpnet.cli.run.cameras import ShapeTexts, resolve_cameras, split_name
from mmpnet.cli.run.command import app
from mmpnet.cli.run.secrets import holds_key, holds_secret, token_of, typed_events
from mmpnet.cli.run.settings import EventFlags, PageFlags
from mmpnet.cli.run.site_file import CameraEntry, CameraSettings, ShapeEntry, read_site, site_text
from mmpnet.runtime.events.reader import EventReader
from mmpnet.system.environment import expanded, from_environment
from support.frames import write_video
from support.webhook_server import WebhookServer

SITE = """
limit = 3
show = false
json = "out.ndjson"
[[camera]]
name = "front door"
source = "a.avi"
classes = ["person"]
[[camera.line]]
name = "entrance"
points = ["0%,60%", "100%,60%"]
[[camera.mask]]
points = ["0,0", "9,0", "9,9"]
[[camera]]
name = "yard"
source = "b.avi"
"""


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.chdir(tmp_path)
    for name in ("a.avi", "b.avi"):
        write_video(tmp_path / name, count=6)
    path = tmp_path / "site.toml"
    path.write_text(SITE)
    return path


def mmp_run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*(str(argument) for argument in arguments), "--threads", "1"])


def message(result: Result) -> str:
    """The text of an error, without the box around it."""
    assert result.exit_code in (1, 2)
    return re.sub(r"[│╭╮╰╯─\s]+", " ", re.sub(r"\x1b\[[0-9;]*m", "", result.stderr))


def test_a_file_says_what_runs(tmp_path: Path, tiny_onnx: Path) -> None:
    done = mmp_run(tiny_onnx, "--config", "site.toml")
    assert done.exit_code == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "out.ndjson").read_text().splitlines()]
    assert len(rows) == 3
    assert {tuple(row["counts"]) for row in rows if row["source"] == "a.avi"} <= {("entrance",)}
    assert all("counts" not in row for row in rows if row["source"] == "b.avi"), (
        "a line of one camera is not the other's"
    )


def test_the_command_line_overrides_the_file(tmp_path: Path, tiny_onnx: Path) -> None:
    done = mmp_run(tiny_onnx, "--config", "site.toml", "--limit", "2", "--json", "-", "--source", "front door=b.avi")
    assert done.exit_code == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["source"] for row in rows] == ["b.avi", "b.avi"]
    assert list(rows[0]["counts"]) == ["entrance"], "the camera's line, with another source"
    assert not (tmp_path / "out.ndjson").exists()


def test_print_config_gives_a_file_that_prints_itself(tmp_path: Path) -> None:
    flags = [
        "--conf",
        "0.3",
        "--line",
        "front door/entrance=1,2,3,4",
        "--zone",
        "till=0,0,5,0,5,5",
        "--json",
        "x.ndjson",
    ]
    first = mmp_run("--config", "site.toml", *flags, "--print-config")
    assert first.exit_code == 0, first.stderr
    (tmp_path / "again.toml").write_text(first.stdout)
    second = mmp_run("--config", "again.toml", "--print-config")
    assert second.stdout == first.stdout
    content = tomllib.loads(first.stdout)
    assert (content["conf"], content["limit"], content["json"]) == (0.3, 3, "x.ndjson")
    door, yard = content["camera"]
    assert door["line"] == [{"name": "entrance", "points": ["1,2", "3,4"]}]
    assert [one["name"] for one in yard["zone"]] == ["till"]


def test_print_config_needs_no_file_and_names_cameras() -> None:
    done = mmp_run("a.avi", "--source", "yard=b.avi", "--blur", "--print-config")
    assert [one["name"] for one in tomllib.loads(done.stdout)["camera"]] == ["camera 1", "yard"]
    assert tomllib.loads(done.stdout)["blur"] is True


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("limitt = 3", "site.toml: there is no setting 'limitt'; did you mean 'limit'?"),
        ("[[camera]]\nnam = 'x'\nsource = 'a.avi'", "camera 1: there is no setting 'nam'; did you mean 'name'?"),
        (
            "[[camera]]\nname='x'\nsource='a.avi'\n[[camera.line]]\npoint = ['1,2']",
            "camera 'x': line: there is no setting 'point'; did you mean 'points'?",
        ),
        ("[[camera]]\nname = 'x'", "camera: Object missing required field `source`"),
        ("[[camera]]\nname = 'x'\nsource = 1.5", "Expected `int | str`, got `float`"),
        ("[camera]\nname = 'x'", "expected [[camera]] sections"),
        ("[[camera]]\nname = 'a/b'\nsource = '0'", "camera 'a/b': expected a name without / and ="),
        (
            "[[camera]]\nname='x'\nsource='0'\n[[camera]]\nname='x'\nsource='1'",
            "two cameras have the name 'x'; give each its own name",
        ),
        (
            "[[camera]]\nname='x'\nsource='a.avi'\n[[camera.line]]\npoints = ['1,2', '3']",
            "camera 'x': '1,2,3': found 3 numbers, expected pairs",
        ),
        ("conf = 3\n", "Invalid value for '--conf'"),
        ("limit = 'many'", "Invalid value for '--limit'"),
        ("[conf]\nx = 1", "conf: expected a value, found a section"),
        ("model = 3", "model: expected text in quotes, found 3"),
        ("limit = ", "site.toml: is not TOML"),
        ("token = '${MISSING_TOKEN}'", "token: ${MISSING_TOKEN}: neither MISSING_TOKEN nor MISSING_TOKEN_FILE is set"),
        ("conf = '${MISSING_CONF}'", "site.toml: conf: ${MISSING_CONF}: neither MISSING_CONF nor MISSING_CONF_FILE is"),
        ("self_test = true", "there is no setting 'self_test'"),
    ],
)
def test_a_mistake_in_a_file_is_one_clear_line(site: Path, text: str, fault: str) -> None:
    site.write_text(text)
    assert fault in message(mmp_run("a.avi", "--config", "site.toml"))


def test_a_file_that_is_missing_is_one_line() -> None:
    assert "none.toml: cannot be read (No such file or directory)" in message(mmp_run("--config", "none.toml"))


# --- names on the command line ---


def test_names_of_sources_are_told_from_paths_and_addresses(tmp_path: Path) -> None:
    assert split_name("front door=rtsp://me@host/x?channel=1") == ("front door", "rtsp://me@host/x?channel=1")
    assert split_name(" door = 0") == ("door", "0")
    for plain in ("rtsp://host/x?channel=1", "folder/a=b.avi", "0", "a.avi", "=a.avi", "*=.avi", "C:\\a=b.avi"):
        assert split_name(plain) == (None, plain)
    (tmp_path / "a=b.avi").write_bytes(b"")
    assert split_name("a=b.avi") == (None, "a=b.avi"), "a file of this name exists"


def test_a_line_of_one_camera_is_not_that_of_another() -> None:
    texts = ShapeTexts(["front door/entrance=1,2,3,4", "exit=5,6,7,8"], ["yard/till=0,0,5,0,5,5"])
    door, yard = resolve_cameras(["front door=0", "yard=1"], texts, ())
    assert [line.name for line in door.lines] == ["entrance", "exit"]
    assert [line.name for line in yard.lines] == ["exit"]
    assert [[zone.name for zone in camera.zones] for camera in (door, yard)] == [[], ["till"]]


def test_a_camera_that_does_not_exist_is_named() -> None:
    assert "no camera has the name 'yrad'; did you mean 'yard'?" in message(
        mmp_run("--source", "yard=a.avi", "--line", "yrad/x=1,2,3,4")
    )
    assert "two sources have the name 'x'" in message(mmp_run("--source", "x=a.avi", "--source", "x=b.avi"))


def test_a_class_that_the_model_does_not_know_is_a_usage_error(tiny_onnx: Path) -> None:
    done = mmp_run(tiny_onnx, "a.avi", "--classes", "persn")
    assert "there is no class 'persn'; did you mean 'person'?" in message(done)


def test_a_files_text_is_read_back_as_it_was(tmp_path: Path) -> None:
    entry = CameraEntry(
        name='Tür "1"\n',
        source="rtsp://${U}@h",
        line=(ShapeEntry(points=("1,2", "3%,4"), name="é\x7f", classes=("a",)),),
    )
    (tmp_path / "x.toml").write_text(site_text({"keep": ["1d"], "conf": 0.25}, [entry], model="m"), encoding="utf-8")
    found = read_site(tmp_path / "x.toml", ["keep", "conf"])
    assert (found.entries, found.model, found.options) == ((entry,), "m", {"keep": ["1d"], "conf": 0.25})
    (camera,) = found.cameras()
    assert isinstance(camera, CameraSettings)
    assert camera.lines[0].classes == {"a"}


# --- secrets ---


def test_secrets_come_from_the_environment_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    environment = {"A": "1", "B_FILE": str(tmp_path / "secret")}
    assert expanded("x${A}y${B}", environment) == "x1ys3cret"
    assert from_environment("C", environment) is None
    with pytest.raises(ValueError, match="neither C nor C_FILE is set"):
        expanded("${C}", environment)
    with pytest.raises(ValueError, match=r"D_FILE: .*none: cannot be read \(No such file"):
        from_environment("D", {"D_FILE": str(tmp_path / "none")})


@pytest.mark.parametrize("flag", ["--mqtt-password", "--webhook-secret"])
def test_a_secret_on_the_command_line_is_refused(flag: str) -> None:
    done = message(mmp_run("a.avi", flag, "s3cret"))
    assert f"{flag}: others can read it in the list of processes; set MMPNET_" in done
    assert "s3cret" not in done


def test_a_password_in_the_address_of_a_broker_is_refused_on_the_command_line_only(site: Path, tiny_onnx: Path) -> None:
    refused = message(mmp_run("a.avi", "--mqtt", "mqtt://me:s3cret@host"))
    assert "others can read its password in the list of processes" in refused
    assert "s3cret" not in refused
    site.write_text('mqtt = "mqtt://me:s3cret@127.0.0.1:9"\nlimit = 1\nshow = false\nstore = "e.sqlite"\n')
    done = mmp_run(tiny_onnx, "a.avi", "--config", "site.toml")
    assert done.exit_code == 0, done.stderr
    assert "s3cret" not in done.output


def test_print_config_prints_no_secret(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "s3cret")
    flags = ["--serve", "127.0.0.1:0", "--token", "s3cret", "--source", "door=rtsp://me:${PASSWORD}@host/"]
    flags += ["--source", "rtsp://me:s3cret@host/x", "--webhook", "https://chat/hooks/s3cret-0123456789"]
    done = mmp_run(*flags, "--print-config")
    content = tomllib.loads(done.stdout)
    assert (content["token"], content["webhook"]) == ("${MMPNET_TOKEN}", "${MMPNET_WEBHOOK}")
    sources = [one["source"] for one in content["camera"]]
    assert sources == ["rtsp://me:${PASSWORD}@host/", "${MMPNET_SOURCE_2}"]
    missing = "MMPNET_WEBHOOK, MMPNET_TOKEN, PASSWORD, MMPNET_SOURCE_2"
    assert f"the file has no secret; set {missing} in the environment, or NAME_FILE to a file" in done.stderr
    assert "s3cret" not in done.output
    site.write_text('token = "s3cret"\nmqtt = "mqtt://me:s3cret@host"\nmqtt_password = "s3cret"\nserve = "[::1]:0"\n')
    done = mmp_run("a.avi", "--config", "site.toml", "--print-config")
    content = tomllib.loads(done.stdout)
    assert (content["token"], content["mqtt"]) == ("${MMPNET_TOKEN}", "${MMPNET_MQTT}")
    assert "s3cret" not in done.output


def test_a_whole_source_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tiny_onnx: Path) -> None:
    monkeypatch.setenv("DOOR", "a.avi")
    assert mmp_run(tiny_onnx, "--source", "door=${DOOR}", "--limit", "1").exit_code == 0
    assert "door: ${YARD}: neither YARD nor YARD_FILE is set" in message(mmp_run("--source", "door=${YARD}"))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("rtsp://me:s3cret@host/x", True),
        ("door=rtsp://me:s3cret@host/x", True),
        ("rtsp://host/x?user=me&password=s3cret", True),
        ("rtsp://me:${PW}@host/x", False),
        ("rtsp://${LOGIN}@host/x?channel=1", False),
        ("rtsp://${USER}:${PW}@host", False),
        ("rtsp://host/x?password=${PW}", False),
        ("mqtt://me@host", False),
        ("rtsp://me:${PW}s3cret@host", True),
        ("rtsp://me:s3@${HOST}", True),
        ("a.avi", False),
        ("door=0", False),
        ("${DOOR}", False),
    ],
)
def test_secrets_in_addresses_are_recognized(address: str, expected: bool) -> None:
    assert holds_secret(address) is expected


@pytest.mark.parametrize(
    "address", ["https://chat/hooks/T0123456789abcdef", "https://api/bot12:ab/send", "http://h/?k=v"]
)
def test_a_key_in_the_path_of_a_webhook_is_a_secret(address: str) -> None:
    assert holds_key(address)
    assert not holds_key("http://127.0.0.1:9000/events/people")


def test_addresses_on_the_command_line_may_have_references(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "k${KEY}")
    flags = EventFlags(mqtt="mqtt://me:${KEY}@host", webhook="http://host/${KEY}")
    typed = typed_events(["--mqtt", "--webhook"], flags)
    assert (typed.mqtt, typed.webhook) == ("mqtt://me:k${KEY}@host", "http://host/k${KEY}")
    assert typed_events([], flags) == flags, "those of a file were replaced when it was read"
    with pytest.raises(typer.BadParameter, match=r"--webhook: .*neither NONE nor NONE_FILE is set"):
        typed_events(["--webhook"], EventFlags(webhook="http://host/${NONE}"))


def test_a_unit_is_printed_without_the_secrets_of_the_service(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.write_text(
        'show = false  # no ${SECRET}\nmqtt = "mqtt://me:${BROKER_KNOWS}@host"\nmax_det = "${MOST}"\n'
        '[[camera]]\nname = "door"\nsource = "rtsp://me:${ONLY_ROOT_KNOWS}@cam/1"\n'
    )
    site.chmod(0o644)
    monkeypatch.setenv("MOST", "2")
    monkeypatch.setattr(sys, "argv", ["mmp-run", "--config", str(site), "--print-service"])
    done = mmp_run("--config", site, "--print-service")
    assert done.exit_code == 0, done.stderr
    assert f"--config {site}" in done.stdout
    assert "write BROKER_KNOWS=... and MOST=... and ONLY_ROOT_KNOWS=... to" in " ".join(done.stderr.split())
    started = mmp_run("--config", site)
    assert started.exit_code == 1
    assert "mqtt: ${BROKER_KNOWS}: neither BROKER_KNOWS nor BROKER_KNOWS_FILE is set" in " ".join(
        started.stderr.split()
    )


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('token = "s3cret"\n', "token"),
        ('mqtt = "mqtt://me:s3cret@host"\n', "mqtt"),
        ('[[camera]]\nname = "door"\nsource = "rtsp://me:s3cret@cam/1"\n', "camera 'door': source"),
    ],
)
def test_a_secret_in_the_settings_of_a_service_is_refused(
    site: Path, monkeypatch: pytest.MonkeyPatch, text: str, where: str
) -> None:
    site.write_text(text)
    site.chmod(0o644)
    words = ["rtsp://cam/2", "--config", str(site), "--print-service"]
    monkeypatch.setattr(sys, "argv", ["mmp-run", *words])
    done = mmp_run(*words)
    assert done.exit_code == 1
    assert done.stdout == ""
    assert f"{where}: has a secret, which everybody who may read the file could read; write '${{NAME}}'" in " ".join(
        done.stderr.split()
    )
    assert "s3cret" not in done.stderr


def test_a_secret_on_the_command_line_is_said_in_one_line(tiny_onnx: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    page = ["--serve", "127.0.0.1:0", "--limit", "1"]
    typed = mmp_run(tiny_onnx, "a.avi", *page, "--token", "s3cret")
    warnings = [line for line in typed.stderr.splitlines() if "list of processes" in line]
    assert len(warnings) == 1
    assert "--token: others can read it in the list of processes; use --token-file FILE or MMPNET_TOKEN" in warnings[0]
    quiet = mmp_run(tiny_onnx, "a.avi", *page, "--token-file", "token")
    assert (typed.exit_code, quiet.exit_code) == (0, 0), quiet.stderr
    assert "list of processes" not in quiet.stderr
    source = mmp_run("--source", "door=rtsp://me:s3cret@host/x", "--print-config")
    assert "others can read its password in the list of processes; write '${NAME}' in its place" in source.stderr
    assert "s3cret" not in typed.output + quiet.output + source.output


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        (["--token-file", "none"], "--token-file none: cannot be read (No such file or directory)"),
        (["--token-file", "empty"], "--token-file empty: is empty; write a token to it"),
        (["--token-file", "a.avi", "--token", "x"], "--token and --token-file are both given; give one"),
    ],
)
def test_a_token_that_cannot_be_is_one_clear_line(
    flags: list[str], fault: str, tiny_onnx: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").write_text("\n")
    assert fault in message(mmp_run(tiny_onnx, "a.avi", "--serve", "127.0.0.1:0", *flags))


def test_the_token_of_the_environment_gives_way_to_one_that_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("from file\n")
    assert token_of(PageFlags()) is None
    monkeypatch.setenv("MMPNET_TOKEN_FILE", str(tmp_path / "token"))
    assert token_of(PageFlags()) == "from file"
    monkeypatch.setenv("MMPNET_TOKEN", "from environment")
    assert token_of(PageFlags()) == "from environment"
    assert token_of(PageFlags(token_file=tmp_path / "token")) == "from file"
    assert token_of(PageFlags(token="given")) == "given"


# --- a whole run ---


def test_outputs_are_closed_if_a_later_one_cannot_open(tiny_onnx: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        flags = ["--store", "e.sqlite", "--serve", f"127.0.0.1:{busy.getsockname()[1]}"]
        assert "another program uses this port" in message(mmp_run(tiny_onnx, "a.avi", *flags))
    done = mmp_run(tiny_onnx, "a.avi", "--store", "e.sqlite", "--limit", "1")
    assert done.exit_code == 0, "the store of the failed run is free again"


def test_events_of_a_run_are_stored_and_posted(site: Path, tmp_path: Path, tiny_onnx: Path) -> None:
    server = WebhookServer()
    site.write_text(
        f'show = false\nconf = 0.01\nevents = "-"\nstore = "e.sqlite"\nwebhook = "{server.url}"\n'
        '[[camera]]\nname = "door"\nsource = "long.avi"\n'
    )
    write_video(tmp_path / "long.avi", count=20)
    done = mmp_run(tiny_onnx, "--config", "site.toml")
    assert done.exit_code == 0, done.stderr
    told = [json.loads(line)["id"] for line in done.stdout.splitlines()]
    assert told
    assert [one.event.id for one in reversed(EventReader(tmp_path / "e.sqlite").latest(1000))] == told
    assert [body["event"]["id"] for body in server.wait_for(len(told))] == told
    server.close()


def test_options_of_events_that_have_no_effect_are_refused(tiny_onnx: Path) -> None:
    for flags, fault in (
        (["--keep-events", "3d"], "--keep-events is for stored events; add --store FILE"),
        (["--mqtt-ca", "x.pem"], "--mqtt-ca is for a broker"),
        (["--mqtt", "mqtt://h", "--mqtt-ca", "x.pem"], "--mqtt-ca is for brokers with TLS; use mqtts://"),
        (["--mqtt", "h"], "--mqtt: expected mqtt://[USER@]HOST"),
        (["--webhook", "h"], "--webhook h: expected an address such as https://host/path"),
        (["--store", "e.sqlite", "--keep-events", "3"], "--keep-events: '3': expected an age such as 14d"),
        (["--store", "none/e.sqlite"], "--store none/e.sqlite: there is no folder none; make it first"),
        (["--events", "-", "--json", "-"], "--json and --events name the same output"),
    ):
        assert fault in message(mmp_run(tiny_onnx, "a.avi", *flags)), flags
