"""Messages a second: a sequential loop, a thread pool of it, this worker, the machine's limit.

One run, one machine, the same media, models, OpenMP settings and injected latency for all: a
strict local SQS, S3 and callback receiver in a process of its own answers S3 reads after 40 ms and
callbacks after 80 ms. Each contender is a process of its own too, so its CPU can be told: ms a
message, which does not depend on what else the machine does, stands beside each rate.

- ``sequential``: the loop of the original guide: receive, then for each message fetch, decode,
  score, post, delete.
- ``pools``: 2 to 32 threads that run that loop as people write it: boto3, requests, Pillow,
  torchvision's transforms, networks as they were saved, one message at a time on each thread. The
  best number counts. This is the pool that the worker has to beat: 1.7 times its rate on images,
  1.2 times on every other set.
- ``pools-ours``: the same threads, but with this project's decoding, outside its jail, and its
  folded networks: what is left is what batches, connections and fewer calls gain.
- ``litserve``: 32 threads of that loop in front of a LitServe server (a worker a core, batches of
  up to 32), if litserve is installed.
- ``worker``: ``detection-worker consume`` with its defaults; its CPU also by stage.
- ``with TLS``: the same, with SQS, S3 and the receiver behind TLS.
- ``limit``: decoding and scoring alone, files on the local disk, the worker's own decoders and
  batch size, nothing else: what the machine could do if network and bookkeeping were free.

The local services share the machine's cores; their CPU share is printed next to each rate.

``--destinations`` compares the worker with itself: with the callback alone, and with every
destination (``--results``, an SNS topic and an EventBridge bus beside the callback; in a row of
its own an SQS queue too). S3 writes then take 40 ms as well, publications 20 ms. The rows take
turns, and the median of each counts. ``--pin`` gives the worker a core of its own, so that its
rate is not the local services' either.

``--tracing`` compares the worker with itself without traces, with a tenth of them and with all.

    python benchmarks/worker_throughput.py                # five media sets, an hour
    python benchmarks/worker_throughput.py --sets mix --rows worker limit
    python benchmarks/worker_throughput.py --destinations
    python benchmarks/worker_throughput.py --destinations --pin
    python benchmarks/worker_throughput.py --tracing --sets images
    python benchmarks/worker_throughput.py --json
"""

import argparse
import json
import os
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from detection_testing.aws.faults import Fault
from detection_testing.aws.local_aws import LocalAws
from detection_worker.detectors.model_folder.listing import bundled_models_dir
from throughput import destinations, peers, tracing
from throughput.media import MAKERS
from throughput.processes import pinned

S3_LATENCY_S: Final = 0.040
CALLBACK_LATENCY_S: Final = 0.080
PUBLISH_LATENCY_S: Final = 0.020
TURNS: Final = 3
LATENCIES: Final = {
    "s3.GetObject": S3_LATENCY_S,
    "s3.PutObject": S3_LATENCY_S,
    "callback.*": CALLBACK_LATENCY_S,
    "sns.PublishBatch": PUBLISH_LATENCY_S,
    "events.PutEvents": PUBLISH_LATENCY_S,
}


def arguments() -> argparse.Namespace:
    """Return the checked options."""
    parser = argparse.ArgumentParser(description="Throughput of the worker against its peers.")
    parser.add_argument("--models-dir", type=Path, default=bundled_models_dir())
    parser.add_argument("--sets", nargs="*", choices=list(MAKERS), help="default: all")
    parser.add_argument(
        "--rows", nargs="*", choices=peers.ROWS, default=peers.ROWS, help="default: all"
    )
    parser.add_argument(
        "--destinations", action="store_true", help="compare the worker with and without them"
    )
    parser.add_argument(
        "--tracing", action="store_true", help="compare the worker with and without traces"
    )
    parser.add_argument(
        "--pin",
        action="store_true",
        help="with --destinations: a core for the worker, another for the local services",
    )
    parser.add_argument(
        "--pool-sizes",
        nargs="*",
        type=int,
        default=peers.POOL_SIZES,
        help="threads of the pools; default: 2 4 8 16 32",
    )
    parser.add_argument("--messages", type=int, help="default: 200 to 1500, by the set")
    parser.add_argument(
        "--turns",
        type=int,
        default=TURNS,
        help="runs of each row of --destinations, --tracing",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    if args.pin and not args.destinations:
        parser.error("--pin needs --destinations: the limit is that of the whole machine")
    args.sets = args.sets or (["images", "videos"] if args.destinations else list(MAKERS))
    return args


def main() -> int:
    """Run the media sets and print the tables."""
    args = arguments()
    cores = sorted(os.sched_getaffinity(0))
    own, theirs = (cores[0], cores[-1]) if args.pin else (None, None)
    if args.destinations:
        run = partial(destinations.compare, turns=args.turns, core=own)
    elif args.tracing:
        run = partial(tracing.compare, turns=args.turns)
    else:
        run = partial(peers.compare, only=tuple(args.rows), pool_sizes=args.pool_sizes)
    reports: dict[str, dict[str, object]] = {}
    with (
        tempfile.TemporaryDirectory() as name,
        pinned(theirs),
        LocalAws.in_process() as aws,
    ):
        for operation, seconds in LATENCIES.items():
            aws.inject(Fault(operation=operation, kind="latency", seconds=seconds))
        for set_name in args.sets:
            folder = Path(name) / set_name
            folder.mkdir()
            media = MAKERS[set_name](folder)
            media = replace(media, messages=args.messages or media.messages)
            reports[set_name] = run(aws, media, folder, args.models_dir)
    if args.json:
        print(json.dumps(reports))
        return 0
    show = destinations.show if args.destinations else tracing.show if args.tracing else peers.show
    for set_name, report in reports.items():
        show(set_name, report)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
