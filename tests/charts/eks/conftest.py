"""The commands of docs/eks.md and docs/cloudwatch.md; a bash that runs those of AWS on moto."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "docs" / name for name in ("eks.md", "cloudwatch.md")]
SETUP = "Before you begin"
NOT_RUN: Mapping[str, str] = {
    "docker": "builds and pushes need a Docker daemon; tests/install/ checks what images hold",
    "eksctl": "makes a cluster in a real account; test_manifests.py checks its files",
    "helm": "installs into a cluster; test_in_a_cluster.py does, where there is an API server",
    "kubectl": "talks to a cluster; test_in_a_cluster.py does, where there is an API server",
    "curl": "downloads Karpenter's template from GitHub",
    "aws ssm get-parameter": "moto has no parameters of EKS's AMIs",
    "aws ec2 describe-images": "moto has none of EKS's AMIs",
    "aws eks update-kubeconfig": "there is no cluster to connect to",
    "aws iam attach-role-policy": "moto has none of AWS's managed policies",
    "aws eks create-addon": "moto has no add-ons; test_cloudwatch.py checks what it is given",
    "aws eks create-pod-identity-association": "moto has no associations",
    "aws cloudformation": "Karpenter's template is not here",
}
"""Programs and commands of the page that stand-ins replace, and why. Everything else is run."""
STANDINS = (Path(__file__).parent / "standins.sh").read_text()


def blocks() -> dict[str, list[str]]:
    """The bash blocks of both pages by the heading above them, in order."""
    found: dict[str, list[str]] = {}
    text = "\n".join(page.read_text() for page in PAGES)
    for part in re.split(r"^##+ ", text, flags=re.MULTILINE)[1:]:
        heading = part.partition("\n")[0]
        found[heading] = re.findall(r"^```bash\n(.*?)^```", part, re.MULTILINE | re.DOTALL)
    return found


@dataclass
class Shell:
    """Runs blocks of the page, each time in a new bash under ``set -euo pipefail``.

    Attributes:
        endpoint: URL of moto.
        folder: Its working directory, which looks like the root of the repository.
        done: Blocks that were run.
    """

    endpoint: str
    folder: Path
    done: list[str] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs to use moto as the account."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "moto",
            "AWS_SECRET_ACCESS_KEY": "moto",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def run(self, *code: str) -> str:
        """Run the block with the variables, then these; return what they print."""
        text = "\n".join(["set -euo pipefail", STANDINS, *blocks()[SETUP], *code])
        done = subprocess.run(
            ["bash", "-c", text], cwd=self.folder, env=self.environment,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=540, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        self.done += code
        return done.stdout

    def read(self, name: str) -> str:
        """Return a file that stand-ins or commands wrote; empty if there is none."""
        path = self.folder / name
        return path.read_text() if path.exists() else ""


@pytest.fixture(scope="session")
def page() -> Mapping[str, list[str]]:
    return blocks()


@pytest.fixture(scope="session")
def not_run() -> Mapping[str, str]:
    return NOT_RUN


@pytest.fixture(scope="session")
def new_shell(moto_server: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Shell]:
    def make() -> Shell:
        folder = tmp_path_factory.mktemp("eks")
        for name in ("charts", "testing"):
            (folder / name).symlink_to(ROOT / name)
        return Shell(moto_server, folder)

    assert shutil.which("aws"), "there is no aws on the PATH: `make setup` installs it"
    return make


@pytest.fixture(scope="module")
def shell(new_shell: Callable[[], Shell]) -> Shell:
    return new_shell()
