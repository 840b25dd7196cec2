"""Pages link to figures and results beside them in the repository; the site gets copies."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDERS = ("experiments", "benchmarks")
LINK = re.compile(rf"\]\(\.\./((?:{'|'.join(FOLDERS)})/[^)\s]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add every file under experiments/ and benchmarks/ that a page links to."""
    linked = set()
    for page in files.documentation_pages():
        linked |= set(LINK.findall(page.content_string))
    for name in sorted(linked):
        if (REPOSITORY / name).is_file():
            files.append(File.generated(config, name, abs_src_path=str(REPOSITORY / name)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Point the links at the copies."""
    return LINK.sub(r"](\1)", markdown)
