"""A preprocessor of mdBook, which reads only the folder docs/.

A page that is only one `{{#include FILE}}` becomes that file. Links to pages stay relative; links to other files of the
repository become links to GitHub. `tests/readme/links.rs` checks that the links exist.
"""

import json
import os
import re
import sys

REPOSITORY = "https://github.com/linkerd-linger/linkerd-linger"
DOCS = "docs"
INCLUDE = re.compile(r"\s*\{\{#include (\S+)\}\}\s*")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def chapters(items):
    for item in items:
        chapter = item.get("Chapter") if isinstance(item, dict) else None
        if chapter:
            yield chapter
            yield from chapters(chapter["sub_items"])


def rewritten(target, source, page, pages):
    """The link as the site needs it: `source` is the file that it stands in, `page` the chapter that shows it."""
    if target.startswith("#") or "://" in target or target.startswith("mailto:"):
        return target
    path, hash_sign, anchor = target.partition("#")
    path = os.path.normpath(os.path.join(os.path.dirname(source), path))
    shown = pages.get(path)
    if shown is None and not path.startswith(DOCS + "/"):
        kind = "tree" if os.path.isdir(path) else "blob"
        return f"{REPOSITORY}/{kind}/main/{path}{hash_sign}{anchor}"
    if shown is None and os.path.isdir(path):
        return f"{REPOSITORY}/tree/main/{path}"
    link = os.path.relpath(shown or path, os.path.dirname(page))
    # mdBook writes README.md as index.html, but does not change the links to it.
    return re.sub(r"(^|/)README\.md$", r"\1index.md", link) + hash_sign + anchor


def main():
    if sys.argv[1:2] == ["supports"]:
        sys.exit(0)
    _, book = json.load(sys.stdin)
    found = list(chapters(book["items"]))
    sources, pages = {}, {}
    for chapter in found:
        page = source = os.path.join(DOCS, chapter["path"])
        include = INCLUDE.fullmatch(chapter["content"])
        if include:
            source = os.path.normpath(os.path.join(os.path.dirname(page), include[1]))
            with open(source, encoding="utf-8") as file:
                chapter["content"] = file.read()
        sources[page], pages[source] = source, page
    for chapter in found:
        page = os.path.join(DOCS, chapter["path"])
        in_code, lines = False, []
        for line in chapter["content"].split("\n"):
            if line.lstrip().startswith("```"):
                in_code = not in_code
            elif not in_code:
                line = LINK.sub(lambda link: f"]({rewritten(link[1], sources[page], page, pages)})", line)
            lines.append(line)
        chapter["content"] = "\n".join(lines)
    json.dump(book, sys.stdout)


main()
