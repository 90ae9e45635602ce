"""`posturegate config`: print the JSON Schema, the reference, the OpenAPI document, or what is in force."""

import argparse

from gateway.cli import EXIT_INVALID, EXIT_OK, add_config_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `config`."""
    parser.add_argument(
        "what",
        choices=("show", "schema", "reference", "openapi"),
        help="show: the effective configuration, secrets hidden; schema: the JSON Schema for editors; "
        "reference: every key in Markdown; openapi: what sensors send and are answered, with all schemas",
    )
    parser.add_argument("--origin", action="store_true", help="with show: where each value came from")
    add_config_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print what was asked for. Returns 2 when the configuration is invalid."""
    match arguments.what:
        case "schema":
            return _schema()
        case "openapi":
            from gateway.apidoc.openapi import openapi_text  # noqa: PLC0415 - lazy: `--help` must not pay for it
            from gateway.config.sensors import installed  # noqa: PLC0415

            print(openapi_text(installed()), end="")
            return EXIT_OK
        case "reference":
            from gateway.config.reference import reference  # noqa: PLC0415 - lazy: `--help` must not pay for it

            print(reference(), end="")
            return EXIT_OK
        case _:
            return _show(arguments.config, with_origins=arguments.origin)


def _schema() -> int:
    from gateway.config.schema_json import schema_text  # noqa: PLC0415 - lazy: `--help` must not pay for it
    from gateway.config.sensors import installed  # noqa: PLC0415

    catalog = installed()
    print(schema_text({kind: catalog.sensor(kind).options_type for kind in catalog.kinds}), end="")
    return EXIT_OK


def _show(path: str, *, with_origins: bool) -> int:
    from gateway.cli.check import load_or_print  # noqa: PLC0415 - lazy: `--help` must not pay for it
    from gateway.config.show import show, show_origins  # noqa: PLC0415

    loaded = load_or_print(path)
    if loaded is None:
        return EXIT_INVALID
    print(show_origins(loaded) if with_origins else show(loaded), end="")
    return EXIT_OK
