"""Figures drawn by Vega-Lite without a browser (the package vl-convert): as SVG for a page, as PDF, PNG and SVG for a
paper. The same figure gives the same bytes."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from markupsafe import Markup

from lifealign_bench.errors import UsageError
from lifealign_bench.reporting.figures.charts import WIDTH
from lifealign_bench.reporting.figures.figure import Figure, Spec
from lifealign_bench.reporting.figures.palette import LIGHT, PAGE, Theme
from lifealign_bench.util.files import MARK, atomic_path, refuse_foreign
from lifealign_bench.util.text import clean

KINDS = ("pdf", "png", "svg")
_VERSION = "6.4"  # of Vega-Lite
# vl-convert brings it: texts are as wide on every machine. One weight, for a PDF's fonts come in no certain order.
_FONT = "Liberation Sans"
_SCALE = 0.52  # of a paper's figure: one column of 3.4 inches, with letters of 6 points and more
_SVG = "{http://www.w3.org/2000/svg}"
_KEPT = {"d", "transform", "fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-opacity"}
_KEPT |= {"opacity", "text-anchor", "font-size", "font-weight", "x", "x2", "y", "y2", "dx", "dy"}


def specification(figure: Figure, look: Theme, alone: bool) -> Spec:
    """The figure in Vega-Lite, with its style."""
    text: Spec = {"labelColor": look["ink"], "labelFontSize": 12, "labelLimit": 200}
    axis = {"labelColor": look["muted"], "titleColor": look["ink"], "gridColor": look["grid"], "titlePadding": 6}
    axis |= {"domainColor": look["muted"], "tickColor": look["muted"], "titleFontWeight": "normal"}
    config = {
        "font": _FONT,
        "background": look["surface"] if alone else None,
        "view": {"stroke": None},
        "axis": axis | {"labelFontSize": 12, "titleFontSize": 12},
        "axisX": {"grid": False, "labelAngle": 0},
        "axisQuantitative": {"grid": True, "tickCount": 5},
        "legend": text | {"orient": "bottom", "columns": 3, "symbolStrokeWidth": 1.4, "symbolOpacity": 1},
        "header": text | {"labelFontSize": 13},
        "text": {"color": look["ink"], "fontSize": 12},
    }
    padding = {"left": 12, "right": 14, "top": 4, "bottom": 6}
    return {"config": config, "padding": padding} | figure.spec(look, alone)


def picture(figure: Figure) -> Markup:
    """The figure as SVG for a page: its colours are names of the page's style, its marks say what they are."""
    import vl_convert

    text = vl_convert.vegalite_to_svg(specification(figure, PAGE, alone=False), vl_version=_VERSION)
    root = ElementTree.fromstring(text)
    _simplify(root)
    if float(root.get("width", 0)) > 1.2 * WIDTH:
        root.set("class", "wide")
    root.attrib |= {"role": "img", "aria-labelledby": f"{figure.id}-t {figure.id}-d"}
    for place, (tag, said) in enumerate((("title", figure.title), ("desc", figure.alt))):
        element = ElementTree.Element(tag, id=f"{figure.id}-{tag[0]}")
        element.text = clean(said)
        root.insert(place, element)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


_USUAL = (("opacity", "1"), ("stroke-width", "1"))
_LONG = re.compile(r"\d+\.\d{3,}")


def _rounded(found: re.Match[str]) -> str:
    """A hundredth of a pixel is more than anybody sees, and less than the last digits of another machine change."""
    return f"{float(found[0]):.2f}"


def _simplify(node: ElementTree.Element) -> None:
    """Drop what the page's style says or nothing needs; a mark's name becomes what is shown below the pointer."""
    told = node.get("aria-label") if node.get("aria-roledescription") not in (None, "axis", "legend") else None
    node.tag = node.tag.removeprefix(_SVG)
    kept = {
        k: v
        for k, v in node.attrib.items()
        if k in _KEPT or (node.tag == "svg" and k in ("width", "height", "viewBox"))
    }
    node.attrib = {k: _LONG.sub(_rounded, v) for k, v in kept.items() if (k, v) not in _USUAL}
    for child in list(node):
        empty = child.get("display") == "none" or child.get("d") in ("", "M0,0h0v0h0Z")
        if empty and not len(child):
            node.remove(child)
        else:
            _simplify(child)
    if told and node.tag == "path":
        ElementTree.SubElement(node, "title").text = told


def write_figures(figures: Sequence[Figure], folder: Path, force: bool) -> list[Path]:
    """Write every figure as ``<id>.pdf``, ``<id>.png`` (300 dpi) and ``<id>.svg``.

    Raises:
        UsageError: a file of that name is there and no figure of a report, without ``force``; the folder is a file.
    """
    import vl_convert

    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is not a folder.", "Name another one with --figures.")
    files = [folder / f"{figure.id}.{kind}" for figure in figures for kind in KINDS]
    refuse_foreign(files, force)
    for figure in figures:
        text = vl_convert.vegalite_to_svg(specification(figure, LIGHT, alone=True), vl_version=_VERSION)
        text = re.sub(r' (width|height)="([\d.]+)"', lambda m: f' {m[1]}="{_SCALE * float(m[2]):g}"', text, count=2)
        made = {
            "pdf": _sorted_names(vl_convert.svg_to_pdf(text)) + f"%{MARK}\n".encode(),
            "png": _marked(vl_convert.svg_to_png(text, ppi=300)),
            "svg": f"{text}\n<!-- {MARK} -->\n".encode(),
        }
        for kind, content in made.items():
            with atomic_path(folder / f"{figure.id}.{kind}") as temporary:
                temporary.write_bytes(content)
    return files


def _sorted_names(pdf: bytes) -> bytes:
    """The converter lists a page's resources in the order of a hash table; in the order of their names a figure has the
    same bytes each time, and as many, so that the file's index stays right."""
    return re.sub(rb"(?:^ +/[a-z]+\d+ [^\n]*\n)+", lambda m: b"".join(sorted(m[0].splitlines(True))), pdf, flags=re.M)


def _marked(png: bytes) -> bytes:
    """The picture with the program's name in a text chunk before its last chunk (PNG specification, 11.3.4.3)."""
    body = b"tEXt" + b"Software\0" + MARK.encode()
    return png[:-12] + struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)) + png[-12:]
