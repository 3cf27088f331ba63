"""`python -m src.data_generator`: a door to `engagement generate`."""

from src import door

if __name__ == "__main__":
    door("data_generator")
