"""Errors are instructions: each class says what has to happen next.

EngagementError
├── ConfigurationError   a person has to change a setting; nothing was started
├── Retry                the same call may succeed later: wait `after_s`, then call again with the same input
├── Reopen               the durable position is not where we thought: read it again and go on from there
├── Stalled              a consumer stopped fetching although there is more: a new one has to take over
├── Fatal                going on would lose or double something: halt this stage, show the remedy
└── TransactionLost      a Kafka transaction ended in anything but a clean success: drop its producer,
                         begin again from the committed position
    └── Fenced           another process has taken over this transactional.id: end this process
"""


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


class Reopen(EngagementError):
    """The durable position is not where we thought it was: open again, read it, go on from there."""


class Stalled(EngagementError):
    """The consumer fetches nothing although the log holds more: only a new consumer helps."""


class Fatal(EngagementError):
    """Going on would lose or double something; `remedy` is the sentence that tells a person what to do."""

    def __init__(self, reason: str, *, remedy: str) -> None:
        super().__init__(reason)
        self.remedy = remedy


class TransactionLost(EngagementError):
    """The transaction's outcome is not a clean success: never reuse this producer."""


class Fenced(TransactionLost):
    """A newer process owns this transactional.id; going on would make a zombie of us."""
