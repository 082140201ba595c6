"""What a picture shows, in words: DGS-Net's captions, and the subjects that the text side is fitted on.

A user's own captions come from captions.csv (path,caption) in the data folder. Without it a class
template is used: the subject is read from the picture's group, or stands for its whole source.
"""

import csv
import re
from collections.abc import Iterable
from pathlib import Path

from models.layouts import Picture
from models.text import TEMPLATE

FILE = "captions.csv"
# Sources whose groups carry a class name.
CLASS_SOURCES = {"caltech101": re.compile(r"^caltech101/(?P<subject>.+?)_image_\d+$")}
SOURCE_SUBJECTS = {
    "caltech101_faces": "person",
    "clothing": "piece of clothing",
    "portraits_sd3": "person",
    "pexels_interiors": "room",
    "mate_backgrounds": "landscape",
    "lomiri_wallpapers": "landscape",
    "plasma_wallpapers": "landscape",
}
DEFAULT = "scene"


def read_captions(folder: Path) -> dict[Path, str]:
    """The user's captions, by path; empty where there is no captions.csv."""
    file = folder / FILE
    if not file.is_file():
        return {}
    with file.open(newline="", encoding="utf-8") as stream:
        return {folder / row["path"]: row["caption"] for row in csv.DictReader(stream)}


def subject_of(picture: Picture) -> str:
    """What the picture shows, as far as its group or source says."""
    pattern = CLASS_SOURCES.get(picture.source)
    found = pattern.match(picture.group) if pattern else None
    if found:
        return found["subject"].replace("_", " ").lower()
    return SOURCE_SUBJECTS.get(picture.source, DEFAULT)


def captions_of(pictures: Iterable[Picture], own: dict[Path, str]) -> dict[Path, str]:
    """A caption for every picture."""
    return {p.path: own.get(p.path, TEMPLATE.format(subject_of(p))) for p in pictures}
