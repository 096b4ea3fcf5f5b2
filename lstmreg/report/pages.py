"""Pages that load nothing and run nothing, from the templates beside this file; every name in them is escaped."""

from __future__ import annotations

from typing import Any

import jinja2


def page(template: str, **content: Any) -> str:
    """Return a page, from a template and all that stands in it."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lstmreg.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(content)
