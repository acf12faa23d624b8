"""Credentials as the user sees them: their source, masked, and whether AWS accepts them."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from detection_contract.user_messages import NO_CREDENTIALS
from detection_worker.config import Loaded
from detection_worker.settings import AwsSettings

VARIABLES: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
EXAMPLES: Final = """\
Examples:
  detection-worker predict s3://BUCKET/image.jpg
  detection-worker predict s3://BUCKET/video.mp4 --threshold 0.8 -o results.json
  detection-worker predict s3://BUCKET/audio.wav --config other_aws_config.json
  detection-worker consume --validate-queue --queue-url QUEUE_URL
  detection-worker consume --queue-url QUEUE_URL

Other ways to give credentials:
  export AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=... AWS_REGION=us-east-1
  aws configure                # a profile of the AWS command line
  an IAM role of the pod, the instance or the task; nothing to set up here"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Result of asking AWS about credentials.

    Attributes:
        outcome: ``absent``: there are none. ``unreachable``: AWS did not answer, so they are not
            checked.
        detail: The caller's ARN, or a human-readable reason.
    """

    outcome: Literal["valid", "refused", "absent", "unreachable"]
    detail: str


def check_with_sts(aws: AwsSettings) -> Check:
    """Ask STS who the caller is; that needs no permission, so a refusal means wrong keys."""
    # boto3 takes a while to import, and `--help` of three commands needs this module.
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    from detection_worker.aws_session import (  # noqa: PLC0415
        client,
        is_credentials_error,
        make_session,
    )

    try:
        session = make_session(aws)
        sts = client(session, "sts", aws, read_timeout_s=5.0, connect_timeout_s=3.0, attempts=1)
        try:
            return Check(outcome="valid", detail=str(sts.get_caller_identity()["Arn"]))
        finally:
            sts.close()
    except ClientError as exc:
        refused = is_credentials_error(exc)
        code = str(exc.response.get("Error", {}).get("Code", "unknown error"))
        return Check(outcome="refused" if refused else "unreachable", detail=code)
    except (BotoCoreError, OSError, ValueError) as exc:
        absent = is_credentials_error(exc)
        detail = str(exc).partition("\n")[0] if absent else type(exc).__name__
        return Check(outcome="absent" if absent else "unreachable", detail=detail)


def masked(value: str) -> str:
    """Return the first and last characters of an access key."""
    return f"{value[:4]}…{value[-4:]}" if len(value) >= 16 else "…"


def status_lines(loaded: Loaded, environ: Mapping[str, str]) -> list[str]:
    """Return where credentials would come from, without asking AWS."""
    aws = loaded.settings.aws
    return [
        f"Config file:  {_file_status(loaded.config_path)}",
        f"Environment:  {', '.join(v for v in VARIABLES if environ.get(v)) or 'no AWS keys'}",
        f"In use:       {_in_use(loaded, environ)}",
        f"Region:       {aws.region}{'' if loaded.region_chosen else ' (default)'}",
        *([f"Endpoint:     {aws.endpoint_url}"] if aws.endpoint_url else []),
    ]


def report(loaded: Loaded) -> int:
    """Print the status and whether AWS accepts the credentials; return the exit code."""
    print("\n".join(status_lines(loaded, os.environ)))
    check = check_with_sts(loaded.settings.aws)
    print(f"AWS says:     {sentence(check)}")
    if check.outcome == "absent":
        print(f"\n{NO_CREDENTIALS}")
    return 0 if check.outcome in ("valid", "unreachable") else 1


def sentence(check: Check) -> str:
    """Return the outcome of a check in one line."""
    return {
        "valid": f"valid, {check.detail}",
        "refused": f"not accepted ({check.detail}); correct the keys",
        "absent": f"nothing to check ({check.detail})",
        "unreachable": f"no answer ({check.detail}); not checked",
    }[check.outcome]


def _file_status(path: Path | None) -> str:
    if path is None:
        return "none (aws_config.json not found)"
    mode = stat.S_IMODE(path.stat().st_mode)
    open_to = "" if not mode & 0o077 else f" - others can read it: chmod 600 {path}"
    return f"{path} (mode {mode:04o}){open_to}"


def _in_use(loaded: Loaded, environ: Mapping[str, str]) -> str:
    aws = loaded.settings.aws
    if aws.access_key_id:
        token = ", session token" if aws.session_token else ""
        return f"access key {masked(aws.access_key_id)}, secret set{token}"
    if environ.get(VARIABLES[0]):
        return f"access key {masked(environ[VARIABLES[0]])} from the environment"
    return "boto3's default chain: profile, IRSA, Pod Identity, instance role"
