"""A defect on purpose, behind three doors: blind chance needs millions of inputs, guidance a few thousand."""


def check_planted(data: bytes) -> None:
    """Raises ValueError for data that starts with "fuz"."""
    if data[0:1] != b"f":
        return
    if data[1:2] != b"u":
        return
    if data[2:3] == b"z":
        raise ValueError("planted")
