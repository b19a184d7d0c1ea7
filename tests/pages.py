"""What holds of every page that the package writes."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
from urllib.parse import unquote

from lxml import html

__all__ = ["check_document"]


def check_document(text: str) -> html.HtmlElement:
    """What holds of every page; gives its tree."""
    tree = html.document_fromstring(text)
    ids = [e.get("id") for e in tree.iter() if isinstance(e.tag, str) and e.get("id")]
    assert len(ids) == len(set(ids))
    # Nothing is fetched: links lead within the page or hold their data.
    for element in tree.iter():
        if isinstance(element.tag, str):
            assert element.get("src") is None and element.tag not in ("link", "iframe", "object", "img")
            assert not [name for name in element.attrib if str(name).startswith("on")]
            target = element.get("href", "#")
            assert target.startswith(("#", "data:text/csv")), target
            assert not target.startswith("#") or target == "#" or target[1:] in ids
    # The one script that may run is the one that is there.
    (policy,) = [e.get("content", "") for e in tree.iter("meta") if e.get("http-equiv") == "Content-Security-Policy"]
    running = [e for e in tree.iter("script") if e.get("type") != "application/json"]
    assert len(running) == 1
    digest = base64.b64encode(hashlib.sha256((running[0].text or "").encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy
    for source in tree.iter("script"):
        if source.get("type") == "application/json":
            json.loads(source.text or "")
    # Every figure: a picture with a name and a description, and its data twice.
    for figure in tree.iter("figure"):
        for svg in figure.iter("svg"):
            named = [tree.get_element_by_id(i) for i in svg.get("aria-labelledby", "").split()]
            assert svg.get("role") == "img" and [e.tag for e in named] == ["title", "desc"]
            assert all(e.text for e in named)
        (link,) = [a for a in figure.iter("a") if a.get("download")]
        rows = list(csv.reader(io.StringIO(unquote(link.get("href", "").partition(",")[2]))))
        assert len(rows) == len(figure.findall(".//tr")) > 1 and len({len(row) for row in rows}) == 1
        assert figure.find("figcaption") is not None
    return tree
