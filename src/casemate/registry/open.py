"""From the text that users write (``docker://``, ``oci:``, ...) to a source or a sink.

Source: containers-transports(5), whose syntax this is.
"""

from __future__ import annotations

import os

from casemate.errors import Invalid, Unsupported
from casemate.oci.quoting import quoted
from casemate.oci.reference import parse_reference
from casemate.registry.archive_files import ArchiveFiles
from casemate.registry.files import DirectoryFiles
from casemate.registry.settings import load_settings
from casemate.registry.transport.directory import DirectorySink, DirectorySource
from casemate.registry.transport.docker import DockerSink, DockerSource
from casemate.registry.transport.docker_archive import DockerArchiveSource, read_listing
from casemate.registry.transport.oci_archive import ArchiveSink
from casemate.registry.transport.oci_layout import OciLayoutSink, OciLayoutSource, names_of, read_layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.core.transport import ImageSource
    from casemate.registry.settings import Settings

TRANSPORTS = ("docker://", "oci:", "oci-archive:", "docker-archive:", "dir:", "archive:")
AnySink = DockerSink | OciLayoutSink | ArchiveSink | DirectorySink


class Archive:
    """An image archive of either kind with all its images. ``path`` "-" is standard input.

    ``images`` lists (full names that the archive claims, source); the sources share the archive: close only
    that.
    """

    def __init__(self, path: str) -> None:
        self._files = ArchiveFiles(path)
        self.images: list[tuple[list[str], ImageSource]] = []
        try:
            self._list()
        except BaseException:
            self._files.close()
            raise

    def close(self) -> None:
        """Close the archive and with it every source."""
        self._files.close()

    def _list(self) -> None:
        # docker 25 and later write both halves: the layout keeps the digests that the image was pulled with.
        if self._files.has("oci-layout") and self._files.has("index.json"):
            by_digest: dict[str, list[str]] = {}
            for entry in read_layout(self._files):
                by_digest.setdefault(entry.digest, []).extend(names_of(entry))
            self.images = [
                (names, OciLayoutSource(self._files, digest)) for digest, names in by_digest.items()
            ]
        else:
            listing = read_listing(self._files)
            self.images = [
                (image.names, DockerArchiveSource(self._files, f"@{at}")) for at, image in enumerate(listing)
            ]


def open_source(text: str, settings: Settings | None = None) -> ImageSource:
    """Return the source that ``text`` names; a text without a transport is a reference in a registry.

    Raises: Invalid, NotFound, Denied, Corrupt, Exhausted.
    """
    transport, rest = _split(text)
    if transport == "docker://":
        return DockerSource(parse_reference(rest), settings or load_settings())
    path, selector = _split_path(rest, text)
    if transport == "dir:":
        return DirectorySource(DirectoryFiles(rest))
    if transport == "oci:":
        return OciLayoutSource(DirectoryFiles(path), selector)
    files = ArchiveFiles(path)
    try:
        is_layout = transport == "oci-archive:" or (transport == "archive:" and files.has("oci-layout"))
        return OciLayoutSource(files, selector) if is_layout else DockerArchiveSource(files, selector)
    except BaseException:
        files.close()
        raise


def open_sink(text: str, settings: Settings | None = None) -> AnySink:
    """Return the sink that ``text`` names. Close it; an archive is dropped unless ``finish`` was called.

    Raises: Invalid, Denied, Unsupported (a digest as the target of a push).
    """
    transport, rest = _split(text)
    if transport == "docker://":
        reference = parse_reference(rest)
        if reference.digest:
            raise Unsupported("push image", quoted(text), "a digest cannot be chosen, only a tag")
        return DockerSink(reference, settings or load_settings())
    path, name = _split_path(rest, text)
    if transport == "dir:":
        return DirectorySink(rest)
    if transport == "oci:":
        return OciLayoutSink(path, name)
    return ArchiveSink(path, for_docker=transport != "oci-archive:", name=name)


def _split(text: str) -> tuple[str, str]:
    for transport in TRANSPORTS:
        if text.startswith(transport):
            return transport, text[len(transport) :]
    if "://" in text:
        raise Invalid("open image", quoted(text), f"the transport is none of {', '.join(TRANSPORTS)}")
    return "docker://", text


def _split_path(rest: str, text: str) -> tuple[str, str]:
    """Return (path, what follows the first colon); a file whose name has a colon is found as it is."""
    if not rest:
        raise Invalid("open image", quoted(text), "the path is missing")
    if os.path.exists(rest):
        return rest, ""
    path, _, selector = rest.partition(":")
    return path, selector
