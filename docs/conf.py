"""Sphinx settings: ``make docs`` builds the site from the repository's root, so that links are those of the files."""

import warnings

from samplug.version import __version__

warnings.filterwarnings("ignore", category=FutureWarning)  # of packages that autodoc imports

project = "samplug"
copyright = "samplug maintainers, Apache-2.0"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = ["docs/*.md", "configs/*/README.md", "projects/README.md", "projects/*/README.md"]
exclude_patterns = ["docs/_build", ".*", "build", "data", "dist", "work_dirs"]

myst_heading_anchors = 3  # as GitHub names them

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"samplug {__version__}"
html_copy_source = False
html_extra_path = ["_extra"]  # index.html, which leads to docs/index.html
