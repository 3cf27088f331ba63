"""BigQuery: credentials, dataset, table, views, and whether the account may do what the sink does."""

from typing import Any

from google.api_core import exceptions as foreign
from google.cloud import bigquery

from engagement_stream.doctor.examination import Examination
from engagement_stream.errors import ConfigurationError, EngagementError, Fatal
from engagement_stream.settings import BigQuerySettings, Settings
from engagement_stream.sinks.bigquery.client import rest_client, uses_emulator
from engagement_stream.sinks.bigquery.errors import FOREIGN, translated
from engagement_stream.sinks.bigquery.table import TABLE, VIEWS, missing_columns, table_name, view_sql

_TIMEOUT_S = 10.0
_ONCE: Any = None
"""The client's annotations do not know that None is allowed."""
_MADE_BY_THE_SINK = "engagement stage bigquery   (it makes what is missing when it opens; so does ./start.sh)"
_NEEDED = ("bigquery.tables.get", "bigquery.tables.getData", "bigquery.tables.update", "bigquery.tables.updateData")


def check(settings: Settings) -> Examination:
    """Nothing is written and nothing is billed."""
    of = Examination()
    if "bigquery" not in settings.stage.sinks:
        of.saw("not among ENABLED_SINKS")
        return of
    place = settings.bigquery
    try:
        emulated = uses_emulator(place)
        client = rest_client(place)
    except ConfigurationError as error:
        of.error(str(error), "BIGQUERY_REST_ENDPOINT and BIGQUERY_GRPC_ENDPOINT in .env")
        return of
    except Fatal as error:
        of.error(str(error), error.remedy)
        return of
    of.saw(f"{'emulator' if emulated else 'project'} {place.project}, dataset {place.dataset}")
    try:
        with translated("looking at the dataset"):
            try:
                client.get_dataset(f"{place.project}.{place.dataset}", timeout=_TIMEOUT_S, retry=_ONCE)
            except foreign.NotFound:
                of.note(f"there is no dataset {place.dataset} yet", _MADE_BY_THE_SINK)
            else:
                _check_table(of, client, place, emulated=emulated)
        if not emulated:
            _check_jobs(of, client, place)
    except Fatal as error:
        of.error(str(error), error.remedy)
    except EngagementError as error:
        of.error(str(error), "correct BIGQUERY_PROJECT_ID, the key or the endpoints in .env; is the network there?")
    finally:
        client.close()  # type: ignore[no-untyped-call]  # untyped upstream
    return of


def _check_table(of: Examination, client: bigquery.Client, place: BigQuerySettings, *, emulated: bool) -> None:
    try:
        table = client.get_table(table_name(place), timeout=_TIMEOUT_S, retry=_ONCE)
    except foreign.NotFound:
        of.note(f"there is no table {TABLE} yet", _MADE_BY_THE_SINK)
        return
    if lacking := missing_columns({field.name: field.field_type for field in table.schema}):
        of.warning(f"the table {TABLE} lacks {', '.join(lacking)}", _MADE_BY_THE_SINK)
    for name in VIEWS:
        try:
            view = client.get_table(f"{place.project}.{place.dataset}.{name}", timeout=_TIMEOUT_S, retry=_ONCE)
        except foreign.NotFound:
            of.warning(f"there is no view {name}", _MADE_BY_THE_SINK)
        else:
            if view.view_query != view_sql(place, name):
                of.note(f"the view {name} has another query than ours", _MADE_BY_THE_SINK)
    if not emulated:  # an emulator allows everything, and has no such question
        allowed = client.test_iam_permissions(table, _NEEDED, timeout=_TIMEOUT_S, retry=_ONCE)
        if refused := sorted(set(_NEEDED) - set(allowed.get("permissions", ()))):
            of.error(
                f"the account lacks {', '.join(refused)} on the table",
                f"gcloud projects add-iam-policy-binding {place.project} --member serviceAccount:<account> "
                "--role roles/bigquery.dataEditor",
            )


def _check_jobs(of: Examination, client: bigquery.Client, place: BigQuerySettings) -> None:
    """Views and recovery ask by query; a dry run costs nothing."""
    try:
        config = bigquery.QueryJobConfig(dry_run=True, use_query_cache=False)
        client.query("SELECT 1", job_config=config, timeout=_TIMEOUT_S, retry=_ONCE, job_retry=None)
    except foreign.Forbidden:
        of.error(
            f"the account may not run queries in {place.project}",
            f"gcloud projects add-iam-policy-binding {place.project} --member serviceAccount:<account> "
            "--role roles/bigquery.jobUser",
        )
    except FOREIGN as error:
        of.error(
            f"a query cannot be asked: {type(error).__name__}", "is the network there? BIGQUERY_PROJECT_ID in .env"
        )
