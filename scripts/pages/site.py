"""A hook of MkDocs (mkdocs.yml): the figures and pages of results/ become files of the site."""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
SHOWN = ("index.html", "*.svg")  # of each table; a reader of the site does not need its runs


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page and the plots of each table below results/."""
    for pattern in SHOWN:
        for source in sorted(ROOT.glob(f"results/*/{pattern}")):
            name = source.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(source)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Pages link to ../results, where the files lie in the repository."""
    folders = re.sub(r"\]\(\.\./(results/\w+)\)", r"](\1/index.html)", markdown)
    return folders.replace("](../results/", "](results/")
