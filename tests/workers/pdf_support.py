"""Small PDFs: pages of text, or pictures."""

import io
from collections.abc import Sequence

from pypdf import PdfWriter
from pypdf.generic import (
    DecodedStreamObject,
    DictionaryObject,
    NameObject,
    NumberObject,
)

PICTURE = object()
"""A page that shows one pixel and no text."""


def pdf(*pages: Sequence[str] | object, password: str | None = None) -> bytes:
    """A page each: its lines, or `PICTURE`."""
    writer = PdfWriter()
    for lines in pages:
        page = writer.add_blank_page(300, 400)
        content = DecodedStreamObject()
        resources = DictionaryObject()
        if lines is PICTURE:
            resources[NameObject("/XObject")] = DictionaryObject(
                {NameObject("/Im0"): writer._add_object(_pixel())}
            )
            content.set_data(b"q 300 0 0 400 0 0 cm /Im0 Do Q")
        else:
            assert isinstance(lines, Sequence)
            resources[NameObject("/Font")] = DictionaryObject({NameObject("/F1"): _font()})
            content.set_data(_shown(lines))
        page[NameObject("/Resources")] = resources
        page[NameObject("/Contents")] = writer._add_object(content)
    if password is not None:
        writer.encrypt(password, algorithm="AES-256")
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def _shown(lines: Sequence[str]) -> bytes:
    shown = " ".join(f"({line}) Tj T*" for line in lines)
    return f"BT /F1 12 Tf 14 TL 20 380 Td {shown} ET".encode("latin-1")


def _font() -> DictionaryObject:
    return DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )


def _pixel() -> DecodedStreamObject:
    image = DecodedStreamObject()
    image.set_data(b"\x7f")
    image.update(
        {
            NameObject("/Type"): NameObject("/XObject"),
            NameObject("/Subtype"): NameObject("/Image"),
            NameObject("/Width"): NumberObject(1),
            NameObject("/Height"): NumberObject(1),
            NameObject("/BitsPerComponent"): NumberObject(8),
            NameObject("/ColorSpace"): NameObject("/DeviceGray"),
        }
    )
    return image
