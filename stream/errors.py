"""What can go wrong, split by what the caller must do.

PixassayError
├── ConfigError      stop: a setting, bundle or engine is wrong; the message says what to change
├── Outage           wait: something we depend on is away; the lane pauses and tries again
├── BadRecord        dead letter: the Kafka record is not an upload that we can read
├── Undeliverable    dead letter: a good record whose picture we may not or cannot reach
└── CannotEvaluate   verdict `unable_to_evaluate`: the picture itself cannot be judged
    └── NotApplicable    verdict `not_applicable`: there is nothing in it to judge
"""

from stream.reasons import Reason


class PixassayError(Exception):
    """Root of every error that pixassay raises on purpose."""


class ConfigError(PixassayError):
    """A setting, a bundle or an engine is wrong; nothing was started."""


class Outage(PixassayError):
    """A part that we depend on does not answer. Nothing is lost: retry until it does.

    `part` names it for logs and metrics: "kafka", "database", "object store".
    """

    def __init__(self, part: str, detail: str) -> None:
        super().__init__(f"{part} is unavailable: {detail}")
        self.part = part
        self.detail = detail


class _Reasoned(PixassayError):
    """An error about one upload: a code from the closed list and a sentence for people."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail


class BadRecord(_Reasoned):
    """The record is not an upload event that we can read."""


class Undeliverable(_Reasoned):
    """The record is fine, but its picture is out of bounds or a step failed for good."""


class CannotEvaluate(_Reasoned):
    """The picture cannot be judged: undecodable, gone, or over a limit."""


class NotApplicable(CannotEvaluate):
    """The picture decodes but holds nothing to judge: too small, or one flat colour."""
