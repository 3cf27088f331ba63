"""In which partition an event lies: librdkafka's `murmur2_random` (Kafka's own murmur2), as all our producers use."""

_SEED, _M, _MASK = 0x9747B28C, 0x5BD1E995, 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """As Kafka's Java client and librdkafka's `rd_murmur2` compute it, 32 bits, unsigned."""
    whole = len(data) & ~3
    h = _SEED ^ len(data)
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * _M & _MASK
        k = (k ^ k >> 24) * _M & _MASK
        h = h * _M & _MASK ^ k
    if rest := data[whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


def partition_of(key: str, partitions: int) -> int:
    """The key is the content's id, or the event's where that is NULL."""
    return (murmur2(key.encode()) & 0x7FFFFFFF) % partitions
