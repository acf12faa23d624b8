"""The queue of an ``aws-sqs-queue`` trigger of KEDA, and who may read it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from detection_contract.aws.sqs_urls import region_of_queue
from detection_operator.migration.converted import NotConvertible
from detection_operator.migration.parts import Part, shown
from detection_operator.spec.fields import ADDRESS_PATTERN, QUEUE_URL_PATTERN, REGION_PATTERN

ACCOUNT: Final = "ACCOUNT_ID"
"""Stands for an account that the source does not name."""
POLL_MAX_S: Final = 300
_NAME: Final = re.compile("[A-Za-z0-9_-]{1,80}([.]fifo)?")
_ACCESS: Final = (
    "the operator reads the queue with its own IAM role, which needs sqs:GetQueueAttributes and"
    " sqs:GetQueueUrl"
)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What else the input holds.

    Attributes:
        account: AWS account of queues that are given by name; None if unknown.
        environment: Environment variables of the scale target, as far as the input names them.
        authentications: TriggerAuthentications by kind and name.
    """

    account: str | None
    environment: Mapping[str, str]
    authentications: Mapping[tuple[str, str], Mapping[Any, Any]]


def queue_of(trigger: Part, around: Surroundings) -> dict[str, Any]:
    """Return ``spec.queue``.

    Raises:
        NotConvertible: The trigger names no queue, or no region.
    """
    metadata = trigger.part("metadata")
    region = _region(metadata)
    url = _url(metadata, region, around)
    named = region_of_queue(url)
    if named is None and region is None:
        raise NotConvertible(f"{metadata.path}.awsRegion: is required: the URL names no region")
    if named is not None and region not in (None, named):
        metadata.note("awsRegion", f"{region} is not the region of the URL, which is taken")
    _access(trigger, metadata, around)
    queue = {"url": url, "endpointURL": _endpoint(metadata), "region": named or region}
    if named is not None:
        queue["region"] = None
    return {name: value for name, value in queue.items() if value is not None}


def _region(metadata: Part) -> str | None:
    region = metadata.text("awsRegion")
    if region is not None and not re.search(REGION_PATTERN, region):
        metadata.note("awsRegion", f"{shown(region)} is no region; ignored")
        return None
    return region


def _url(metadata: Part, region: str | None, around: Surroundings) -> str:
    url, variable = metadata.text("queueURL"), metadata.text("queueURLFromEnv")
    if url is None and variable is not None:
        url = around.environment.get(variable)
        if url is None:
            name = re.sub("[^A-Za-z0-9_-]", "_", variable)[:80]
            why = "the input does not say what this variable holds: fill in queue.url"
            metadata.note("queueURLFromEnv", why)
            return _made_url(metadata, name, region, around)
    if url is None:
        raise NotConvertible(f"{metadata.path}: names no queue")
    if _NAME.fullmatch(url):
        return _made_url(metadata, url, region, around)
    if len(url) > 1024 or not re.search(QUEUE_URL_PATTERN, url):
        raise NotConvertible(f"{metadata.path}: {shown(url)} is no URL of an SQS queue")
    return url


def _made_url(metadata: Part, name: str, region: str | None, around: Surroundings) -> str:
    if region is None:
        raise NotConvertible(f"{metadata.path}.awsRegion: is required: there is no URL to name it")
    if around.account is None:
        why = f"names no account: replace {ACCOUNT} in queue.url, or convert with --account"
        metadata.note("queueURL", why)
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://sqs.{region}.{domain}/{around.account or ACCOUNT}/{name}"


def _endpoint(metadata: Part) -> str | None:
    endpoint = metadata.text("awsEndpoint")
    if endpoint is not None and (len(endpoint) > 512 or not re.search(ADDRESS_PATTERN, endpoint)):
        metadata.note("awsEndpoint", f"{shown(endpoint)} is no address; ignored")
        return None
    return endpoint


def _access(trigger: Part, metadata: Part, around: Surroundings) -> None:
    """Note whose permissions were used so far, unless they were the operator's."""
    owner = metadata.text("identityOwner")
    if owner is not None and owner != "operator":
        metadata.note("identityOwner", _ACCESS)
    for key in ("awsAccessKeyIDFromEnv", "awsSecretAccessKeyFromEnv", "awsRoleArn"):
        metadata.unmapped(key, _ACCESS)
    reference = trigger.part("authenticationRef")
    name = reference.text("name")
    if name is None:
        return
    kind = reference.text("kind") or "TriggerAuthentication"
    how = _how(around.authentications.get((kind, name)))
    trigger.note("authenticationRef", f"{kind} {shown(name)} ({how}): {_ACCESS}")


def _how(authentication: Mapping[Any, Any] | None) -> str:
    """Return how a TriggerAuthentication gets at AWS; secrets are named, never read."""
    if authentication is None:
        return "not in the input"
    spec = Part(authentication, "", []).part("spec")
    identity = spec.part("podIdentity")
    provider, role = identity.text("provider"), identity.text("roleArn")
    if provider not in (None, "none"):
        return f"pod identity {shown(provider)}" + (f", role {shown(role)}" if role else "")
    wanted = [item.text("parameter") for item in spec.items("secretTargetRef")]
    return ", ".join(shown(item) for item in wanted if item) or "other sources of credentials"
