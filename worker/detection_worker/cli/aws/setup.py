"""``setup-aws``: enter, check and save AWS credentials in a file that only you can read."""

import argparse
import os
import re
from pathlib import Path
from typing import Final

from detection_worker.cli.aws import credentials
from detection_worker.cli.command import Command
from detection_worker.cli.console import ask, ask_secret, confirm
from detection_worker.cli.files import PRIVATE, check_writable, write_json
from detection_worker.cli.options import add_common, load
from detection_worker.config.file import DEFAULT_NAME, read_config_file
from detection_worker.config.table import rows_of
from detection_worker.config.values import parse
from detection_worker.errors import UsageError
from detection_worker.settings import AwsSettings

_KEY_ID: Final = re.compile(r"[A-Za-z0-9]{16,128}")
_REGION: Final = re.compile(r"[a-z]{2,}(-[a-z]+)+-\d")
TEMPORARY: Final = "ASIA"
"""Prefix of temporary access keys, which need their session token."""


class SetupAws:
    """The command."""

    name: Final = "setup-aws"
    help: Final = "enter, check and save AWS credentials"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add its arguments."""
        parser.add_argument("--status", action="store_true", help="show what is set, and stop")
        parser.add_argument("--show-examples", action="store_true", help="show them, and stop")
        parser.add_argument("--no-check", action="store_true", help="do not ask AWS")
        parser.add_argument(
            "--yes", "-y", action="store_true", help="replace an existing file, ask nothing"
        )
        add_common(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Show the status, or ask for credentials, check and save them."""
        if args.show_examples:
            print(credentials.EXAMPLES)
            return 0
        if args.status:
            return credentials.report(load(args))
        return _set_up(args)


def _set_up(args: argparse.Namespace) -> int:
    path = Path.cwd() / Path(args.config or DEFAULT_NAME).expanduser()
    check_writable(path)
    sections = _kept_sections(path, args)
    if sections is None:
        print("Nothing was changed.")
        return 1
    aws = _entered(args)
    if not args.no_check and not _accepted(aws, args):
        print("Nothing was saved.")
        return 1
    write_json(path, {"aws": _section(aws), **sections}, mode=PRIVATE)
    key = credentials.masked(aws.access_key_id or "")
    print(f"Saved {path}, readable by you alone: access key {key}, region {aws.region}.")
    print(f"\n{credentials.EXAMPLES}")
    return 0


def _kept_sections(path: Path, args: argparse.Namespace) -> dict[str, object] | None:
    """Return the other sections of the file that is there, or None to leave it alone."""
    if not path.exists():
        return {}
    if not args.yes and not confirm(f"{path} exists. Replace its credentials?", default=False):
        return None
    kept: dict[str, object] = {}
    for (group, key), value in read_config_file(path, required=True).values.items():
        if group != "aws":
            section = kept.setdefault(group, {})
            assert isinstance(section, dict)  # noqa: S101 - made in the line above
            section[key] = str(value) if isinstance(value, Path) else value
    return kept


def _entered(args: argparse.Namespace) -> AwsSettings:
    key_id, secret = args.aws_access_key_id, args.aws_secret_access_key
    token, region = args.aws_session_token, args.aws_region
    if args.yes and not (key_id and secret):
        raise UsageError(
            "Nothing to save\nWith --yes give --aws-access-key-id and --aws-secret-access-key."
        )
    if not args.yes:
        key_id = key_id or ask("AWS access key id", check=_key_id_problem)
        secret = secret or _needed_secret("AWS secret access key")
        if token is None and key_id.startswith(TEMPORARY):
            token = _needed_secret("AWS session token")
        region = region or ask("AWS region", default="us-east-1", check=_region_problem)
    problem = _key_id_problem(key_id) or _region_problem(region or "us-east-1")
    if problem is None and key_id.startswith(TEMPORARY) and not token:
        problem = "A temporary key (ASIA…) needs its session token."
    if problem is not None:
        raise UsageError(f"{problem}\nCorrect it and try again.")
    return AwsSettings(
        access_key_id=key_id,
        secret_access_key=secret,
        session_token=token,
        region=region or "us-east-1",
        endpoint_url=_endpoint(args),
    )


def _endpoint(args: argparse.Namespace) -> str | None:
    # Not by load(): the file about to be replaced must not stop its own replacement.
    row = next(r for r in rows_of("aws") if r.name == "endpoint_url")
    url = args.endpoint_url or os.environ.get(row.environment[0])
    return str(parse(url, row, where=row.flag)) if url else None


def _needed_secret(question: str) -> str:
    while not (answer := ask_secret(question)):
        print("  It is needed.")
    return answer


def _key_id_problem(key_id: str) -> str | None:
    if _KEY_ID.fullmatch(key_id):
        return None
    return "An access key id is 16 to 128 letters and digits, such as AKIAIOSFODNN7EXAMPLE."


def _region_problem(region: str) -> str | None:
    return None if _REGION.fullmatch(region) else "A region looks like us-east-1."


def _accepted(aws: AwsSettings, args: argparse.Namespace) -> bool:
    print("Asking AWS …")
    check = credentials.check_with_sts(aws)
    print(f"AWS says: {credentials.sentence(check)}")
    if check.outcome == "valid":
        return True
    if check.outcome == "unreachable" and args.yes:
        return True
    return not args.yes and confirm("Save anyway?", default=check.outcome == "unreachable")


def _section(aws: AwsSettings) -> dict[str, object]:
    return {
        "access_key_id": aws.access_key_id,
        "secret_access_key": aws.secret_access_key,
        "region": aws.region,
        "session_token": aws.session_token,
    }


COMMAND: Final[Command] = SetupAws()
