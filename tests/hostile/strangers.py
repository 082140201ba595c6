"""Files that are no pictures, or more than one thing, and metadata that lies."""

import struct
from collections.abc import Iterator

from PIL import Image

from tests.hostile.sound import sound_files
from tests.unit.picture_files import photo, save

_LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + level, b"&%c;" % (97 + level) * 10) for level in range(9))
    + b"]><x:xmpmeta>&j;</x:xmpmeta>"
)
_SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>"
_SIZES = (0, 1, 2, 7, 127, 2**15, 2**31 - 1, 2**32 - 1)


def strangers() -> dict[str, bytes]:
    """Kind -> file that must not be read as a picture."""
    return {
        "one zero": b"\0",
        "zeros": b"\0" * 100_000,
        "SVG": _SVG,
        "SVG of entities": _LAUGHS + _SVG,
        "HTML": b"<!doctype html><script>alert(1)</script>",
        "PDF": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n%%EOF",
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(/etc/passwd) (r) file\n",
        "PSD": b"8BPS\0\1" + b"\0" * 200,
        "MP4": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + b"\0" * 500,
        "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 500,
        "Matroska": b"\x1aE\xdf\xa3" + b"\0" * 500,
        "WAV": b"RIFF\x24\0\0\0WAVEfmt " + b"\0" * 500,
        "AVI": b"RIFF\x24\0\0\0AVI LIST" + b"\0" * 500,
        "ZIP": b"PK\3\4" + b"\0" * 500,
        "gzip": b"\x1f\x8b\x08" + b"\0" * 500,
        "ELF": b"\x7fELF" + b"\0" * 500,
        "script": b"#!/bin/sh\nrm -rf /\n",
        "ICO": save(Image.fromarray(photo()), "ICO"),
        "JPEG 2000": save(Image.fromarray(photo()), "JPEG2000"),
        "JPEG XL": b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0" * 500,
        "FLI": b"\0\0\0\0\x11\xaf" + b"\0" * 500,
        "DDS": b"DDS " + b"\xff" * 500,
    }


def polyglots() -> dict[str, bytes]:
    """Pictures with something else behind, or inside."""
    sound = sound_files()
    tails = {"zip": b"PK\3\4" + b"\0" * 200, "html": b"<script>alert(1)</script>", "pdf": b"%PDF-1.7\n"}
    tails["another picture"] = sound["PNG"]
    return {f"{kind} + {name}": data + tail for kind, data in sound.items() for name, tail in tails.items()}


def lying_metadata() -> dict[str, bytes]:
    """EXIF, ICC and XMP blocks that a reader may trip over, in each container that holds them."""
    image, made = Image.fromarray(photo()), {}
    blocks = [("exif", name, body) for name, body in _exif()]
    blocks += [("icc_profile", name, body) for name, body in _profiles()]
    blocks += [
        ("xmp", "entities", _LAUGHS),
        ("xmp", "noise", bytes(range(1, 256)) * 20),
        ("xmp", "cut", b"<x:"),
    ]
    # Pillow refuses to write XMP into a PNG, and a broken EXIF block into an AVIF.
    takes = {"JPEG": ("exif", "icc_profile", "xmp"), "PNG": ("exif", "icc_profile")}
    takes |= {"WEBP": takes["JPEG"], "AVIF": ("icc_profile", "xmp")}
    for container, places in takes.items():
        for where, name, body in blocks:
            if where in places:
                made[f"{container} {where} {name}"] = save(image, container, **{where: body})
    for name, body in _profiles():
        made[f"TIFF icc {name}"] = save(image, "TIFF", icc_profile=body)
    return made


def _exif() -> Iterator[tuple[str, bytes]]:
    head = b"Exif\0\0II*\0"
    yield "empty", b"Exif\0\0"
    yield "loop", head + struct.pack("<I", 8) + struct.pack("<HHHII", 1, 0x8769, 4, 1, 8) + b"\x08\0\0\0"
    yield "beyond", head + struct.pack("<I", 2**31)
    for size in _SIZES:
        entry = struct.pack("<HHHII", 1, 0x0112, 3, size, size)
        yield f"orientation count {size}", head + struct.pack("<I", 8) + entry + b"\0" * 4
    for kind in (0, 2, 5, 10, 12, 13, 255):
        entry = struct.pack("<HHHII", 1, 0x0112, kind, 1, 6)
        yield f"orientation type {kind}", head + struct.pack("<I", 8) + entry + b"\0" * 4


def _profiles() -> Iterator[tuple[str, bytes]]:
    yield "of one byte", b"\0"
    yield "of noise", bytes(range(256)) * 10
    for size in _SIZES:
        yield f"of stated size {size}", struct.pack(">I", size) + b"lcms" + b"\xff" * 120
    yield "of 200 kB", b"\0" * 200_000
