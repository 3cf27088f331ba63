"""Errors are instructions: each class says what has to happen next.

EngagementError
├── ConfigurationError   a person has to change a setting; nothing was started
├── Retry                the same call may succeed later: wait `after_s`, then call again with the same input
├── Poison               these records can never be accepted: dead-letter them, go on with the rest
├── Fatal                going on would lose or double something: halt this stage, show the remedy
└── TransactionLost      a Kafka transaction ended in anything but a clean success: drop its producer,
                         begin again from the committed position
    └── Fenced           another process has taken over this transactional.id: end this process
"""

from collections.abc import Sequence


class EngagementError(Exception):
    """Base of everything this project raises on purpose."""


class ConfigurationError(EngagementError):
    """A setting is wrong; the message names the variable and what is allowed."""


class Retry(EngagementError):
    """The outside world is not ready: wait, then make the same call again with the same input.

    `after_s` is the receiver's own wish (a Retry-After header); None leaves the wait to the back-off.
    """

    def __init__(self, reason: str, *, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


class Poison(EngagementError):
    """These records will never be accepted; `offsets` name them within the batch's partition."""

    def __init__(self, reason: str, *, partition: int, offsets: Sequence[int]) -> None:
        super().__init__(reason)
        self.partition = partition
        self.offsets = tuple(offsets)


class Fatal(EngagementError):
    """Going on would lose or double something; `remedy` is the sentence that tells a person what to do."""

    def __init__(self, reason: str, *, remedy: str) -> None:
        super().__init__(reason)
        self.remedy = remedy


class TransactionLost(EngagementError):
    """The transaction's outcome is not a clean success: never reuse this producer."""


class Fenced(TransactionLost):
    """A newer process owns this transactional.id; going on would make a zombie of us."""
