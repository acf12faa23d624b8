"""Every setting of the worker as checked, frozen values; ``config`` reads them from the outside.

Defaults are argued where they are not the original guide's.
"""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

MIB = 1024 * 1024


def _host(url: str | None) -> str | None:
    try:
        return urlsplit(url or "").netloc.rpartition("@")[2].lower()
    except ValueError:  # half an IPv6 address: nothing can be reached there
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsSettings:
    """How to reach AWS.

    Absent keys mean boto3's default chain: environment, profile, IRSA, Pod Identity, instance.
    """

    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    region: str = "us-east-1"
    endpoint_url: str | None = None
    """One endpoint for SQS and S3 alike (LocalStack, MinIO, an emulator); path-style S3."""
    allowed_buckets: tuple[str, ...] = ()
    """Buckets that may be read, ``*`` and ``?`` match; empty leaves it to the role's policy."""
    expected_bucket_owner: str | None = None
    """Account that must own every bucket; S3 refuses others (the confused deputy)."""

    boto3_endpoint_url: str | None = None
    """Where boto3 itself looks for S3; here only so that its URLs are known for those of S3."""

    @property
    def endpoint_hosts(self) -> frozenset[str]:
        """Hosts, with their ports, whose URLs name objects as those of Amazon S3 do."""
        urls = (self.endpoint_url, self.boto3_endpoint_url)
        return frozenset(host for host in map(_host, urls) if host)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """Where downloads go."""

    temp_dir: Path = Path("/tmp/deepfake_cache")  # noqa: S108 - the guide's documented default
    s3_cache_dir: Path = Path("/tmp/deepfake_s3_cache")  # noqa: S108 - likewise
    cleanup_temp_files: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggingSettings:
    """How the worker logs."""

    level: str = "INFO"
    log_to_console: bool = True
    format: str = "plain"
    """``plain`` (the guide's lines) or ``json``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaLimits:
    """What one media object may cost. Checked again while decoding, because headers lie."""

    max_bytes: int = 512 * MIB
    max_pixels: int = 50_000_000
    """Per frame. A 50 MP photograph is the largest a current phone makes."""
    max_duration_s: float = 3600.0
    max_frames_decoded: int = 200_000
    decode_timeout_s: float = 60.0
    decode_memory_bytes: int = 1024 * MIB
    """Address-space limit of the decoding child above what it uses when idle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackSettings:
    """How results are posted."""

    connect_timeout_s: float = 5.0
    read_timeout_s: float = 15.0
    """Standard Webhooks recommends 15 to 30 s."""
    attempts: int = 3
    """In-process attempts before the message goes back to the queue with a backoff."""
    retry_base_s: float = 0.5
    max_elapsed_s: float = 30.0
    allow_private: bool = False
    """Let callbacks reach loopback, private and link-local addresses."""
    allowed_networks: tuple[str, ...] = ()
    """Networks (CIDR) that callbacks may reach although private, as those of a cluster."""
    signing_secrets: tuple[str, ...] = field(default=(), repr=False)
    """Standard Webhooks secrets (``whsec_…``), newest first; empty leaves callbacks unsigned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerSettings:
    """How the consumer runs."""

    queue_url: str
    poll_interval_s: float = 5.0
    """Pause after a failed poll; an empty long poll is followed by the next at once."""
    max_messages: int = 10
    wait_time_s: int = 20
    visibility_timeout_s: int = 30
    """Short on purpose: leases are extended while there is progress; a crash costs this much."""
    run_once: bool = False
    dry_run: bool = False
    stats_interval: int = 100
    max_in_flight: int = 64
    """Messages held at once: enough to hide 200 ms of network at 200 messages a second."""
    prefetch_seconds: float = 10.0
    """Predicted compute held at most, so that the queue's depth stays honest."""
    max_bytes_in_flight: int = 2048 * MIB
    """Downloads on the disk at which no further one starts."""
    pollers: int = 2
    downloaders: int = 12
    decoders: int = 0
    """Decoding child processes; 0 means one for each core."""
    callback_workers: int = 24
    batch_units: int = 32
    """Most units (crops, windows) in one forward pass."""
    batch_wait_s: float = 0.004
    """How long an idle device waits for neighbours that are still being decoded."""
    device: str = "auto"
    """``cpu``, ``cuda``, ``cuda:N``, or ``auto``: the GPU if there is one."""
    torch_threads: int = 0
    """Threads of one forward pass; 0 means one for each core."""
    stall_timeout_s: float = 60.0
    """Work on a message that shows no progress for so long is stopped and the message released."""
    shutdown_grace_s: float = 30.0
    """From SIGTERM to exit; keep it under the pod's terminationGracePeriodSeconds."""
    dead_letter_queue_url: str | None = None
    """Overrides the queue's own redrive policy."""
    max_backoff_s: float = 900.0
    queue_wait_objective_s: float = 120.0
    """Messages that waited longer before their first receive are counted as late."""
    control_host: str = "0.0.0.0"  # noqa: S104 - kubelet, Prometheus and the operator come from outside
    control_port: int = 0
    """Port of /healthz, /readyz, /state, /drain, /resume and /metrics; 0 leaves the server off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a command needs."""

    aws: AwsSettings = field(default_factory=AwsSettings)
    data: DataSettings = field(default_factory=DataSettings)
    logging: LoggingSettings = field(default_factory=LoggingSettings)
    limits: MediaLimits = field(default_factory=MediaLimits)
    callback: CallbackSettings = field(default_factory=CallbackSettings)
    models_dir: Path | None = None
    """None means the models that ship with the package."""
    models_prefer: tuple[str, ...] = ()
    """Models that score their kind whatever others there are; one that is absent is an error."""
    video_audio: bool = True
    """Judge the sound of videos too, if a model for sound is loaded."""
