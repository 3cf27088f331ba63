"""A broker that does not answer is an instruction to try again, never an error that ends a process or a thread."""

import pytest

from engagement_stream.broker.topics import high_watermarks
from engagement_stream.errors import Retry
from engagement_stream.settings import KafkaSettings
from engagement_stream.stack.ports import free_port


def test_the_end_of_a_topic_out_of_reach_is_asked_for_again() -> None:
    """Whichever notices first that the time is over, the client or whoever waits for it."""
    nowhere = KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_port()}")
    for timeout_s in (0.2, 0.5, 1.0):
        with pytest.raises(Retry, match="does not tell the end of engagement-dlq"):
            high_watermarks(nowhere, nowhere.dlq_topic, 4, timeout_s=timeout_s)
