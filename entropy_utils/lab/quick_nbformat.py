"""nbformat without two of its three seconds: jsonschema would compile a grammar for a format that no notebook has."""

import sys

sys.modules.setdefault("rfc3987_syntax", None)  # jsonschema goes on without it

import nbformat  # noqa: E402

__all__ = ["nbformat"]
