"""Every setting of the worker as frozen values, with its range; ``config`` reads and checks them.

Defaults are argued where they are not the original guide's. The annotations are
``annotated_types``'s, which pydantic understands: the constructors check nothing and read no
environment, and the process that decodes user media imports no pydantic.
"""

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from annotated_types import Interval, Predicate, doc

from detection_contract.aws.arns import is_destination_arn
from detection_contract.aws.s3_prefixes import is_s3_prefix
from detection_contract.callback_urls import is_callback_url
from detection_contract.process.emf import is_namespace
from detection_contract.result_keys import ALLOWED_TEMPLATE, DEFAULT_TEMPLATE, is_key_template
from detection_contract.signing import decode_secret

MIB: Final = 1024 * 1024
_TIB: Final = 1024 * 1024 * MIB
_DAY_S: Final = 86_400
_LEASE_S: Final = 43_200
"""Longest visibility timeout that SQS takes."""


def is_http_url(text: str) -> bool:
    """Return whether ``text`` is an http or https URL with a host."""
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # half an IPv6 address, or a port beyond 65535
        return False


def is_network(text: str) -> bool:
    """Return whether ``text`` is an address range such as 10.0.0.0/8, without host bits."""
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def is_signing_secret(text: str) -> bool:
    """Return whether ``text`` is a secret of Standard Webhooks."""
    try:
        decode_secret(text)
    except ValueError:
        return False
    return True


def is_account_id(text: str) -> bool:
    """Return whether ``text`` is the number of an AWS account."""
    return len(text) == 12 and text.isascii() and text.isdigit()


HttpUrl = Annotated[str, Predicate(is_http_url), doc("an http or https URL")]
CallbackUrl = Annotated[
    str,
    Predicate(is_callback_url),
    doc("an http or https URL without user information, as in messages"),
]
Network = Annotated[str, Predicate(is_network)]
SigningSecret = Annotated[str, Predicate(is_signing_secret)]
S3Prefix = Annotated[
    str, Predicate(is_s3_prefix), doc("a bucket and a prefix, such as s3://bucket/results/")
]
AccountId = Annotated[str, Predicate(is_account_id), doc("an AWS account, twelve digits")]
KeyTemplate = Annotated[str, Predicate(is_key_template), doc(ALLOWED_TEMPLATE)]
DestinationArn = Annotated[str, Predicate(is_destination_arn)]
MetricNamespace = Annotated[
    str,
    Predicate(is_namespace),
    doc("letters, digits and . - _ / # :, at most 255, not beginning with AWS/"),
]
_DESTINATIONS: Final = doc(
    "ARNs of SNS topics, SQS queues or EventBridge buses, with commas between"
)
PrecisionChoice = Literal["auto", "float32", "float16", "bfloat16"]
LogLevel = Literal["DEBUG", "INFO", "WARN", "WARNING", "ERROR", "CRITICAL"]


def _host(url: str | None) -> str | None:
    try:
        return urlsplit(url or "").netloc.rpartition("@")[2].lower()
    except ValueError:  # half an IPv6 address: nothing can be reached there
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsSettings:
    """Credentials, region and endpoint of AWS.

    Without keys boto3's default chain applies: environment, profile, IRSA, Pod Identity, instance.
    """

    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    region: str = "us-east-1"
    endpoint_url: HttpUrl | None = None
    """One endpoint for SQS and S3 alike (LocalStack, MinIO, an emulator); path-style S3."""
    allowed_buckets: tuple[str, ...] = ()
    """Buckets that may be read, with the wildcards ``*`` and ``?``; empty allows all."""
    expected_bucket_owner: str | None = None
    """AWS account that must own every bucket; S3 refuses others (the confused deputy problem)."""

    boto3_endpoint_url: HttpUrl | None = None
    """Endpoint that boto3 uses for S3; known here so that URLs on it are accepted as S3 URLs."""

    @property
    def endpoint_hosts(self) -> frozenset[str]:
        """Hosts, with their ports, whose URLs are accepted as S3 URLs."""
        urls = (self.endpoint_url, self.boto3_endpoint_url)
        return frozenset(host for host in map(_host, urls) if host)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """Where downloads go."""

    temp_dir: Path = Path("/tmp/deepfake_cache")  # noqa: S108 - the guide's documented default
    s3_cache_dir: Path = Path("/tmp/deepfake_s3_cache")  # noqa: S108 - the guide's default too
    cleanup_temp_files: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggingSettings:
    """How the worker logs."""

    level: LogLevel = "INFO"
    log_to_console: bool = True
    format: Literal["plain", "json"] = "plain"
    """``plain`` (the guide's lines) or ``json``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaLimits:
    """Limits on one media file; checked again while decoding, because headers can be wrong."""

    # The largest S3 object has 5 TiB.
    max_bytes: Annotated[int, Interval(ge=1, le=5 * _TIB)] = 512 * MIB
    max_pixels: Annotated[int, Interval(ge=1, le=1_000_000_000)] = 50_000_000
    """Pixels of one frame; the largest photographs of current phones have 50 megapixels."""
    max_duration_s: Annotated[float, Interval(ge=0.1, le=_DAY_S)] = 3600.0
    max_frames_decoded: Annotated[int, Interval(ge=1, le=100_000_000)] = 200_000
    decode_timeout_s: Annotated[float, Interval(ge=0.1, le=_LEASE_S)] = 60.0
    decode_memory_bytes: Annotated[int, Interval(ge=64 * MIB, le=_TIB)] = 1024 * MIB
    """Address space that the decoding child may use beyond what it uses when idle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisSettings:
    """How much of a long file is looked at, where None leaves it to each model; how exactly."""

    # More frames are smaller where they are kept whole, and no face is found in a tiny one.
    frames: Annotated[int, Interval(ge=1, le=256)] | None = None
    """Most frames of a video; see ``core.sampling.looked_at``."""
    # 1,024 windows of 4 s are 262 MB while they wait for the device.
    windows: Annotated[int, Interval(ge=1, le=1024)] | None = None
    """Most windows of sound."""
    precision: PrecisionChoice = "float32"
    """What the networks compute with. ``auto``: half precision on a GPU for each model whose
    scores of a golden set stay within 0.01, with the same labels, and float32 otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenanceSettings:
    """Whose statements about the making of a file are trusted."""

    trust_list: Path | None = None
    """PEM file with the certificates of issuers whose C2PA signatures are trusted."""
    trust_declared: bool = False
    """What they declare as made or edited by AI is ``fake``, whatever its score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackSettings:
    """Timeouts, retries, allowed addresses and signatures of callbacks."""

    url: CallbackUrl | None = None
    """Callback URL of messages that name none, such as S3 events."""
    connect_timeout_s: Annotated[float, Interval(ge=0.1, le=300)] = 5.0
    read_timeout_s: Annotated[float, Interval(ge=0.1, le=300)] = 15.0
    """Standard Webhooks recommends 15 to 30 s."""
    attempts: Annotated[int, Interval(ge=1, le=20)] = 3
    """In-process attempts before the message goes back to the queue with a backoff."""
    retry_base_s: Annotated[float, Interval(ge=0, le=60)] = 0.5
    max_elapsed_s: Annotated[float, Interval(ge=0, le=3600)] = 30.0
    allow_private: bool = False
    """Let callbacks reach loopback, private and link-local addresses."""
    allowed_networks: Annotated[
        tuple[Network, ...], doc("address ranges like 10.0.0.0/8, with commas between them")
    ] = ()
    """Private networks (CIDR) that callbacks may reach, such as those of a cluster."""
    signing_secrets: Annotated[
        tuple[SigningSecret, ...],
        doc("secrets like whsec_<base64 of 24 to 64 bytes>, newest first"),
    ] = field(default=(), repr=False)
    """Standard Webhooks secrets (``whsec_…``), newest first; empty leaves callbacks unsigned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultSettings:
    """Where results go besides the callback.

    Never set by a message: a sender could otherwise make the worker's
    AWS role write wherever that role may.
    """

    results_url: S3Prefix | None = None
    """S3 prefix under which every envelope is stored before its message is deleted."""
    results_key: KeyTemplate = DEFAULT_TEMPLATE
    """Key below the prefix; ``{date}`` (YYYY/MM/DD of the sending, UTC), ``{request_id}``,
    ``{message_id}``, ``{index}``, ``{bucket}`` and ``{key}`` (of the media) are filled in."""
    results_pages: bool = False
    """Store an HTML page beside every envelope, for readers; needs keys that end with .json."""
    results_kms_key_id: str | None = None
    """KMS key of stored envelopes (SSE-KMS); None leaves encryption to the bucket."""
    results_bucket_owner: AccountId | None = None
    """AWS account that must own the buckets of results and cache."""
    on_success: Annotated[tuple[DestinationArn, ...], _DESTINATIONS] = ()
    """Destinations that are notified of every finished result."""
    on_failure: Annotated[tuple[DestinationArn, ...], _DESTINATIONS] = ()
    """Destinations that are notified of every job that failed for good."""
    cache_url: S3Prefix | None = None
    """S3 prefix of the cache of scores that all workers share."""
    outbox_url: HttpUrl | None = None
    """SQS queue of callbacks that failed for now; they are retried from there for days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerSettings:
    """Settings of ``consume``: queue, concurrency, batching, shutdown, control server."""

    queue_url: HttpUrl
    poll_interval_s: Annotated[float, Interval(ge=0, le=3600)] = 5.0
    """Pause after a failed poll; after an empty long poll the next begins at once."""
    # SQS hands out no more at once.
    max_messages: Annotated[int, Interval(ge=1, le=10)] = 10
    # SQS holds a poll open no longer.
    wait_time_s: Annotated[int, Interval(ge=0, le=20)] = 20
    # A lease is looked at once a second and needs two chances to be extended.
    visibility_timeout_s: Annotated[int, Interval(ge=3, le=_LEASE_S)] = 30
    """Short, because it is extended while there is progress: it is the delay after a crash."""
    run_once: bool = False
    dry_run: bool = False
    stats_interval: Annotated[int, Interval(ge=0, le=1_000_000_000)] = 100
    # SQS hands out 120,000 unacknowledged messages.
    max_in_flight: Annotated[int, Interval(ge=1, le=100_000)] = 128
    """Messages held at once: enough to hide 200 ms of network at 200 messages a second."""
    prefetch_seconds: Annotated[float, Interval(ge=0.1, le=3600)] = 10.0
    """Most predicted seconds of work held, so that waiting messages stay visible in the queue."""
    max_bytes_in_flight: Annotated[int, Interval(ge=MIB, le=_TIB)] = 2048 * MIB
    """Downloaded bytes on the disk at which no further download starts."""
    pollers: Annotated[int, Interval(ge=1, le=32)] = 2
    downloaders: Annotated[int, Interval(ge=1, le=256)] = 12
    decoders: Annotated[int, Interval(ge=0, le=256)] = 0
    """Decoding child processes; 0 means one for each core."""
    callback_workers: Annotated[int, Interval(ge=1, le=1024)] = 24
    feeders: Annotated[int, Interval(ge=0, le=32)] | None = None
    """Processes that receive, download, decode and deliver for the one that owns the device; 0
    does it all in one process, None chooses by cores and device."""
    batch_units: Annotated[int, Interval(ge=0, le=4096)] = 0
    """Most units (crops, windows) in one forward pass; 0 means 32 on the CPU, and on a GPU what
    its measured times and free memory ask for."""
    batch_wait_s: Annotated[float, Interval(ge=0, le=10)] = 0.004
    """Seconds that an idle device waits for units that are still being decoded."""
    device: str = "auto"
    """``cpu``, ``cuda``, ``cuda:N``, or ``auto``: the GPU if there is one."""
    torch_threads: Annotated[int, Interval(ge=0, le=256)] = 0
    """Threads of one forward pass; 0 means one for each core in a long pass, and 1 in a short one,
    where more would lose."""
    stall_timeout_s: Annotated[float, Interval(ge=1, le=_LEASE_S)] = 60.0
    """Seconds without progress after which work on a message is stopped and it is released."""
    shutdown_grace_s: Annotated[float, Interval(ge=0, le=_LEASE_S)] = 30.0
    """Seconds from SIGTERM to exit; keep it below the pod's terminationGracePeriodSeconds."""
    dead_letter_queue_url: HttpUrl | None = None
    """Dead-letter queue to use instead of that of the queue's redrive policy."""
    max_backoff_s: Annotated[float, Interval(ge=0, le=_LEASE_S)] = 900.0
    # SQS keeps messages no longer.
    queue_wait_objective_s: Annotated[float, Interval(ge=0, le=14 * _DAY_S)] = 120.0
    """Seconds; messages that waited longer before their first receive count as late."""
    control_host: str = "0.0.0.0"  # noqa: S104 - kubelet, Prometheus and the operator come from outside
    control_port: Annotated[int, Interval(ge=0, le=65_535)] = 0
    """Port of /healthz, /readyz, /state, /drain, /resume and /metrics; 0 leaves the server off."""
    emf_namespace: MetricNamespace | None = None
    """CloudWatch namespace of metrics written to standard output every minute; None for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a command needs."""

    aws: AwsSettings = field(default_factory=AwsSettings)
    data: DataSettings = field(default_factory=DataSettings)
    logging: LoggingSettings = field(default_factory=LoggingSettings)
    limits: MediaLimits = field(default_factory=MediaLimits)
    analysis: AnalysisSettings = field(default_factory=AnalysisSettings)
    provenance: ProvenanceSettings = field(default_factory=ProvenanceSettings)
    callback: CallbackSettings = field(default_factory=CallbackSettings)
    results: ResultSettings = field(default_factory=ResultSettings)
    models_dir: Path | None = None
    """None means the models that ship with the package."""
    models_prefer: tuple[str, ...] = ()
    """Models to use first for their media kind; a name that does not exist is an error."""
    video_audio: bool = True
    """Also analyse the sound of videos, if an audio model is loaded."""
