"""Settings of the ledger's watch."""

from pydantic import Field

from engagement_stream.settings.room import Room


class VerifySettings(Room):
    """The ledger, which compares every place row by row."""

    every_s: float | None = Field(
        None,
        validation_alias="VERIFY_EVERY_SECONDS",
        ge=0,
        description="Seconds between two rounds of `verify --watch` beside the stages; 0: it does not run. Empty: 60 "
        "where `engagement up` has started all servers itself, else 0, since its first round reads everything.",
    )
