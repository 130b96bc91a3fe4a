"""How Sphinx builds the documentation; nothing here needs the network."""

from __future__ import annotations

import os
import re
import sys
import warnings
from pathlib import Path
from typing import Any

# The gallery's subprocesses and the examples draw without a screen.
os.environ.setdefault("MPLBACKEND", "Agg")
sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import skroute

project = "skroute"
author = "The skroute developers"
project_copyright = author
version = release = skroute.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "result_table",
]
# Links into other projects' documentation need their inventories from the network:
# asked for by `SKROUTE_DOCS_ONLINE=1 make docs`, and left out otherwise.
if os.environ.get("SKROUTE_DOCS_ONLINE"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
    }

exclude_patterns = ["_build", "_ext", "_templates"]
templates_path = ["_templates"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings = ["config.cache"]  # the gallery's order is a function

# The reference: every public name has a page, with the methods that are skroute's own.
autosummary_generate = True
toc_object_entries_show_parents = "hide"
# Types in signatures, a parameter a line where they are long; numpydoc's sections add
# shapes and units.
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_",
    # Small galleries below the objects that an example uses.
    "backreferences_dir": "auto_examples/backreferences",
    "doc_module": ("skroute",),
    "ignore_pattern": r"^(?!plot_)",  # scripts that serve and call models
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "write_computation_times": False,
    "min_reported_time": 60,
}
# As in the tests: what warns in an example is mended, and not shown to readers.
warnings.filterwarnings("error", module="skroute")


def _is_inherited(
    app: Any, what: str, name: str, member: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out what classes have from scikit-learn and from Python."""
    function = getattr(member, "fget", member)
    own = (getattr(function, "__module__", None) or "").startswith("skroute")
    return True if what in ("class", "exception") and not own else None


def _lead_home(app: Any, docname: str, source: list[str]) -> None:
    """Let links to Markdown files outside of docs lead to their pages, or be names."""
    depth = docname.count("/")
    root = re.escape("../" * (depth + 1))  # from the page to the repository

    def find_page(match: re.Match[str]) -> str:
        return f"]({'../' * depth}{match[1].lower()}.md"

    text = re.sub(rf"\]\({root}(SECURITY|CHANGELOG)\.md", find_page, source[0])
    source[0] = re.sub(rf"\[[^]]+\]\({root}([^).#][^)#]*\.md)\)", r"`\1`", text)


def _mend_structure(
    app: Any, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Mend what screen readers stumble over in what Sphinx writes.

    A signature of many lines is no list of definitions, citations are no list items,
    and links of a gallery have names. Its cards say what else only a mouse could find.
    """
    body = context.get("body") or ""
    body = _SIGNATURE.sub(
        lambda dl: (
            '<div class="sig-params">'
            + dl[1].replace("<dd><em", "<div><em").replace("</dd>", "</div>")
            + "</div>"
        ),
        body,
    )
    body = _CARD.sub(
        r'<div class="sphx-glr-thumbcontainer">\2 aria-label="\3"\4\3\5'
        r'<div class="sphx-glr-thumbnail-text">\1</div>',
        body,
    )
    # Wide results scroll, and keys have to reach them.
    output = 'class="output_subarea output_html rendered_html output_result"'
    region = f'{output} tabindex="0" role="region" aria-label="Result"'
    body = body.replace(output, region)
    context["body"] = body.replace('<div role="list" class="citation-list">', "<div>")


_CARD = re.compile(
    r'<div class="sphx-glr-thumbcontainer" tooltip="([^"]*)">'
    r'(.*?<a class="reference internal" href="[^"]*")'
    r'(?=[^>]*><span class="doc">([^<]*))'
    r'([^>]*><span class="doc">)[^<]*'
    r'(.*?<div class="sphx-glr-thumbnail-title">.*?</div>)',
    re.DOTALL,
)
_SIGNATURE = re.compile(r'<dl>\n((?:<dd><em class="sig-param">.*?</dd>\n)+)</dl>')


def setup(app: Any) -> None:
    """Register the hooks."""
    app.connect("source-read", _lead_home)
    app.connect("autodoc-skip-member", _is_inherited)
    app.connect("html-page-context", _mend_structure)


html_theme = "pydata_sphinx_theme"
html_title = "skroute"
html_static_path = ["_static"]
html_css_files = ["skroute.css"]
html_show_sourcelink = False
html_favicon = "_static/favicon.svg"
html_theme_options = {
    "logo": {"text": "skroute"},
    "show_prev_next": True,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 6,
    "navbar_persistent": ["search-button"],
    "show_toc_level": 2,
    "secondary_sidebar_items": {
        "index": [],
        "**": ["page-toc", "sg_download_links"],
    },
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {
    "index": [],
    "architecture": [],
    "auto_examples/*": [],
    "getting_started": [],
    "tutorial": [],
    "which": [],
    "cookbook": [],
    "faq": [],
    "migration": [],
    "stability": [],
    "development": [],
    "how_it_works": [],
    "comparison": [],
    "changelog": [],
    "security": [],
}
