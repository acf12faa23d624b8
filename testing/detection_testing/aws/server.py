"""Runs the local services: inside a thread of this process, or as a process of their own."""

import argparse
import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from pathlib import Path

from detection_testing.aws.admin import PREFIX as ADMIN_PREFIX
from detection_testing.aws.admin import AdminHttp
from detection_testing.aws.services import LocalOptions, LocalServices
from detection_testing.aws.sqs.values import Disorder
from detection_testing.http.server import LOOPBACK, Handler, HttpServer
from detection_testing.http.values import Request, Response

_PARENT_CHECK_S = 1.0


async def serve(
    options: LocalOptions, *, port: int, ready: Callable[[int], None], stop: asyncio.Event
) -> None:
    """Serve on ``port`` (0 for a free one) until ``stop``; calls ``ready`` with the port."""
    server = HttpServer(_handler(options))
    ready(await server.start(port))
    try:
        await stop.wait()
    finally:
        await server.close()


class ServerThread:
    """The local services in a thread with an event loop of its own.

    Args:
        options: How they behave.
    """

    def __init__(self, options: LocalOptions) -> None:
        self._options = options
        self._port: Future[int] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="local-aws", daemon=True)

    def start(self) -> int:
        """Start; return the port."""
        self._thread.start()
        return self._port.result()

    def stop(self) -> None:
        """Stop and wait until every connection is closed; harmless when stopped."""
        if not self._thread.is_alive():
            return
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as exc:  # for the thread that waits for the port
            if self._port.done():
                raise
            self._port.set_exception(exc)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        await serve(self._options, port=0, ready=self._port.set_result, stop=self._stop)


def arguments_of(options: LocalOptions) -> list[str]:
    """Return the command-line arguments that ``main`` reads back as ``options``."""
    disorder = options.disorder
    arguments = ["--seed", str(options.seed), "--disorder-seed", str(disorder.seed)]
    arguments += ["--shuffle-window", str(disorder.window)]
    arguments += ["--duplicate-rate", str(disorder.duplicate_rate)]
    arguments += ["--max-in-flight", str(disorder.max_in_flight)]
    if not options.require_credentials:
        arguments.append("--allow-unsigned")
    if not options.orphan_on_disconnect:
        arguments.append("--keep-on-disconnect")
    if options.s3_folder is not None:
        arguments += ["--s3-folder", str(options.s3_folder)]
    if options.sts_expiry_s is not None:
        arguments += ["--sts-expiry-s", str(options.sts_expiry_s)]
    if options.web_identity_token_file is not None:
        arguments += ["--web-identity-token-file", str(options.web_identity_token_file)]
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; the first line printed is the endpoint, in JSON."""
    parsed = _parser().parse_args(argv)
    options = LocalOptions(
        require_credentials=not parsed.allow_unsigned,
        orphan_on_disconnect=not parsed.keep_on_disconnect,
        disorder=Disorder(
            seed=parsed.disorder_seed,
            window=parsed.shuffle_window,
            duplicate_rate=parsed.duplicate_rate,
            max_in_flight=parsed.max_in_flight,
        ),
        s3_folder=parsed.s3_folder,
        sts_expiry_s=parsed.sts_expiry_s,
        web_identity_token_file=parsed.web_identity_token_file,
        seed=parsed.seed,
    )
    asyncio.run(_run_process(options, port=parsed.port, tied=parsed.with_parent))
    return 0


def _handler(options: LocalOptions) -> Handler:
    services = LocalServices(options)
    admin = AdminHttp(services)

    def handle(request: Request) -> Response | Awaitable[Response]:
        if request.path.startswith(ADMIN_PREFIX):
            return admin.handle(request)
        return services.handle(request)

    return handle


async def _run_process(options: LocalOptions, *, port: int, tied: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    watch = asyncio.create_task(_watch_parent(stop)) if tied else None
    await serve(options, port=port, ready=_announce, stop=stop)
    if watch is not None:
        watch.cancel()


async def _watch_parent(stop: asyncio.Event) -> None:
    # The kernel gives an orphan another parent. A check beats PR_SET_PDEATHSIG, which fires when
    # the parent's thread ends, and the end of a pipe, which the parent's other children hold open.
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110 - nobody tells a process of its new parent
        await asyncio.sleep(_PARENT_CHECK_S)
    stop.set()


def _announce(port: int) -> None:
    line = json.dumps({"endpoint_url": f"http://{LOOPBACK}:{port}", "pid": os.getpid()})
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m detection_testing.aws.local_aws", description=main.__doc__
    )
    add = parser.add_argument
    add("--port", type=int, default=0, help="TCP port; 0 picks a free one")
    add("--s3-folder", type=Path, help="serve FOLDER/BUCKET/KEY as objects too")
    add("--allow-unsigned", action="store_true", help="accept requests without a known access key")
    add("--keep-on-disconnect", action="store_true", help="a disconnected client receives nothing")
    add(
        "--shuffle-window", type=int, default=0, help="deliver up to this many places out of order"
    )
    add("--duplicate-rate", type=float, default=0.0, help="share of deliveries made twice")
    add("--max-in-flight", type=int, default=Disorder().max_in_flight, help="OverLimit beyond it")
    add("--disorder-seed", type=int, default=0, help="seed of order and duplicates")
    add("--seed", type=int, default=0, help="seed of the faults")
    add("--sts-expiry-s", type=float, help="lifetime of issued credentials")
    add("--web-identity-token-file", type=Path, help="the only token that STS accepts")
    add("--with-parent", action="store_true", help="end when the parent process ends")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
