"""Verbs of images."""

from __future__ import annotations

from casemate.cli.table import Option, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

FORMAT_HELP = "Output format: table, json, 'table TEMPLATE' or a Go template"


def images_options() -> Sequence[Option]:
    """Return the options of images."""
    return [
        Option("all", "Accepted; every image is shown", short="a"),
        Option("digests", "Show digests"),
        Option(
            "filter",
            "Show only what fits: reference=debian:*, dangling=true, label=a",
            short="f",
            kind="filter",
            meta="FILTER",
            many=True,
        ),
        Option("format", FORMAT_HELP, kind="string", meta="FORMAT", completes=("json", "table")),
        Option("no-trunc", "Do not shorten the output"),
        Option("quiet", "Show only ids", short="q"),
        Option(
            "tree",
            "List platforms as a tree",
            refused=("one platform of an image is kept", "leave it away"),
            hidden=True,
        ),
    ]


def pull_options() -> Sequence[Option]:
    """Return the options of pull."""
    return [
        Option(
            "all-tags",
            "Pull every tag",
            short="a",
            refused=("tags are pulled one by one", "name the tags"),
            hidden=True,
        ),
        Option("disable-content-trust", "Accepted; content is verified by digest always", hidden=True),
        Option("platform", "Platform of the image, for example linux/arm64", kind="string", meta="PLATFORM"),
        Option("quiet", "Print only the image's name", short="q"),
    ]


def rmi_options() -> Sequence[Option]:
    """Return the options of rmi."""
    return [
        Option("force", "Remove it even when it has several names or a container uses it", short="f"),
        Option("no-prune", "Accepted; layers go when nothing needs them", hidden=True),
        Option(
            "platform",
            "Remove one platform",
            kind="string",
            many=True,
            refused=("one platform of an image is kept", "leave it away"),
            hidden=True,
        ),
    ]


def load_options() -> Sequence[Option]:
    """Return the options of load."""
    return [
        Option("replace", "Let names of the archive move here from the images that they mean"),
        Option(
            "input",
            "Read from this file (default: stdin)",
            short="i",
            kind="string",
            meta="FILE",
            completes="file",
        ),
        Option(
            "platform",
            "Load one platform",
            kind="string",
            refused=("one platform of an image is kept", "leave it away"),
            hidden=True,
        ),
        Option("quiet", "Print only names", short="q"),
    ]


def save_options() -> Sequence[Option]:
    """Return the options of save."""
    return [
        Option(
            "format",
            "docker-archive (default) or oci-archive",
            kind="string",
            meta="FORMAT",
            completes=("docker-archive", "oci-archive"),
        ),
        Option(
            "output",
            "Write to this file (default: stdout)",
            short="o",
            kind="string",
            meta="FILE",
            completes="file",
        ),
        Option(
            "platform",
            "Save one platform",
            kind="string",
            refused=("one platform of an image is kept", "leave it away"),
            hidden=True,
        ),
    ]


def history_options() -> Sequence[Option]:
    """Return the options of history."""
    return [
        Option("format", FORMAT_HELP, kind="string", meta="FORMAT", completes=("json", "table")),
        Option("human", "Print sizes and times for people (default true)", short="H"),
        Option("no-trunc", "Do not shorten the output"),
        Option("quiet", "Show only ids", short="q"),
    ]


def bootstrap_options() -> Sequence[Option]:
    """Return the options of bootstrap."""
    return [
        Option("mirror", "Where packages come from", kind="string", meta="URL"),
        Option("include", "Add packages (a,b,c)", kind="string", meta="PACKAGES", many=True),
        Option("refresh", "Build anew even if the image was made from the same recipe"),
    ]


VERBS = {
    "images": Verb(
        "images",
        "List images",
        module="image.images",
        operands=("[REPOSITORY[:TAG]]", 0, 1),
        options=images_options,
        aliases=("image ls", "image list"),
        completes="image",
        examples=(
            ("casemate images", "every image"),
            ("casemate images -q debian", "ids of one repository"),
            ("casemate images --format '{{.Repository}}:{{.Tag}} {{.Size}}'", "chosen columns"),
        ),
    ),
    "pull": Verb(
        "pull",
        "Download an image from a registry",
        module="image.pull",
        operands=("NAME[:TAG|@DIGEST]", 1, 1),
        options=pull_options,
        examples=(
            ("casemate pull debian:bookworm", "docker.io/library/debian:bookworm"),
            ("casemate pull --platform linux/arm64 ghcr.io/owner/app", "another platform"),
        ),
    ),
    "rmi": Verb(
        "rmi",
        "Remove images",
        module="image.rmi",
        operands=("IMAGE [IMAGE...]", 1, None),
        options=rmi_options,
        aliases=("image rm", "image remove"),
        completes="image",
        examples=(("casemate rmi debian:bookworm", "remove the name, and the image with its last name"),),
    ),
    "tag": Verb(
        "tag",
        "Give an image another name",
        module="image.tag",
        operands=("SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", 2, 2),
        completes="image",
        examples=(("casemate tag debian:bookworm registry.example/base:1", ""),),
    ),
    "load": Verb(
        "load",
        "Load images from an archive or stdin",
        module="image.load",
        options=load_options,
        examples=(
            ("casemate load -i app.tar", "docker-archive or oci-archive"),
            ("docker save app | casemate load", "from docker"),
        ),
    ),
    "save": Verb(
        "save",
        "Write images to an archive (default: stdout)",
        module="image.save",
        operands=("IMAGE [IMAGE...]", 1, None),
        options=save_options,
        completes="image",
        examples=(
            ("casemate save -o app.tar app:1 app:2", "two names in one archive"),
            ("casemate save app | docker load", "to docker"),
        ),
    ),
    "history": Verb(
        "history",
        "Show the steps that made an image",
        module="image.history",
        operands=("IMAGE", 1, 1),
        options=history_options,
        completes="image",
        examples=(("casemate history --no-trunc debian:bookworm", ""),),
    ),
    "bootstrap": Verb(
        "bootstrap",
        "Make an image from Debian's own packages, without a registry",
        module="image.bootstrap",
        operands=("NAME[:TAG]", 1, 1),
        options=bootstrap_options,
        examples=(("casemate image bootstrap debian:bookworm", "a small Debian"),),
    ),
}
