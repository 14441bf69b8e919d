"""What can be wrong with a template, in the words of Go's text/template."""

from __future__ import annotations

from casemate.errors import Invalid


class TemplateError(Invalid):
    """A template cannot be parsed, or not be executed on the data."""

    code = "E-TEMPLATE"
    exit_code = 1

    def __init__(self, why: str, *, hint: str = "") -> None:
        super().__init__("use the template", why=f"template: {why}", hint=hint)
