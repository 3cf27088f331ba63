"""Settings of the REST sink."""

from typing import Annotated

from pydantic import Field, SecretStr

from engagement_stream.settings.room import Room, url_of


class HttpSettings(Room):
    """The external REST system."""

    url: Annotated[SecretStr, url_of("https", "http")] | None = Field(
        None,
        validation_alias="EXTERNAL_API_URL",
        description="Where batches are POSTed. Empty: the embedded receiver of ./start.sh.",
    )
    secret: SecretStr = Field(
        SecretStr(""),
        validation_alias="EXTERNAL_API_SECRET",
        description="Standard Webhooks secret (whsec_...); empty: batches are not signed.",
    )
    token: SecretStr = Field(
        SecretStr(""),
        validation_alias="EXTERNAL_API_TOKEN",
        description="Sent as Authorization: Bearer ...; empty: no such header.",
    )
    batch_size: int = Field(
        100,
        validation_alias="BATCH_SIZE",
        ge=1,
        le=5000,
        description="Events per request to the REST system.",
    )
    timeout_s: float = Field(
        10.0,
        validation_alias="EXTERNAL_API_TIMEOUT_SECONDS",
        gt=0,
        le=300,
        description="How long one request may take.",
    )
    send_history: bool = Field(
        False,
        validation_alias="EXTERNAL_API_SEND_HISTORY",
        description="true: also send the events that the first copy found in the table.",
    )
