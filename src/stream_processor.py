"""`python -m src.stream_processor`: a door to `engagement stream` and `engagement backfill`."""

from src import door

if __name__ == "__main__":
    door("stream_processor")
