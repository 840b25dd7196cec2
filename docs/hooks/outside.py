"""Pages link to files beside them in the repository; the site gets copies of figures and results.

Other files of the repository, such as README.md of a folder, are no part of the site: their links
become the file's name.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDERS = ("experiments", "benchmarks")
LINK = re.compile(rf"\]\(\.\./((?:{'|'.join(FOLDERS)})/[^)\s]+(?<!\.md))\)")
ELSEWHERE = re.compile(r"\[([^\]]*)\]\(\.\./([^)\s]+)\)")


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
    """Point the links at the copies; name what has none."""
    return ELSEWHERE.sub(r"\1 (`\2`)", LINK.sub(r"](\1)", markdown))
