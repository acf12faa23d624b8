"""The Dockerfiles fit the chart and the base that they build on."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detection_operator.kube.manifests.deployment import USER_ID

ROOT = Path(__file__).parents[2]
# /etc/group of Debian's base-passwd, which every slim image has; groupadd refuses these names.
DEBIAN_GROUPS = re.compile(
    "root|daemon|bin|sys|adm|tty|disk|lp|mail|news|uucp|man|proxy|kmem|dialout|fax|voice|cdrom|"
    "floppy|tape|sudo|audio|dip|www-data|backup|operator|list|irc|src|shadow|utmp|video|sasl|"
    "plugdev|staff|games|users|nogroup|_apt"
)
IMAGES = ["operator", "worker"]


def dockerfile(image: str) -> str:
    return (ROOT / f"Dockerfile.{image}").read_text()


def user_of(image: str) -> int:
    [(user, group)] = re.findall(r"^USER (\d+):(\d+)$", dockerfile(image), re.MULTILINE)
    assert user == group
    return int(user)


@pytest.mark.parametrize("image", IMAGES)
def test_the_user_has_a_name_that_the_base_does_not_have(image: str) -> None:
    [(gid, group, uid, user)] = re.findall(
        r"groupadd --gid (\d+) (\w+) && useradd --uid (\d+) .* (\w+)$",
        dockerfile(image),
        re.MULTILINE,
    )

    assert group == user
    assert not DEBIAN_GROUPS.fullmatch(group)
    assert int(gid) == int(uid) == user_of(image)


def test_the_operator_s_pods_run_as_the_user_of_its_image(
    render: Callable[..., list[dict[str, Any]]],
) -> None:
    specs = [
        item["spec"]["template"]["spec"] if item["kind"] == "Deployment" else item["spec"]
        for item in render({})
        if item["kind"] in {"Deployment", "Pod"}
    ]

    assert len(specs) == 2
    for spec in specs:
        security = spec["securityContext"]
        assert (
            security["runAsUser"]
            == security["runAsGroup"]
            == security["fsGroup"]
            == user_of("operator")
        )


def test_deliver_runs_as_the_user_of_the_worker_s_image(
    render: Callable[..., list[dict[str, Any]]],
) -> None:
    outbox = {"name": "media", "queueURL": "https://sqs.eu-west-1.amazonaws.com/123456789012/o"}
    objects = render({"deliver": {"enabled": True, "outboxes": [outbox]}})
    [security] = [
        item["spec"]["template"]["spec"]["securityContext"]
        for item in objects
        if item["kind"] == "Deployment" and "deliver" in item["metadata"]["name"]
    ]

    ids = {security[name] for name in ("runAsUser", "runAsGroup", "fsGroup")}
    assert ids == {user_of("worker")}


def test_workers_run_as_the_user_of_their_image() -> None:
    assert user_of("worker") == USER_ID


def context_patterns() -> list[str]:
    """Return what .dockerignore lets into the build context; it leaves out everything else."""
    first, *rest = (ROOT / ".dockerignore").read_text().split()
    assert first == "**"
    return [pattern.removeprefix("!") for pattern in rest if pattern.startswith("!")]


@pytest.mark.parametrize("image", IMAGES)
def test_everything_that_is_copied_is_in_the_build_context(image: str) -> None:
    allowed = context_patterns()
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile(image), re.MULTILINE)
    sources = [source for copy in copies for source in copy.split()]

    assert {"requirements", "pyproject.toml", "LICENSE", "NOTICE"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
        top = source.partition("/")[0]
        assert {source, f"{top}/**"} & set(allowed), f"{source} is left out of the context"


@pytest.mark.parametrize("image", IMAGES)
def test_nothing_that_was_installed_is_deleted_again(image: str) -> None:
    """An image gets what it runs: tools/wheels.py and .dockerignore leave out the rest."""
    assert re.findall(r"\brm |-delete|uninstall", dockerfile(image)) == []
    assert f"tools/wheels.py {image} " in dockerfile(image)
    assert "COPY models/detection_training" not in dockerfile(image)
    assert "models/detection_training" in (ROOT / ".dockerignore").read_text().split()
