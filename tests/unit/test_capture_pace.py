"""What a person is told while the first copy runs."""

from engagement_stream.capture.first_copy import NO_PACE, Pace
from engagement_stream.cli.first_copy import told


def test_the_rate_is_of_this_process_and_the_rest_follows_from_it() -> None:
    """A copy that goes on after a crash does not count what the former process copied."""
    pace = Pace(1_000_000, now_s=10.0)
    details = pace.details(1_500_000, 4_000_000, now_s=20.0)
    assert details == {
        "copied_rows": 1_500_000,
        "estimated_rows": 4_000_000,
        "copy_rows_per_s": 50_000,
        "copy_left_s": 50,
    }
    assert told(details) == (
        "first copy: 1,500,000 of about 4,000,000 events (50,000/s, 0:50 left); live events flow meanwhile"
    )


def test_an_estimate_that_was_too_low_is_corrected() -> None:
    """Statistics are old, or there never were any."""
    details = Pace(0, 0.0).details(500, 0, now_s=1.0)
    assert (details["estimated_rows"], details["copy_left_s"]) == (500, 0)


def test_without_a_row_nothing_is_foretold() -> None:
    """Nor divided by."""
    details = Pace(0, 5.0).details(0, 1_000, now_s=5.0)
    assert details["copy_left_s"] is None
    assert told(details) == "first copy: 0 of about 1,000 events (0/s); live events flow meanwhile"
    assert NO_PACE.keys() == details.keys()
