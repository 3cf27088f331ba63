"""What takes too long for every run: by hand, `python -m tests.scale.<name>`."""
