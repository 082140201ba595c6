"""Which picture formats are read, told by content, and what of their layout Pillow does not say.

Each decoder is named here and built directly: Pillow's registry, with its EPS, PSD, PDF and forty
other readers, is never asked, whatever a file pretends to be.
"""

from collections.abc import Callable
from io import BytesIO

from PIL import AvifImagePlugin
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

# A decoder process has one core's share of the machine; dav1d would start a thread for each core.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

# JpegImageFile itself, not Pillow's factory: a multi-picture JPEG (MPO, as phones write) is judged
# by its main picture; the others are previews, depth or gain maps.
_READERS: dict[str, Callable[[BytesIO], ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
    "GIF": GifImageFile,
    "AVIF": AvifImageFile,
    "BMP": BmpImageFile,
    "TIFF": TiffImageFile,
}
_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)
_AVIF_BRANDS = (b"avif", b"avis")


def sniff(data: bytes) -> str | None:
    """The format of a file by its first bytes; None where it is none that we read."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        brands = data[8 : min(int.from_bytes(data[:4], "big"), 256)]
        return "AVIF" if any(brand in brands for brand in _AVIF_BRANDS) else None
    return next((name for magic, name in _MAGIC if data.startswith(magic)), None)


def open_as(name: str, data: bytes) -> ImageFile:
    """Read the headers of a file of a format that `sniff` returned. Raises whatever Pillow raises."""
    return _READERS[name](BytesIO(data))


def ends_early(name: str, data: bytes) -> bool:
    """Whether a file that failed to decode lacks its end, by the layout of its format."""
    match name:
        case "JPEG":
            return b"\xff\xd9" not in data[-4096:]
        case "PNG":
            return b"IEND" not in data[-4096:]
        case "GIF":
            return not data.rstrip(b"\0").endswith(b";")
        case "WEBP":
            return int.from_bytes(data[4:8], "little") + 8 > len(data)
        case "BMP":
            return int.from_bytes(data[2:6], "little") > len(data)
        case "AVIF":
            return _boxes_end(data) > len(data)
    return False


def _boxes_end(data: bytes) -> int:
    """Where the last top-level box of an ISO media file claims to end."""
    position = 0
    while position + 8 <= len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        if size == 1:
            size = int.from_bytes(data[position + 8 : position + 16], "big")
        if size < 8:  # 0: up to the end of the file
            return len(data)
        position += size
    return position


def frame_count(image: ImageFile, data: bytes, limit: int) -> int:
    """How many frames or pages a file has; counting stops at `limit` + 1.

    GIF and TIFF have no count in their headers, and Pillow's own walk through a hostile file of
    millions of frames takes longer than any time-out.
    """
    if isinstance(image, GifImageFile):
        return max(1, _gif_frames(data, limit))
    if isinstance(image, TiffImageFile):
        return _tiff_pages(image, limit)
    return int(getattr(image, "n_frames", 1))


def _tiff_pages(image: TiffImageFile, limit: int) -> int:
    """One page after another: Pillow's `n_frames` follows the chain to its end."""
    for page in range(1, limit + 1):
        try:
            image.seek(page)
        except EOFError:
            image.seek(0)
            return page
    return limit + 1


def _gif_frames(data: bytes, limit: int) -> int:
    """Image descriptors in a GIF (GIF89a specification, sections 15 to 27)."""
    frames, position = 0, 13 + _colour_table(data[10:11])
    while position < len(data) and frames <= limit:
        match data[position]:
            case 0x21:  # extension
                position = _after_blocks(data, position + 2)
            case 0x2C:  # image
                frames += 1
                position = _after_blocks(
                    data, position + 11 + _colour_table(data[position + 9 : position + 10])
                )
            case 0x3B:  # trailer
                break
            case _:  # stray bytes between blocks are skipped, as every viewer does
                position += 1
    return frames


def _colour_table(flags: bytes) -> int:
    """Bytes of the colour table that a flags byte announces."""
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def _after_blocks(data: bytes, position: int) -> int:
    """The position behind a chain of data sub-blocks and its terminator."""
    while position < len(data) and data[position]:
        position += data[position] + 1
    return position + 1
