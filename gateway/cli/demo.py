"""`posturegate demo`: the whole loop on this machine, for people and (`--check`) for machines."""

import argparse
import asyncio
import os
import signal
import sys
import time

DEFAULT_PORT = 8080


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `demo`."""
    parser.add_argument(
        "--port", type=int, metavar="N", help=f"the gateway's port (default: {DEFAULT_PORT}, or a free one)"
    )
    parser.add_argument(
        "--check", action="store_true", help="drive the whole tour without a browser, print it, and end"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the demo until Ctrl-C, or its check. Returns 1 when a step of the check did not happen."""
    from gateway.demo.loopback import is_free  # noqa: PLC0415 - lazy: `--help` must not pay for it

    port: int | None = arguments.port
    if port is not None and not is_free(port):
        print(_Style().bad(f"port {port} is in use or not allowed: choose another with --port"))
        return 1
    if arguments.check:
        try:
            return asyncio.run(_check(port))
        except asyncio.CancelledError:
            return 128 + signal.SIGTERM
    return asyncio.run(_demo(port or (DEFAULT_PORT if is_free(DEFAULT_PORT) else None)))


async def _demo(port: int | None) -> int:
    from gateway.demo.world import WorldError, free_addresses, log_tail, running_world  # noqa: PLC0415 - lazy
    from gateway.tasks import spawn  # noqa: PLC0415

    style = _Style()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print("Starting the gateway, a provider, two apps and a sensor …", flush=True)
    try:
        async with running_world(free_addresses(port)) as world:
            _print_tour(world.addresses.app_url, world.addresses.wiki_url, world.addresses.simulator_url)
            print(f"  {style.soft(f'configuration  {world.config}')}")
            print(f"  {style.soft(f'gateway log    {world.log}')}", end="\n\n", flush=True)
            asked = spawn(stop.wait(), name="demo-stop")
            ended = spawn(world.gateway.wait(), name="demo-gateway")
            await asyncio.wait((asked, ended), return_when=asyncio.FIRST_COMPLETED)
            asked.cancel()
            if ended.done():
                print(style.bad(f"The gateway ended by itself:\n{log_tail(world.log)}"))
                return 1
            print("\nStopping …", flush=True)
    except WorldError as error:
        print(style.bad(str(error)))
        return 1
    return 0


async def _check(port: int | None) -> int:
    from gateway.demo.tour import StepFailedError, Tour  # noqa: PLC0415 - lazy: `--help` is quick
    from gateway.demo.world import WorldError, free_addresses, log_tail, running_world  # noqa: PLC0415

    style = _Style()

    def say_step(number: int, title: str) -> None:
        print(f"\n{style.strong(f'{number:>2}  {title}')}", flush=True)

    def say_fact(text: str, took_s: float | None) -> None:
        took = f"{took_s * 1000:9.1f} ms" if took_s is not None else ""
        print(f"    {style.good('✓')} {text:<74}{style.soft(took)}".rstrip(), flush=True)

    began = time.monotonic()
    if (this := asyncio.current_task()) is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    try:
        async with running_world(free_addresses(port)) as world:
            print(style.strong("The tour of the demo, without a browser"))
            print(style.soft(f"    everything is up after {time.monotonic() - began:.1f} s"))
            tour = Tour(world, say_step=say_step, say_fact=say_fact)
            try:
                await tour.run()
                incident = await tour.incident()
            except StepFailedError as error:
                print(f"    {style.bad('✗ this step did not happen')}")
                print(f"      expected  {error.expected}")
                print(f"      seen      {error.seen}")
                print(style.soft(f"\nThe end of the gateway's log:\n{log_tail(world.log)}"), flush=True)
                return 1
    except WorldError as error:
        print(style.bad(str(error)))
        return 1
    print(f"\n{style.strong('What the gateway itself measured (`posturegate incidents`)')}\n{incident}")
    window = f"{tour.exposure_window_s * 1000:.1f} ms"
    print(f"\n{style.good('Every step happened.')} Exposure window: {style.strong(window)}", flush=True)
    return 0


def _print_tour(app: str, wiki: str, simulator: str) -> None:
    style = _Style()
    steps = (
        ("Open the app, and sign in as Ana Torres", f"{app}/"),
        ("Beside it, open the sensor simulator", f"{simulator}/"),
        ("Press “Compromise this laptop” on ana-laptop", "the app tab is cut, and says how to fix it"),
        ("Press “Clean it”", "the app tab comes back by itself"),
        ("Open the other app: no second sign-in", f"{wiki}/"),
        ("Sign out, come back as Chloe Martin", "a contractor: reading only, no downloads"),
    )
    print(f"\n{style.strong('Posturegate demo')}\n")
    for number, (what, where) in enumerate(steps, 1):
        shown = style.link(where) if where.startswith("http") else style.soft(where)
        print(f"  {style.strong(str(number))}  {what:<46} {shown}")
    print(
        f"\n  {style.soft('A click is a password here: nothing of it is for production. Ctrl-C ends it.')}\n"
    )


class _Style:
    """Colours for a terminal; plain text elsewhere, and with `NO_COLOR`."""

    def __init__(self) -> None:
        self._is_on = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def _wrap(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._is_on else text

    def strong(self, text: str) -> str:
        return self._wrap("1", text)

    def soft(self, text: str) -> str:
        return self._wrap("2", text)

    def good(self, text: str) -> str:
        return self._wrap("32", text)

    def bad(self, text: str) -> str:
        return self._wrap("31", text)

    def link(self, text: str) -> str:
        return self._wrap("4;36", text)
