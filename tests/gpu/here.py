"""Whether this machine has a GPU: some tests need one, and some are about having none."""

from models.gpu import NoGpu, find_gpu


def why_no_gpu() -> str:
    """The driver's answer; empty where there is a GPU."""
    try:
        find_gpu()
    except NoGpu as error:
        return str(error)
    return ""
