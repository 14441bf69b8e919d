"""From the text that users write (``docker://``, ``oci:``, ...) to a source or a sink.

Each transport is imported when it is asked for: a pull needs no archive reader, a load no HTTP.
Source: containers-transports(5), whose syntax this is.
"""

from __future__ import annotations

import os

from casemate.errors import Invalid, Unsupported
from casemate.oci.quoting import quoted
from casemate.oci.reference import parse_reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from casemate.core.transport import ImageSource
    from casemate.registry.settings import Settings
    from casemate.registry.transport.directory import DirectorySink
    from casemate.registry.transport.docker import DockerSink
    from casemate.registry.transport.oci_archive import ArchiveSink
    from casemate.registry.transport.oci_layout import OciLayoutSink

    AnySink: TypeAlias = DockerSink | OciLayoutSink | ArchiveSink | DirectorySink

TRANSPORTS = ("docker://", "oci:", "oci-archive:", "docker-archive:", "dir:", "archive:")
"""``archive:`` reads either kind of archive, and writes docker's, which is both."""


class Archive:
    """An image archive of either kind with all its images. ``path`` "-" is standard input.

    ``images`` lists (full names that the archive claims, source). The sources share the archive: close only
    this.
    """

    def __init__(self, path: str) -> None:
        from casemate.registry.archive_files import ArchiveFiles

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
        from casemate.registry.transport import docker_archive, oci_layout

        # docker 25 and later write both halves: the layout keeps the digests that the image was pulled with.
        if self._files.has("oci-layout") and self._files.has("index.json"):
            by_digest: dict[str, list[str]] = {}
            for entry in oci_layout.read_layout(self._files):
                by_digest.setdefault(entry.digest, []).extend(oci_layout.names_of(entry))
            self.images = [
                (names, oci_layout.OciLayoutSource(self._files, digest))
                for digest, names in by_digest.items()
            ]
        else:
            self.images = [
                (image.names, docker_archive.DockerArchiveSource(self._files, f"@{at}"))
                for at, image in enumerate(docker_archive.read_listing(self._files))
            ]


def open_source(text: str, settings: Settings | None = None) -> ImageSource:
    """Return the source that ``text`` names; a text without a transport is a reference in a registry.

    Raises: Invalid, NotFound, Denied, Corrupt, Exhausted.
    """
    transport, rest = _split(text)
    if transport == "docker://":
        from casemate.registry.settings import load_settings
        from casemate.registry.transport.docker import DockerSource

        return DockerSource(parse_reference(rest), settings or load_settings())
    if transport in {"dir:", "oci:"}:
        return _open_directory(transport, rest, text)
    return _open_archive(transport, *_split_path(rest, text))


def open_sink(text: str, settings: Settings | None = None) -> AnySink:
    """Return the sink that ``text`` names. Close it; an archive is dropped unless ``finish`` was called.

    Raises: Invalid, Denied, Unsupported (a digest as the target of a push).
    """
    transport, rest = _split(text)
    if transport == "docker://":
        return _open_registry_sink(rest, text, settings)
    path, name = _split_path(rest, text)
    if transport == "dir:":
        from casemate.registry.transport.directory import DirectorySink

        return DirectorySink(rest)
    if transport == "oci:":
        from casemate.registry.transport.oci_layout import OciLayoutSink

        return OciLayoutSink(path, name)
    from casemate.registry.transport.oci_archive import ArchiveSink

    return ArchiveSink(path, for_docker=transport != "oci-archive:", name=name)


def _open_directory(transport: str, rest: str, text: str) -> ImageSource:
    from casemate.registry.files import DirectoryFiles
    from casemate.registry.transport import directory, oci_layout

    path, selector = (rest, "") if transport == "dir:" else _split_path(rest, text)
    files = DirectoryFiles(path)
    try:
        if transport == "dir:":
            return directory.DirectorySource(files)
        return oci_layout.OciLayoutSource(files, selector)
    except BaseException:
        files.close()
        raise


def _open_archive(transport: str, path: str, selector: str) -> ImageSource:
    from casemate.registry.archive_files import ArchiveFiles
    from casemate.registry.transport import docker_archive, oci_layout

    files = ArchiveFiles(path)
    try:
        if transport == "oci-archive:" or (transport == "archive:" and files.has("oci-layout")):
            return oci_layout.OciLayoutSource(files, selector)
        return docker_archive.DockerArchiveSource(files, selector)
    except BaseException:
        files.close()
        raise


def _open_registry_sink(rest: str, text: str, settings: Settings | None) -> DockerSink:
    from casemate.registry.settings import load_settings
    from casemate.registry.transport.docker import DockerSink

    reference = parse_reference(rest)
    if reference.digest:
        raise Unsupported("push image", quoted(text), "a digest cannot be chosen, only a tag")
    return DockerSink(reference, settings or load_settings())


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
