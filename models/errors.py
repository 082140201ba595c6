"""What people can put right: the command line tells it in one sentence, without a traceback."""


class ModelError(Exception):
    """Data, a run or a calibration that cannot be used; the message says what is wrong and what to do."""
