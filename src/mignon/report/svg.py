"""A matplotlib figure as SVG that stands inside a page: no ids but its own, no links, the page's font and colors."""

import re
import warnings
from io import BytesIO
from typing import Any
from xml.etree import ElementTree

from matplotlib import rc_context
from matplotlib.figure import Figure

from mignon.errors import printable

# Colors that stand for variables of the page, so that one picture serves light and dark.
TEXT, LINE, SURFACE = "#010203", "#010204", "#010205"
SERIES = ["#010211", "#010212", "#010213", "#010214", "#010215", "#010216"]
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
VARIABLES = {TEXT: "var(--text)", LINE: "var(--line)", SURFACE: "var(--surface)"}
VARIABLES |= {color: f"var(--series-{i + 1})" for i, color in enumerate(SERIES)}

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "mignon",  # the same run gives the same page
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": TEXT,
    "text.parse_math": False,  # a class may be called $x$
    "axes.edgecolor": LINE,
    "axes.labelcolor": TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": TEXT,
    "ytick.labelcolor": TEXT,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.linewidth": 1.6,
}


def to_svg(figure: Figure, label: str, name: str) -> str:
    """The `<svg>` element, described by `label` for those who cannot see it; `name` is its own on the page."""
    buffer = BytesIO()
    with rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # glyphs that the measuring font lacks; the browser has its own fonts
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    # XML cannot hold control characters at all
    text = CONTROL.sub(lambda found: printable(found[0]), buffer.getvalue().decode())
    root = ElementTree.fromstring(text)
    _clean(root, f"{name}-")
    root.attrib = {"viewBox": root.get("viewBox", ""), "role": "img", "aria-label": label}
    return ElementTree.tostring(root, encoding="unicode")


def _clean(root: ElementTree.Element, prefix: str) -> None:
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    used = set()
    for element in root.iter():
        for name, value in element.attrib.items():
            used |= set(re.findall(r"url\(#([^)]+)\)", value))
            if _local(name) == "href" and value.startswith("#"):
                used.add(value[1:])
    for element in root.iter():
        attributes = {}
        for name, value in element.attrib.items():
            name = _local(name)
            if name == "id":
                if value in used:
                    attributes["id"] = prefix + value
            elif name == "href":
                if value.startswith("#"):
                    attributes["href"] = f"#{prefix}{value[1:]}"
            else:
                attributes[name] = _restyled(value, prefix)
        element.tag, element.attrib = _local(element.tag), attributes


def _restyled(value: str, prefix: str) -> str:
    value = value.replace("url(#", f"url(#{prefix}")
    value = re.sub(r"font: [^;]*?([\d.]+px)[^;]*", r"font-size: \1", value)
    return re.sub(r"#0102\d\d", lambda match: VARIABLES.get(match[0], match[0]), value)


def _local(name: str) -> str:
    return name.rsplit("}", 1)[-1]
