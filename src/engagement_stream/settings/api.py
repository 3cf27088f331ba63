"""Settings of the monitoring API."""

from pydantic import Field, SecretStr

from engagement_stream.settings.room import Room


class ApiSettings(Room):
    """The monitoring API, and how it finds the stages."""

    host: str = Field(
        "127.0.0.1",
        validation_alias="API_HOST",
        description="Address to listen on; 0.0.0.0 for every interface.",
    )
    port: int = Field(8080, validation_alias="API_PORT", ge=1, le=65535, description="Port of the API.")
    token: SecretStr = Field(
        SecretStr(""),
        validation_alias="API_TOKEN",
        description="Bearer token for what changes something or shows payloads; empty: only this machine may.",
    )
    stage_endpoints: str = Field(
        "",
        validation_alias="STAGE_ENDPOINTS",
        description="name=http://host:port,... of the stages; set by the supervisor.",
    )

    def stages(self) -> dict[str, str]:
        """Name of each stage process -> base URL of its status server."""
        pairs = (item.split("=", 1) for item in self.stage_endpoints.split(",") if "=" in item)
        return {name.strip(): url.strip() for name, url in pairs}
