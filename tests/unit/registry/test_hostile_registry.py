"""A malicious or broken registry: each of its tricks gives a named error and leaves no blob behind."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from casemate.errors import (
    Corrupt,
    Denied,
    Exhausted,
    Invalid,
    NotFound,
    TimedOut,
    Unauthorized,
    Unavailable,
    Unsupported,
)
from casemate.oci.digest import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from casemate.registry.fetch import FetchedImage
    from casemate.registry.settings import Settings

    Pull = Callable[..., FetchedImage]


def blobs(content: Any) -> set[str]:
    return {blob.digest for blob in content.iter_blobs()}


def test_honest_image_is_pulled_whole(toy: Any, image: Any, content: Any, pull: Pull) -> None:
    image.put_into(toy)
    fetched = pull()
    assert fetched.manifest_digest == digest_of(image.manifest)
    assert blobs(content) == {digest_of(part) for part in (image.manifest, image.config, image.layer)}


def test_second_pull_fetches_no_blob_again(toy: Any, image: Any, pull: Pull) -> None:
    image.put_into(toy)
    pull()
    toy.seen.clear()
    pull()
    assert not [path for _, path, _ in toy.seen if "/blobs/" in path]


@pytest.mark.parametrize(
    ("bend", "error"),
    [
        pytest.param({"digest": "sha256:../../x"}, Invalid, id="path in a digest"),
        pytest.param({"digest": "sha256:" + "A" * 64}, Invalid, id="upper-case digest"),
        pytest.param({"digest": "sha256:abc"}, Invalid, id="short digest"),
        pytest.param({"digest": "sha512:" + "a" * 128}, Unsupported, id="sha512"),
        pytest.param({"digest": None}, Invalid, id="no digest"),
        pytest.param({"size": -1}, Invalid, id="negative size"),
        pytest.param({"size": 1.5}, Invalid, id="fraction of a byte"),
        pytest.param({"size": True}, Invalid, id="true as a size"),
        pytest.param({"size": 1 << 60}, Exhausted, id="an exbibyte"),
        pytest.param({"mediaType": "application/x-evil"}, Unsupported, id="unknown layer type"),
        pytest.param({"mediaType": ""}, Invalid, id="no layer type"),
    ],
)
def test_bad_layer_descriptor_stores_nothing(
    toy: Any, image: Any, content: Any, bend: dict[str, object], *, error: type[Exception], pull: Pull
) -> None:
    image.document["layers"][0].update(bend)
    image.put_into(toy)
    with pytest.raises(error):
        pull()
    assert blobs(content) == set()


def _with(image: Any, **changes: object) -> bytes:
    return json.dumps(image.document | changes).encode()


@pytest.mark.parametrize(
    ("make", "error"),
    [
        pytest.param(lambda image: _with(image, manifests=[]), Invalid, id="manifest that is also an index"),
        pytest.param(lambda image: _with(image, schemaVersion=1), Unsupported, id="schema 1"),
        pytest.param(lambda image: _with(image, schemaVersion=3), Invalid, id="schema 3"),
        pytest.param(lambda image: _with(image, mediaType="application/x-y"), Invalid, id="own type differs"),
        pytest.param(lambda image: _with(image, Layers=[]), Invalid, id="key that Go reads as layers"),
        pytest.param(lambda _: b"[]", Invalid, id="a list"),
        pytest.param(lambda _: b"{", Invalid, id="half a document"),
        pytest.param(lambda _: b"\xff\xfe{\x00}\x00", Invalid, id="UTF-16"),
        pytest.param(lambda _: b"[" * 100_000, Invalid, id="deep nesting"),
        pytest.param(
            lambda image: image.manifest.replace(b'"layers"', b'"layers": [], "layers"'), Invalid, id="twin"
        ),
        pytest.param(lambda image: image.manifest.ljust(5 << 20), Exhausted, id="huge manifest"),
        pytest.param(
            lambda image: _with(image, layers=image.document["layers"] * 600), Exhausted, id="600 layers"
        ),
        pytest.param(lambda image: _with(image, layers=[]), Invalid, id="fewer layers than the config names"),
    ],
)
def test_bad_manifest_is_refused_by_name(
    toy: Any, image: Any, content: Any, make: Any, *, error: type[Exception], pull: Pull
) -> None:
    image.put_into(toy)
    toy.serve_manifest("v1", make(image))
    with pytest.raises(error):
        pull()
    assert digest_of(image.layer) not in blobs(content)


def test_artifact_is_not_an_image(toy: Any, image: Any, pull: Pull) -> None:
    image.document["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
    image.put_into(toy)
    with pytest.raises(Unsupported, match="not a container image"):
        pull()


def test_wrong_content_type_of_a_manifest_is_refused(toy: Any, image: Any, pull: Pull) -> None:
    image.put_into(toy)
    toy.serve_manifest("v1", image.manifest, "application/vnd.oci.image.index.v1+json")
    with pytest.raises(Invalid):
        pull()


def test_manifest_of_another_digest_is_corrupt(toy: Any, image: Any, content: Any, pull: Pull) -> None:
    image.put_into(toy)
    asked = "sha256:" + "0" * 64
    toy.serve(f"/v2/app/manifests/{asked}", image.manifest, Content_Type=image.document["mediaType"])
    with pytest.raises(Corrupt):
        pull(f"app@{asked}")
    assert blobs(content) == set()


@pytest.mark.parametrize("part", ["config", "layer"])
def test_changed_blob_is_corrupt_and_not_kept(
    toy: Any, image: Any, content: Any, part: str, *, pull: Pull
) -> None:
    image.put_into(toy)
    honest = getattr(image, part)
    toy.serve(f"/v2/app/blobs/{digest_of(honest)}", b"X" + honest[1:])
    with pytest.raises(Corrupt):
        pull()
    assert digest_of(honest) not in blobs(content)


@pytest.mark.parametrize(
    "change", [lambda layer: layer + b"more", lambda layer: layer[:-1]], ids=["longer", "shorter"]
)
def test_blob_of_another_size_is_corrupt(
    toy: Any, image: Any, content: Any, change: Any, *, pull: Pull
) -> None:
    image.put_into(toy)
    toy.serve(image.layer_path, change(image.layer))
    with pytest.raises(Corrupt):
        pull()
    assert digest_of(image.layer) not in blobs(content)


def _endless(handler: Any) -> None:
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.close_connection = True
    try:
        while True:
            handler.wfile.write(bytes(1 << 16))
    except OSError:
        pass


def test_endless_blob_is_cut_off(toy: Any, image: Any, pull: Pull) -> None:
    image.put_into(toy)
    toy.routes[image.layer_path] = _endless
    with pytest.raises(Corrupt, match="more than"):
        pull()


def test_endless_manifest_is_cut_off(toy: Any, pull: Pull) -> None:
    toy.routes["/v2/app/manifests/v1"] = _endless
    with pytest.raises(Exhausted):
        pull()


def _cut_after(image: Any, kept: int, *, ranges: bool, times: int = 10**9) -> Callable[[Any], None]:
    """Answer with ``kept`` bytes and a cut, ``times`` times; honour Range when ``ranges``."""
    left = [times]

    def route(handler: Any) -> None:
        wanted = handler.headers.get("Range", "")
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted and ranges else 0
        body = image.layer[start:]
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(body)))
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(image.layer) - 1}/{len(image.layer)}")
        handler.end_headers()
        left[0] -= 1
        handler.wfile.write(body[:kept] if left[0] >= 0 else body)
        handler.close_connection = left[0] >= 0

    return route


def test_cut_blob_is_resumed_with_a_range(toy: Any, image: Any, pull: Pull) -> None:
    image.put_into(toy)
    toy.routes[image.layer_path] = _cut_after(image, 200_000, ranges=True)
    pull()
    ranges = [headers.get("Range", "") for _, path, headers in toy.seen if path == image.layer_path]
    assert ranges == ["", "bytes=200000-499999", "bytes=400000-499999"]


def test_cut_blob_is_resumed_without_range_support(toy: Any, image: Any, pull: Pull) -> None:
    image.put_into(toy)
    toy.routes[image.layer_path] = _cut_after(image, 300_000, ranges=False, times=1)
    pull()


def test_blob_that_is_always_cut_at_the_start_fails_after_a_few_attempts(
    toy: Any, image: Any, settings: Settings, pull: Pull
) -> None:
    image.put_into(toy)
    toy.routes[image.layer_path] = _cut_after(image, 100, ranges=True)
    with pytest.raises((Corrupt, Unavailable)):
        pull()
    assert len([path for _, path, _ in toy.seen if path == image.layer_path]) == settings.limits.attempts


def test_next_pull_resumes_what_the_last_one_left(toy: Any, image: Any, pull: Pull) -> None:
    image.put_into(toy)
    toy.routes[image.layer_path] = _cut_after(image, 100, ranges=True)
    with pytest.raises((Corrupt, Unavailable)):
        pull()
    toy.routes[image.layer_path] = _cut_after(image, 0, ranges=True, times=0)
    toy.seen.clear()
    pull()
    assert [h.get("Range") for _, path, h in toy.seen if path == image.layer_path] == ["bytes=300-499999"]


def test_registry_that_sends_another_range_is_corrupt(toy: Any, image: Any, pull: Pull) -> None:
    image.put_into(toy)

    def route(handler: Any) -> None:
        if handler.headers.get("Range"):
            toy.reply(handler, 206, image.layer[7:], Content_Range="bytes 7-499999/500000")
        else:
            _cut_after(image, 100_000, ranges=False)(handler)

    toy.routes[image.layer_path] = route
    with pytest.raises(Corrupt):
        pull()


def test_registry_that_cannot_resume_a_kept_part_starts_over(
    toy: Any, image: Any, content: Any, pull: Pull
) -> None:
    image.put_into(toy)
    with content.ingest(digest_of(image.layer)) as ingest:
        ingest.write(image.layer[:1000])

    def route(handler: Any) -> None:
        if handler.headers.get("Range"):
            toy.reply(handler, 416, b"")
        else:
            toy.reply(handler, 200, image.layer)

    toy.routes[image.layer_path] = route
    pull()
    assert digest_of(image.layer) in blobs(content)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, Unauthorized),
        (403, Denied),
        (404, NotFound),
        (429, Unavailable),
        (500, Unavailable),
        (503, Unavailable),
        (418, Unavailable),
    ],
)
def test_status_has_its_own_error(
    toy: Any, content: Any, status: int, error: type[Exception], *, pull: Pull
) -> None:
    toy.serve("/v2/app/manifests/v1", b"", status=status)
    with pytest.raises(error):
        pull()
    assert blobs(content) == set()


def test_error_shows_what_the_registry_said_without_control_characters(toy: Any, pull: Pull) -> None:
    body = json.dumps({"errors": [{"code": "DENIED", "message": "go \u001b[31maway"}]}).encode()
    toy.serve("/v2/app/manifests/v1", body, status=403)
    with pytest.raises(Denied, match="away") as caught:
        pull()
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("status", [429, 503])
def test_passing_trouble_is_retried_after_the_time_asked_for(
    toy: Any, image: Any, settings: Settings, status: int, *, pull: Pull
) -> None:
    image.put_into(toy)
    settings.limits.longest_pause_s = 1.0
    honest, times = toy.routes["/v2/app/manifests/v1"], []

    def route(handler: Any) -> None:
        times.append(time.monotonic())
        if len(times) == 1:
            toy.reply(handler, status, b"", Retry_After="1")
        else:
            honest(handler)

    toy.routes["/v2/app/manifests/v1"] = route
    pull()
    assert 0.9 < times[1] - times[0] < 3


def test_silent_registry_times_out_with_a_clear_error(
    toy: Any, image: Any, settings: Settings, pull: Pull
) -> None:
    image.put_into(toy)
    settings.limits.attempts, settings.limits.read_s = 1, 0.3

    def route(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(image.layer)))
        handler.end_headers()
        handler.wfile.write(image.layer[:1000])
        handler.wfile.flush()
        handler.connection.settimeout(5)
        handler.rfile.read(1)  # until the client gives up
        handler.close_connection = True

    toy.routes[image.layer_path] = route
    started = time.monotonic()
    with pytest.raises(TimedOut, match=r"nothing arrived for 0\.3 s"):
        pull()
    assert time.monotonic() - started < 3


def test_trickle_counts_as_a_stall(toy: Any, image: Any, settings: Settings, pull: Pull) -> None:
    image.put_into(toy)
    settings.limits.attempts, settings.limits.slow_window_s = 1, 0.4

    def route(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(image.layer)))
        handler.end_headers()
        handler.close_connection = True
        try:
            for byte in image.layer[:100]:
                handler.wfile.write(bytes((byte,)))
                handler.wfile.flush()
                time.sleep(0.05)  # the trickle is what is tested
        except OSError:
            pass

    toy.routes[image.layer_path] = route
    with pytest.raises(TimedOut, match="less than"):
        pull()


def test_nobody_listens_is_unavailable(toy: Any, pull: Pull) -> None:
    toy.host = "127.0.0.1:1"
    with pytest.raises(Unavailable, match="connection refused"):
        pull()


def test_foreign_urls_are_never_followed(toy: Any, other_toy: Any, image: Any, pull: Pull) -> None:
    image.document["layers"][0] |= {
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar",
        "urls": [f"http://{other_toy.host}/layer"],
    }
    image.put_into(toy)
    pull()
    assert other_toy.seen == []


def test_missing_platform_lists_those_that_exist(toy: Any, image: Any, pull: Pull) -> None:
    entry = {
        "mediaType": image.document["mediaType"],
        "digest": digest_of(image.manifest),
        "size": len(image.manifest),
        "platform": {"os": "linux", "architecture": "s390x"},
    }
    index = {"schemaVersion": 2, "manifests": [entry]}
    toy.serve_manifest("v1", json.dumps(index).encode(), "application/vnd.oci.image.index.v1+json")
    with pytest.raises(NotFound, match="linux/s390x"):
        pull()


def test_first_failure_ends_a_transfer_that_stalls(
    toy: Any, image: Any, settings: Settings, pull: Pull
) -> None:
    stalled = b"another layer" * 1000
    image.config = image.config.replace(b'"diff_ids": [', f'"diff_ids": ["{digest_of(stalled)}", '.encode())
    image.document["config"] |= {"digest": digest_of(image.config), "size": len(image.config)}
    entry = {
        "mediaType": "application/vnd.oci.image.layer.v1.tar",
        "digest": digest_of(stalled),
        "size": len(stalled),
    }
    image.document["layers"].insert(0, entry)
    image.put_into(toy)
    settings.limits.read_s = 30
    waiting = threading.Event()

    def stall(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(stalled)))
        handler.end_headers()
        handler.wfile.write(stalled[:100])
        handler.wfile.flush()
        waiting.set()
        handler.connection.settimeout(10)
        handler.rfile.read(1)  # until the client hangs up
        handler.close_connection = True

    def lie(handler: Any) -> None:
        waiting.wait(10)
        toy.reply(handler, 200, b"X" * len(image.layer))

    toy.routes[f"/v2/app/blobs/{digest_of(stalled)}"] = stall
    toy.routes[image.layer_path] = lie
    started = time.monotonic()
    with pytest.raises(Corrupt):
        pull()
    assert time.monotonic() - started < 5
