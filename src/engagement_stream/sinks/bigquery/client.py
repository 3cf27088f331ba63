"""Ways to BigQuery: REST and the Storage Write API, the real service or an emulator by the same code.

The real service is asked with the service account key of BIGQUERY_CREDENTIALS where that file exists, else with
application default credentials. Endpoints name an emulator: no TLS, no credentials.
"""

from typing import Any

import google.auth
import google.auth.exceptions
import grpc
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1.services.big_query_write import BigQueryWriteClient
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import BigQueryWriteGrpcTransport
from google.oauth2 import service_account

from engagement_stream.errors import ConfigurationError, Fatal
from engagement_stream.settings import BigQuerySettings

_SCOPES = ("https://www.googleapis.com/auth/bigquery",)
_CHANNEL_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # a new channel is a new connection, whatever became of the old one
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),  # the runner backs off; a healed network is seen soon
    ("grpc.enable_retries", 0),  # who sends again is decided here, never behind our back
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
)


def uses_emulator(settings: BigQuerySettings) -> bool:
    """Whether the endpoints are set; raises ConfigurationError when only one of them is."""
    if bool(settings.rest_endpoint) != bool(settings.grpc_endpoint):
        raise ConfigurationError(
            "BIGQUERY_REST_ENDPOINT and BIGQUERY_GRPC_ENDPOINT belong together: set both (an emulator) or neither."
        )
    return bool(settings.rest_endpoint)


def rest_client(settings: BigQuerySettings) -> bigquery.Client:
    """For tables, views and queries; close it after use. Raises Fatal without usable credentials."""
    if uses_emulator(settings):
        return bigquery.Client(
            project=settings.project,
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]  # google-auth is untyped
            client_options=ClientOptions(api_endpoint=settings.rest_endpoint),
        )
    return bigquery.Client(project=settings.project, credentials=_credentials(settings))


class WriteChannel:
    """One gRPC channel to the Storage Write API and the generated client on it."""

    def __init__(self, settings: BigQuerySettings) -> None:
        if uses_emulator(settings):
            self._channel = grpc.insecure_channel(settings.grpc_endpoint, options=_CHANNEL_OPTIONS)
        else:
            self._channel = BigQueryWriteGrpcTransport.create_channel(
                BigQueryWriteClient.DEFAULT_ENDPOINT,
                credentials=_credentials(settings),
                options=[*_CHANNEL_OPTIONS, ("grpc.keepalive_time_ms", 60_000)],
            )
        self.client = BigQueryWriteClient(transport=BigQueryWriteGrpcTransport(channel=self._channel))

    def append_rows(self, requests: Any, stream: str) -> Any:
        """Start an AppendRows call; returns at once.

        The generated method of that name waits for the first answer and retries by itself; what lies under it does
        neither. The header routes the call to the stream's region.
        """
        call: Any = self.client.transport.append_rows
        return call(requests, metadata=(("x-goog-request-params", f"write_stream={stream}"),))

    def close(self) -> None:
        """Cancels whatever is under way."""
        self._channel.close()


def _credentials(settings: BigQuerySettings) -> Any:
    key = settings.credentials
    try:
        if key.is_file():
            return service_account.Credentials.from_service_account_file(  # type: ignore[no-untyped-call]  # as above
                str(key), scopes=_SCOPES
            )
        return google.auth.default(scopes=_SCOPES)[0]
    except google.auth.exceptions.DefaultCredentialsError as error:
        raise Fatal(
            f"there are no credentials for BigQuery: {key} does not exist and there are no application default ones",
            remedy=f"put a service account key at {key} (BIGQUERY_CREDENTIALS), or run "
            "`gcloud auth application-default login`, or leave BigQuery out with ENABLED_SINKS=redis,http",
        ) from error
    except (ValueError, OSError, google.auth.exceptions.GoogleAuthError) as error:
        raise Fatal(
            f"{key} is not a usable service account key: {type(error).__name__}",
            remedy="download the key again (IAM, Service accounts, Keys, JSON) or correct BIGQUERY_CREDENTIALS",
        ) from error
