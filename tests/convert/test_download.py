"""Downloads from a local server that breaks off, changes its files, refuses, or lies."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import random
import re
import socket
import stat
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from core.convert.download import CATALOGUE, SERVER, address, download, find, unpack
from core.errors import UserError
from core.runtime import transfer
from core.runtime.transfer import fetch
from tests.conftest import reference_dir
from tests.processes import Script

BYTES = random.Random(0).randbytes(300_000)


@dataclass
class Served:
    """One file of the server and how it misbehaves."""

    content: bytes
    etag: str | None = '"v1"'
    modified: str | None = None
    breaks_after: list[int] = field(default_factory=list)
    """Bytes after which the connection is dropped, one entry per request."""
    status: list[int] = field(default_factory=list)
    """Status codes to answer with before the file is served, one entry per request."""
    ranges: bool = True
    says_length: bool = True
    wrong_range: bool = False


@dataclass
class Server:
    url: str
    files: dict[str, Served]
    requests: list[tuple[str, str | None]]
    """Path and Range header of each request."""


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        server: Server = self.server.state  # type: ignore[attr-defined]
        asked = self.headers["Range"]
        server.requests.append((self.path, asked))
        served = server.files.get(self.path)
        if served is None or served.status:
            self.send_error(404 if served is None else served.status.pop(0))
            return
        start = 0
        same = self.headers["If-Range"] in (served.etag, served.modified)
        if asked and served.ranges and same:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])  # type: ignore[index]
            if start >= len(served.content):
                self.send_error(416)
                return
        body = served.content[start:]
        self.send_response(206 if start else 200)
        if start:
            said = start - served.wrong_range
            size = len(served.content)
            self.send_header("Content-Range", f"bytes {said}-{size - 1}/{size}")
        if served.says_length:
            self.send_header("Content-Length", str(len(body)))
        for name, value in (("ETag", served.etag), ("Last-Modified", served.modified)):
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: served.breaks_after.pop(0)] if served.breaks_after else body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = Server(f"http://127.0.0.1:{http.server_port}", {}, [])
    http.state = state  # type: ignore[attr-defined]
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer.time, "sleep", lambda _: None)


def get(server: Server, path: Path, served: Served) -> None:
    server.files["/f.bin"] = served
    fetch(f"{server.url}/f.bin", path, advice="ask someone")


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_plain_fetch_makes_folders_and_leaves_only_the_file(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "a" / "f.bin"
    get(server, path, Served(BYTES))
    assert path.read_bytes() == BYTES
    assert list(path.parent.iterdir()) == [path]


def test_broken_connections_are_resumed_where_they_broke(server: Server, tmp_path: Path) -> None:
    get(server, tmp_path / "f.bin", Served(BYTES, breaks_after=[100_000, 50_000]))
    assert (tmp_path / "f.bin").read_bytes() == BYTES
    assert [asked for _, asked in server.requests] == [None, "bytes=100000-", "bytes=150000-"]


def test_third_break_is_reported_and_the_next_call_goes_on(server: Server, tmp_path: Path) -> None:
    served = Served(BYTES, etag=None, modified="Mon, 01 Jan 2024 00:00:00 GMT")
    served.breaks_after = [100_000] * 3
    served.content = BYTES + BYTES
    with pytest.raises(UserError, match=r"3 attempts.*ask someone") as caught:
        get(server, tmp_path / "f.bin", served)
    assert "closed after 300000 of 600000 bytes" in one_line(caught)
    assert not (tmp_path / "f.bin").exists()
    get(server, tmp_path / "f.bin", served)
    assert server.requests[-1][1] == "bytes=300000-"
    assert (tmp_path / "f.bin").read_bytes() == served.content


@pytest.mark.parametrize(
    "change",
    [
        {"etag": '"v2"'},  # the file changed on the server: If-Range fails, 200
        {"ranges": False},  # a server without ranges: 200
        {"wrong_range": True},  # a piece that does not fit is thrown away
    ],
)
def test_pieces_of_different_versions_are_never_joined(
    server: Server, tmp_path: Path, change: dict[str, object]
) -> None:
    path = tmp_path / "f.bin"
    old = Served(BYTES[::-1], breaks_after=[70_000, 1000, 1000])
    with pytest.raises(UserError):
        get(server, path, old)
    get(server, path, Served(BYTES[::-1] if "etag" not in change else BYTES, **change))  # type: ignore[arg-type]
    assert path.read_bytes() == (BYTES[::-1] if "etag" not in change else BYTES)


@pytest.mark.parametrize("etag", [None, 'W/"v1"'])
def test_without_a_strong_validator_it_begins_anew(
    server: Server, tmp_path: Path, etag: str | None
) -> None:
    get(server, tmp_path / "f.bin", Served(BYTES, etag=etag, breaks_after=[100_000]))
    assert [asked for _, asked in server.requests] == [None, None]
    assert (tmp_path / "f.bin").read_bytes() == BYTES


def test_part_of_unknown_origin_or_another_address_is_not_built_upon(
    server: Server, tmp_path: Path
) -> None:
    path = tmp_path / "f.bin"
    part, notes = tmp_path / "f.bin.part", tmp_path / "f.bin.part.json"
    elsewhere = {"url": "http://elsewhere/f.bin", "validator": '"v1"', "num_bytes": len(BYTES)}
    for content in (None, "{", "[]", json.dumps(elsewhere)):
        part.write_bytes(b"x" * 1000)
        if content:
            notes.write_text(content)
        get(server, path, Served(BYTES))
        assert path.read_bytes() == BYTES
        assert server.requests.pop()[1] is None
        assert list(tmp_path.iterdir()) == [path]


def test_part_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "f.bin"
    (tmp_path / "f.bin.part").write_bytes(b"x" * (len(BYTES) + 5))
    notes = {"url": f"{server.url}/f.bin", "validator": '"v1"', "num_bytes": len(BYTES)}
    (tmp_path / "f.bin.part.json").write_text(json.dumps(notes))
    get(server, path, Served(BYTES))
    assert path.read_bytes() == BYTES


def test_complete_part_needs_no_request(server: Server, tmp_path: Path) -> None:
    (tmp_path / "f.bin.part").write_bytes(BYTES)
    notes = {"url": f"{server.url}/f.bin", "validator": '"v1"', "num_bytes": len(BYTES)}
    (tmp_path / "f.bin.part.json").write_text(json.dumps(notes))
    get(server, tmp_path / "f.bin", Served(BYTES))
    assert not server.requests


def test_unknown_length(server: Server, tmp_path: Path) -> None:
    get(server, tmp_path / "f.bin", Served(BYTES, says_length=False))
    assert (tmp_path / "f.bin").read_bytes() == BYTES


def test_busy_server_is_asked_again_but_a_refusal_is_final(server: Server, tmp_path: Path) -> None:
    get(server, tmp_path / "f.bin", Served(BYTES, status=[503, 500]))
    assert len(server.requests) == 3
    with pytest.raises(UserError, match="403 Forbidden; ask someone") as caught:
        get(server, tmp_path / "f.bin", Served(BYTES, status=[403]))
    one_line(caught)
    assert len(server.requests) == 4


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_unreachable_and_silent_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(UserError, match=r"refused.*3 attempts.*ask someone") as caught:
        fetch(f"http://127.0.0.1:{free_port()}/f", tmp_path / "f", advice="ask someone")
    one_line(caught)
    monkeypatch.setattr(transfer, "TIMEOUT_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/f"
        with pytest.raises(UserError, match="timed out"):
            fetch(url, tmp_path / "f", advice="ask someone")


def test_full_disk_is_foreseen_or_reported(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = transfer.shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(transfer.shutil, "disk_usage", lambda _: usage._replace(free=1000))
        with pytest.raises(UserError, match=r"300000 more bytes.*1000 are free") as caught:
            get(server, tmp_path / "f.bin", Served(BYTES))
        one_line(caught)

    def full(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(transfer.shutil, "disk_usage", full)
    with pytest.raises(UserError, match=r"f\.bin\.part: cannot be written \(No space left"):
        get(server, tmp_path / "f.bin", Served(BYTES))


# The table


def test_names_are_plain_qualified_or_ambiguous() -> None:
    assert len(CATALOGUE) == 14 + 18 + 5 + 5
    assert find("horse2zebra").kind == "data"
    assert find("horse2zebra_pretrained").path == "cyclegan/pretrained_models/horse2zebra.pth"
    assert find("pix2pix/facades").path == "pix2pix/datasets/facades.tar.gz"
    assert len({(item.family, item.name) for item in CATALOGUE}) == len(CATALOGUE)
    with pytest.raises(UserError, match="say cyclegan/facades or pix2pix/facades"):
        find("facades")
    with pytest.raises(UserError, match="did you mean horse2zebra"):
        find("horses2zebra")
    with pytest.raises(UserError, match="not given out any more"):
        find("cityscapes")


def test_table_equals_the_published_one() -> None:
    folder = reference_dir()
    if not folder.is_dir():
        pytest.skip(f"no reference cases at {folder} (set $REFERENCE_DIR)")

    def case(name: str) -> dict[str, Any]:
        return json.loads((folder / name / "case.json").read_text(encoding="utf-8"))

    data = case("cyclegan/data_and_saving")["architecture"]["folders"]["published_data"]
    models = {
        "cyclegan": case("cyclegan/training_iteration")["checkpoint_layout"],
        "pix2pix": case("pix2pix/unet_256_train")["checkpoint_layout"],
    }
    expected = {
        data["cyclegan_location"].replace("<name>", name) for name in data["cyclegan_zip"]
    } | {data["pix2pix_location"].replace("<name>", name) for name in data["pix2pix_tar_gz"]}
    for layout in models.values():
        location = layout["released_download"].partition(",")[0]
        expected |= {location.replace("<model>", name) for name in layout["released_models"]}
    assert {address(item, SERVER) for item in CATALOGUE} == expected


def test_mirrors() -> None:
    item = find("horse2zebra")
    assert address(item, "https://m.org/x/") == "https://m.org/x/cyclegan/datasets/horse2zebra.zip"
    whole = "https://m.org/files/horse2zebra.zip?download=true"
    assert address(item, whole) == whole
    for wrong in (
        "m.org",
        "file:///etc",
        "ftp://m.org",
        "http://",
        "http://m.org/ü",
        "http://m/a b",
    ):
        with pytest.raises(UserError, match="--mirror") as caught:
            address(item, wrong)
        one_line(caught)


# Archives


def zipped(*names: str, wrap: str = "horse2zebra/") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in names:
            file.writestr(wrap + name, f"content of {name}")
    return buffer.getvalue()


def tarred(*members: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for member in members:
            member.size = 3 if member.isreg() else 0
            file.addfile(member, io.BytesIO(b"abc"))
    return buffer.getvalue()


def link(name: str, to: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, to
    return member


def zip_link() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        member = zipfile.ZipInfo("trainA/link")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(member, "/etc/passwd")
    return buffer.getvalue()


safe_tar = pytest.mark.skipif(
    not hasattr(tarfile, "data_filter"), reason="unpacking a tar safely needs Python 3.11.4"
)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.zip", zipped("../../evil")),
        ("x.zip", zipped("/evil", wrap="")),
        ("x.zip", zipped("C:/evil", wrap="")),
        ("x.zip", zipped("..\\..\\evil", wrap="a\\")),
        ("x.zip", zip_link()),
        pytest.param("x.tar.gz", tarred(tarfile.TarInfo("../../evil")), marks=safe_tar),
        pytest.param(
            "x.tar.gz", tarred(link("a/out", "../../evil", tarfile.SYMTYPE)), marks=safe_tar
        ),
        pytest.param(
            "x.tar.gz", tarred(link("a/out", "/etc/passwd", tarfile.SYMTYPE)), marks=safe_tar
        ),
        pytest.param(
            "x.tar.gz", tarred(link("a/out", "../../evil", tarfile.LNKTYPE)), marks=safe_tar
        ),
        pytest.param("x.tar.gz", tarred(link("a/in", "1.jpg", tarfile.SYMTYPE)), marks=safe_tar),
        pytest.param("x.tar.gz", tarred(link("a/in", "a/1.jpg", tarfile.LNKTYPE)), marks=safe_tar),
        pytest.param("x.tar.gz", tarred(link("a/pipe", "", tarfile.FIFOTYPE)), marks=safe_tar),
    ],
    # Of the content pytest would make names that differ from process to process: by the time in it.
    ids=[
        "up",
        "root",
        "drive",
        "backslashes",
        "zip_link",
        "tar_up",
        "link_up",
        "link_root",
        "hard_link",
        "link_inside",
        "hard_link_inside",
        "pipe",
    ],
)
def test_unsafe_members_are_refused_and_nothing_is_left(
    tmp_path: Path, name: str, content: bytes
) -> None:
    folder = tmp_path / "in" / "datasets"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match="unsafe member") as caught:
        unpack(folder / name, folder / "x")
    one_line(caught)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [name]
    assert list(folder.iterdir()) == [folder / name]


def damaged(kind: str) -> tuple[str, bytes]:
    """Name and content of an archive."""
    good_zip = zipped("trainA/1.jpg", "trainA/2.jpg")
    good_tar = tarred(*(tarfile.TarInfo(f"x/train/{i}.jpg") for i in range(9)))
    flipped = bytearray(good_zip)
    flipped[good_zip.index(b"content of")] ^= 1
    return {
        "short_zip": ("x.zip", good_zip[:-30]),
        "flipped_zip": ("x.zip", bytes(flipped)),
        "short_tar": ("x.tar.gz", good_tar[:-20]),
        "wrong_sum_tar": ("x.tar.gz", good_tar[:-8] + bytes(4) + good_tar[-4:]),
        "no_tar": ("x.tar.gz", b"\x1f\x8bnonsense"),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "short_zip",
        "flipped_zip",
        *(pytest.param(k, marks=safe_tar) for k in ("short_tar", "wrong_sum_tar", "no_tar")),
    ],
)
def test_damaged_archives(tmp_path: Path, kind: str) -> None:
    name, content = damaged(kind)
    archive = tmp_path / name
    archive.write_bytes(content)
    with pytest.raises(UserError, match="damaged archive") as caught:
        unpack(archive, tmp_path / "x")
    one_line(caught)
    assert list(tmp_path.iterdir()) == [archive]


def test_empty_archives(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(zipped())
    with pytest.raises(UserError, match="empty archive"):
        unpack(tmp_path / "x.zip", tmp_path / "x")


def test_a_python_without_safe_tars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("data_filter", "FilterError"):
        monkeypatch.delattr(tarfile, name, raising=False)
    for (name, content), message in (
        (damaged("short_zip"), "damaged archive"),
        (("y.tar.gz", tarred(tarfile.TarInfo("x/train/1.jpg"))), r"needs Python 3\.11\.4"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=message) as caught:
            unpack(tmp_path / name, tmp_path / "x")
        one_line(caught)


@pytest.mark.parametrize("wrap", ["", "horse2zebra/", "another name/"])
def test_the_wrapping_folder_is_taken_off(tmp_path: Path, wrap: str) -> None:
    (tmp_path / "x.zip").write_bytes(zipped("trainA/1.jpg", "testA/2.jpg", wrap=wrap))
    unpack(tmp_path / "x.zip", tmp_path / "x")
    assert {path.name for path in (tmp_path / "x").iterdir()} == {"trainA", "testA"}
    (tmp_path / "y.zip").write_bytes(zipped("train/1.jpg", wrap=""))
    unpack(tmp_path / "y.zip", tmp_path / "y")
    assert (tmp_path / "y" / "train" / "1.jpg").is_file()
    # Other users of the machine may read it, as far as the umask lets them.
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "x" / "trainA").stat().st_mode


# The whole way


HORSES = "/cyclegan/datasets/horse2zebra.zip"
MODEL = "/cyclegan/pretrained_models/horse2zebra.pth"


def test_data_set_lands_at_the_top_and_the_archive_goes(server: Server, tmp_path: Path) -> None:
    content = zipped("trainA/1.jpg", "trainB/1.jpg")
    server.files[HORSES] = Served(content, breaks_after=[100])
    done = download("horse2zebra", output=tmp_path / "sets", mirror=server.url)
    assert (tmp_path / "sets/horse2zebra/trainA/1.jpg").read_text() == "content of trainA/1.jpg"
    assert list((tmp_path / "sets").iterdir()) == [done.path]
    assert {path for path, _ in server.requests} == {HORSES}
    assert (done.num_bytes, done.sha256) == (len(content), hashlib.sha256(content).hexdigest())


@safe_tar
def test_tar_and_generator(server: Server, tmp_path: Path) -> None:
    server.files["/pix2pix/datasets/facades.tar.gz"] = Served(
        tarred(tarfile.TarInfo("facades/train/1.jpg"))
    )
    server.files[MODEL] = Served(b"\x80\x02rest of a pickle")
    download("pix2pix/facades", output=tmp_path, mirror=server.url)
    assert (tmp_path / "facades/train/1.jpg").read_bytes() == b"abc"
    done = download("horse2zebra_pretrained", output=tmp_path, mirror=server.url)
    assert done.path == tmp_path / "horse2zebra_pretrained/latest_net_G.pth"
    assert done.path.read_bytes() == server.files[MODEL].content
    assert {path.name for path in tmp_path.iterdir()} == {"facades", "horse2zebra_pretrained"}


def test_existing_things_are_replaced_only_by_force_and_as_a_whole(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "horse2zebra").mkdir()
    (tmp_path / "horse2zebra" / "mine.txt").write_text("")
    server.files[HORSES] = Served(b"PK no archive")
    with pytest.raises(UserError, match="exists already"):
        download("horse2zebra", output=tmp_path, mirror=server.url)
    assert not server.requests
    with pytest.raises(UserError, match="damaged"):
        download("horse2zebra", output=tmp_path, mirror=server.url, force=True)
    assert (tmp_path / "horse2zebra" / "mine.txt").exists()
    (tmp_path / "horse2zebra.zip").unlink()
    server.files[HORSES] = Served(zipped("trainA/1.jpg"))
    download("horse2zebra", output=tmp_path, mirror=server.url, force=True)
    assert [path.name for path in (tmp_path / "horse2zebra").rglob("*")] == ["trainA", "1.jpg"]


def test_digest_is_checked(server: Server, tmp_path: Path) -> None:
    content = zipped("trainA/1.jpg")
    server.files[HORSES] = Served(content)
    with pytest.raises(UserError, match=f"SHA-256 is {hashlib.sha256(content).hexdigest()} inst"):
        download("horse2zebra", output=tmp_path, mirror=server.url, sha256="0" * 64)
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="--sha256 abc: not a digest"):
        download("horse2zebra", output=tmp_path, mirror=server.url, sha256="abc")
    pin = hashlib.sha256(content).hexdigest().upper()
    done = download("horse2zebra", output=tmp_path, mirror=server.url, sha256=pin)
    assert done.sha256 == pin.lower()


def test_web_page_instead_of_a_file(server: Server, tmp_path: Path) -> None:
    for name, path in (("horse2zebra", HORSES), ("horse2zebra_pretrained", MODEL)):
        server.files[path] = Served(b"<!doctype html>")
        with pytest.raises(UserError, match="perhaps a web page") as caught:
            download(name, output=tmp_path, mirror=server.url)
        one_line(caught)
    assert not list(tmp_path.iterdir())


def test_file_put_there_by_hand_is_used_and_kept(tmp_path: Path) -> None:
    archive = tmp_path / "horse2zebra.zip"
    archive.write_bytes(zipped("trainA/1.jpg"))
    done = download("horse2zebra", output=tmp_path, mirror="http://127.0.0.1:9")
    assert done.sha256 == hashlib.sha256(archive.read_bytes()).hexdigest()
    (tmp_path / "map2sat.pth").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"map2sat\.pth: SHA-256"):
        download("pix2pix/map2sat_pretrained", output=tmp_path, sha256="0" * 64)
    done = download("pix2pix/map2sat_pretrained", output=tmp_path)
    assert done.path.read_bytes() == b"PK"


def test_output_that_is_a_file(server: Server, tmp_path: Path) -> None:
    server.files[HORSES] = Served(zipped("trainA/1.jpg"))
    server.files[MODEL] = Served(b"PK")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--output") as caught:
        download("horse2zebra", output=tmp_path / "file", mirror=server.url)
    one_line(caught)
    (tmp_path / "horse2zebra_pretrained").write_text("")
    with pytest.raises(UserError, match=r"cannot be put in place.*kept as"):
        download("horse2zebra_pretrained", output=tmp_path, mirror=server.url)


# The script


def test_script(script: Script, server: Server, tmp_path: Path) -> None:
    done = script("download", "--list")
    assert done.returncode == 0
    listed = done.stdout.splitlines()
    assert len(listed) == len(CATALOGUE)
    assert listed[0].split() == ["cyclegan/apple2orange", "data", "datasets/apple2orange"]

    content = zipped("trainA/1.jpg")
    server.files[HORSES] = Served(content)
    command = ("download", "horse2zebra", "--output", tmp_path, "--mirror", server.url)
    done = script(*command)
    assert done.returncode == 0
    digest = hashlib.sha256(content).hexdigest()
    assert f"{len(content)} bytes, SHA-256 {digest} (unver" in done.stdout
    done = script(*command, "--force", "--sha256", digest)
    assert f"SHA-256 {digest} (as expected)" in done.stdout

    done = script(*command)
    assert done.returncode == 2
    assert re.fullmatch(r"error: .*exists already.*\n", done.stderr)
    assert script("download", "maps_pretrained").returncode == 2
    assert script("download").returncode == 2


def test_missing_file_says_where_to_put_it_by_hand(
    script: Script, server: Server, tmp_path: Path
) -> None:
    done = script("download", "horse2zebra", "--output", tmp_path, "--mirror", server.url)
    assert done.returncode == 2
    assert done.stderr == (
        f"error: {server.url}{HORSES}: the server answers 404 Not Found; give another --mirror, "
        f"or download it by hand to {tmp_path / 'horse2zebra.zip'} and run this again\n"
    )
