# ruff: noqa: INP001 - hatchling loads it by path
"""Hatchling's build hook: a wheel carries ``enter`` for one machine, and its tag says so."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).resolve().parent))
import build as enter_build


class EnterBuildHook(BuildHookInterface[Any]):
    """Compile the binary; include it in wheels, leave it in place for editable installs."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before anything is collected. Without libc, any Linux of its machine will do."""
        if self.target_name != "wheel":
            return
        machine = os.environ.get("CASEMATE_MACHINE", os.uname().machine)
        output = Path(self.root, "build", machine, "enter") if version != "editable" else enter_build.OUTPUT
        enter_build.build(output, machine=machine)
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-manylinux_2_17_{machine}"
        if version != "editable":
            build_data["force_include"][str(output)] = "casemate/bin/enter"
