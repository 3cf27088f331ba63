"""`python -m engagement_stream.cli` is `engagement`."""

from engagement_stream.cli import main

if __name__ == "__main__":
    main()
