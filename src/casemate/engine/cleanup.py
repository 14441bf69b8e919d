"""``python -I -m casemate.engine.cleanup ROOT RUN_ROOT ID``.

The last thing a keeper runs for a detached --rm container.

Started with an empty environment by the keeper, which has given up the container's lock by then or is about
to.
"""

from __future__ import annotations

import sys

from casemate.engine.life.finish import finish
from casemate.errors import CasemateError
from casemate.store.paths import StorePaths
from casemate.store.store import Store

_ARGUMENTS = 4


def main(arguments: list[str]) -> int:
    """Remove the container; 0 also when somebody else did."""
    if len(arguments) != _ARGUMENTS:
        sys.stderr.write("usage: python -m casemate.engine.cleanup ROOT RUN_ROOT ID\n")
        return 2
    _, root, run_root, container_id = arguments
    try:
        with Store.open(StorePaths(root, run_root)) as store:
            finish(store, container_id)
    except CasemateError as error:
        sys.stderr.write(f"casemate: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
