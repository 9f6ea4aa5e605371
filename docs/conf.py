"""The site: ``python -m sphinx -W docs build/site`` after ``pip install -e '.[docs]'``. Nothing is fetched."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_extensions"), str(HERE.parent / "src")]

import node_ipc  # noqa: E402

project = "node-ipc for Python"
author = "the authors of node-ipc for Python"
copyright = author
version = release = node_ipc.__version__

extensions = [
    *("myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"),
    *("example_programs", "project_files", "site_files"),  # of the folder _extensions
]
exclude_patterns = ["_extensions", "_build", "reference/_*"]
myst_enable_extensions = ["colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 3
autodoc_typehints = "signature"
python_maximum_signature_line_length = 100
autodoc_member_order = "bysource"
napoleon_use_ivar = True  # fields are described with their class, and are no places of their own
copybutton_exclude = ".linenos, .gp, .go"

smartquotes_action = "qe"  # quotes and ellipses, but "--" is a flag

html_theme = "furo"
html_title = "node-ipc for Python"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_baseurl = os.environ.get("SITE_URL", "")
"""Where the site will be, as the workflow says that puts it there. Without it nothing names an address: no sitemap."""
html_show_sphinx = False
html_copy_source = True
html_show_sourcelink = False
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
html_theme_options = {
    "navigation_with_keys": True,
    "light_css_variables": {"color-brand-primary": "#1f5f99", "color-brand-content": "#1f5f99"},
    "dark_css_variables": {"color-brand-primary": "#8ec5ff", "color-brand-content": "#8ec5ff"},
}
