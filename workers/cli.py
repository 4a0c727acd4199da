"""The commands of the compute plane. Whatever is heavy is imported by the command that needs it."""

from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Base models.")
base_model = typer.Typer(no_args_is_help=True, help="Base models that rounds start from.")
app.add_typer(base_model, name="base-model")


@base_model.command("prepare")
def prepare_base_model(
    name: Annotated[
        str,
        typer.Argument(
            help="`smollm2-135m-instruct`, a hub id, a folder in Hugging Face format, or a GGUF "
            "file, which is converted once."
        ),
    ],
) -> None:
    """Have a base model at hand and print its folder in Hugging Face format."""
    from workers.base_models import prepare

    typer.echo(prepare(name))


if __name__ == "__main__":
    app()
