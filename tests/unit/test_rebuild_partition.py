"""A rebuild puts a content where the producers put it."""

import pytest

from engagement_stream.rebuild.partition import murmur2, partition_of


@pytest.mark.parametrize(
    ("text", "wanted"),
    # Kafka's own UtilsTest.testMurmur2, its results read as unsigned.
    [
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ],
)
def test_murmur2_is_kafka_s(text: str, wanted: int) -> None:
    """Texts of every length modulo four."""
    assert murmur2(text.encode()) == wanted % (1 << 32)


def test_a_partition_is_never_negative() -> None:
    """The sign bit is dropped, not the sign changed."""
    assert partition_of("21", 4) == (-973932308 % (1 << 32) & 0x7FFFFFFF) % 4
