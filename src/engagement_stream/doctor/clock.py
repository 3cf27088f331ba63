"""Clocks: latencies and time windows compare moments that different machines told. Pure."""

from engagement_stream.doctor.examination import Examination

_TOLERATED_S = 0.25


def skew_s(before_s: float, theirs_s: float, after_s: float) -> float:
    """How far their clock is ahead of ours (behind: negative); 0 when it lies between our two looks."""
    if before_s <= theirs_s <= after_s:
        return 0.0
    return theirs_s - after_s if theirs_s > after_s else theirs_s - before_s


def judge_clock(of: Examination, whose: str, ahead_s: float) -> None:
    """A finding where the difference would show in the figures."""
    if abs(ahead_s) <= _TOLERATED_S:
        of.saw("clocks agree")
        return
    where = "ahead of" if ahead_s > 0 else "behind"
    of.warning(
        f"the clock of {whose} is {abs(ahead_s):.2f} s {where} this machine's: latencies are shown wrong by as much",
        "sudo timedatectl set-ntp true   (on both machines)",
    )
