"""SVG that is the same bytes for the same figure, in colours that everybody can tell apart."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

BLUE, VERMILLION, BLACK, GREY = "#0072B2", "#D55E00", "#000000", "#767676"
COLOURS = (BLUE, VERMILLION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", BLACK, GREY)
"""Okabe and Ito's, which people with any colour vision can tell apart; grey for their yellow, which
is too pale on white."""

_LONGEST_NAME = 40
_NOT_IN_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_HASHED_ID = re.compile(rb'<(?:clipPath|path|pattern) id="([a-z][0-9a-f]{10})"')
_STYLE = {
    # ids in the SVG would otherwise be random
    "svg.hashsalt": "truthtune",
    # letters, not outlines: text can be searched and read aloud
    "svg.fonttype": "none",
    # a group's name may hold dollar signs
    "text.parse_math": False,
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def writable(text: str) -> str:
    """The text, with � for each character that XML can't hold."""
    return _NOT_IN_XML.sub("\ufffd", text)


def short_name(name: str) -> str:
    """A name that fits above a narrow panel."""
    name = writable(name)
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


@contextmanager
def style() -> Iterator[None]:
    """Our settings alone, whatever the machine's matplotlibrc says."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def new_figure(width: float, height: float) -> Any:
    """Inches. Without pyplot, which would keep every figure and might look for a screen."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def to_svg(figure: Any, title: str) -> bytes:
    """Without the date, which would change the bytes."""
    buffer = BytesIO()
    with warnings.catch_warnings():
        # Letters stay letters, so the reader's fonts draw what ours can't measure.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Title": writable(title)})
    return _numbered(buffer.getvalue())


def _numbered(svg: bytes) -> bytes:
    """With ids by their place: matplotlib's are hashes of lengths, whose last bits differ between
    processors."""
    for number, id_ in enumerate(dict.fromkeys(_HASHED_ID.findall(svg)), start=1):
        svg = svg.replace(id_, b"shape_%d" % number)
    return svg
