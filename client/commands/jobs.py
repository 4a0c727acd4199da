"""`truthtune job …`: watch the computation of a round, an audit or a reward model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from api_schemas.jobs import Job, JobKind, stages_of
from client.client import Truthtune
from client.commands.context import (
    AsJson,
    connect,
    console,
    print_many,
    print_one,
    print_place,
    write_file,
)
from client.commands.ids import JobId
from client.progress import JobProgress

app = typer.Typer(
    no_args_is_help=True, help="Jobs: what is computed for rounds, audits, reward models."
)


@app.command()
def watch(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Show a job until it has ended; exits with 1 unless it succeeded. --json: one event a line."""
    with connect(context) as client:
        if as_json:
            job = client.jobs.wait(job_id, lambda event: typer.echo(event.model_dump_json()))
        else:
            stages = [stage.name for stage in client.jobs.get(job_id).stages]
            with JobProgress(console(), stages=stages) as progress:
                job = client.jobs.wait(job_id, progress.show)
    _exit_unless_succeeded(job)


def follow(
    client: Truthtune,
    job_id: str,
    kind: JobKind,
    as_json: bool,
    names: Mapping[str, str] | None = None,
) -> None:
    """Wait for a job that the command has queued, and show it unless it prints JSON.

    The command ends with status 1, and says why, if the job came to nothing.
    """
    if as_json:
        job = client.jobs.wait(job_id)
    else:
        with JobProgress(console(), names, stages_of(kind)) as progress:
            job = client.jobs.wait(job_id, progress.show)
    _exit_unless_succeeded(job)


def _exit_unless_succeeded(job: Job) -> None:
    if job.status != "succeeded":
        reason = f": {job.error.message}" if job.error else ""
        typer.echo(f"truthtune: job {job.id} {job.status}{reason}", err=True)
        raise typer.Exit(1)


@app.command()
def show(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """A job's status and stages."""
    with connect(context) as client:
        print_one(client.jobs.get(job_id), as_json)


@app.command("list")
def list_jobs(context: typer.Context, as_json: AsJson = False) -> None:
    """Jobs, newest first."""
    with connect(context) as client:
        columns = ["id", "kind", "round_id", "status", "attempts", "created_at", "finished_at"]
        print_many(client.jobs.list(), columns, as_json)


@app.command()
def plot(
    context: typer.Context,
    job_id: JobId,
    out: Annotated[Path, typer.Option(help="The SVG file to write.")],
    as_json: AsJson = False,
) -> None:
    """Draw a training's reward against its distance from the initial model (operator)."""
    with connect(context) as client:
        drawing = client.jobs.plot(job_id)
    write_file(out, drawing)
    print_place(out, as_json, noun="plot", job_id=job_id)


@app.command()
def cancel(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Ask a job to stop (the operator; a group those of its own reward models)."""
    with connect(context) as client:
        print_one(client.jobs.cancel(job_id), as_json)


@app.command()
def retry(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Queue a failed or cancelled job again; finished stages are kept. Who may: see cancel."""
    with connect(context) as client:
        print_one(client.jobs.retry(job_id), as_json)
