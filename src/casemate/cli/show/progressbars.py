"""Live bars of transfers, drawn by rich."""

from __future__ import annotations

import sys
import threading

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from rich.progress import TaskID


class Bars:
    """One bar for each item, on stderr."""

    def __init__(self) -> None:
        # NO_COLOR is rich's own business
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            TextColumn("{task.fields[status]}", markup=False),
            BarColumn(bar_width=30),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=Console(file=sys.stderr),
        )
        self._tasks: dict[str, TaskID] = {}
        self._lock = threading.Lock()
        self._running = True
        self._progress.start()

    def event(self, item: str, status: str, *, current: int = 0, total: int = 0) -> None:
        """Move the item's bar."""
        with self._lock:
            if not self._running:
                return
            task = self._tasks.get(item)
            if task is None:
                task = self._tasks[item] = self._progress.add_task(item, total=None, status=status)
            self._progress.update(task, status=status)
            if total:
                self._progress.update(task, completed=current, total=total)

    def finish(self) -> None:
        """Draw the last state and give the terminal back."""
        with self._lock:
            if self._running:
                self._running = False
                self._progress.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()
