"""A small REST system of our own to deliver to: verifies signatures, remembers each event once, fails when told to."""

from engagement_stream.stack.receiver.faults import FailAfterWrite, Fault, HoldAnswer, Reject, SlowAnswer
from engagement_stream.stack.receiver.part import ReceiverServer

__all__ = ["FailAfterWrite", "Fault", "HoldAnswer", "ReceiverServer", "Reject", "SlowAnswer"]
