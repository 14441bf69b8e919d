"""Removing directories whose content we did not write."""

from __future__ import annotations

import os
import stat

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: str) -> None:
    """Remove ``path`` and everything below; absent is success.

    Follows no link; works by descriptors, so that nothing can be moved away under it. Files that a container
    gave to the subordinate ids of an ordinary user are removed by a worker that is root of those ids.
    """
    try:
        parent = os.open(os.path.dirname(path), _DIRECTORY)
    except FileNotFoundError:
        return  # whoever recorded the first container was killed before it made the directory of all
    try:
        try:
            _remove(parent, os.path.basename(path))
        except PermissionError:
            if os.geteuid() == 0:
                raise
            _remove_as_owner(parent, os.path.basename(path))
    finally:
        os.close(parent)


def _remove_as_owner(parent: int, name: str) -> None:
    from casemate.engine.subordinate import run_as_owner

    run_as_owner({"job": "remove", "name": name}, [parent])


def _remove(parent: int, name: str) -> None:
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            _empty(parent, name)
            os.rmdir(name, dir_fd=parent)
        else:
            os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return


def _empty(parent: int, name: str) -> None:
    fd = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        for entry in os.listdir(fd):
            _remove(fd, entry)
    finally:
        os.close(fd)
