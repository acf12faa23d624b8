"""``detection-operator convert``."""

import io
from pathlib import Path

import pytest
import yaml

from detection_operator.cli.main import main
from detection_operator.errors import ClusterError
from detection_operator.kube.rest import Rest
from detection_testing.kubernetes.apiserver import ApiServer

GOOD = """
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: clips}
spec:
  scaleTargetRef: {name: clip-worker}
  cooldownPeriod: 60
  maxReplicaCount: 8
  pollingInterval: 10
  fallback: {failureThreshold: 2, replicas: 3}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleDown: {stabilizationWindowSeconds: 60}
  triggers:
  - type: aws-sqs-queue
    metadata: {queueURL: clips, awsRegion: eu-west-1, queueLength: "4", activationQueueLength: "2"}
  - type: cron
    metadata: {start: 0 6 * * *, end: 0 20 * * *, timezone: Europe/Paris, desiredReplicas: "2"}
"""
BAD = GOOD.replace("aws-sqs-queue", "kafka").replace("clips}", "other}")


def test_every_file_is_converted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / "one.yaml", tmp_path / "two.yaml"]
    files[0].write_text(f"{GOOD}---\n{GOOD.replace('clips}', 'more}')}")
    files[1].write_text("\ufeff" + GOOD.replace("clips}", "third}"), encoding="utf-8")

    code = main(["convert", *map(str, files), "--account", "123456789012"])

    out, err = capsys.readouterr()
    made = list(yaml.safe_load_all(out))
    assert (code, err) == (0, "")
    assert [item["metadata"]["name"] for item in made] == ["clips", "more", "third"]
    assert made[0]["spec"]["queue"]["url"].endswith("/123456789012/clips")


def test_what_is_not_converted_fails_the_command_but_not_the_rest(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{GOOD}---\n{BAD}"))

    code = main(["convert", "-"])

    out, err = capsys.readouterr()
    assert code == 1
    assert "ScaledObject other: not converted: spec.triggers: none of type aws-sqs-queue" in err
    (note,) = [line for line in err.splitlines() if line.startswith("ScaledObject clips: ")]
    assert f"# - {note.removeprefix('ScaledObject clips: ')}" in out
    assert [item["metadata"]["name"] for item in yaml.safe_load_all(out)] == ["clips"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("kind: Secret", "no ScaledObject or ScaledJob of KEDA found"),
        ("", "no ScaledObject or ScaledJob of KEDA found"),
        ("a: [", "no YAML or JSON"),
        (None, "No such file"),
        (b"\xff\xfe\x00", "codec can't decode"),
    ],
)
def test_a_file_without_any_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | bytes | None, why: str
) -> None:
    path = tmp_path / "in.yaml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    assert main(["convert", str(path)]) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert why in err


@pytest.mark.parametrize("account", ["1234", "12345678901a", "1234567890123"])
def test_an_account_has_twelve_digits(account: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["convert", "-", "--account", account])

    assert "has not 12 digits" in capsys.readouterr().err


@pytest.mark.cluster
@pytest.mark.slow
def test_a_real_api_server_takes_the_result(
    api_server: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "in.yaml"
    path.write_text(GOOD)
    assert main(["convert", str(path)]) == 0
    made = yaml.safe_load(capsys.readouterr().out)
    admin = Rest(api_server.configuration())
    queues = "/apis/detection-queue.dev/v1alpha1/namespaces/default/detectionqueues"
    url = f"{queues}?dryRun=All&fieldValidation=Strict"

    try:
        admin.call("POST", url, made)
        # The server does check: a field that it does not know is refused.
        made["spec"]["scaling"]["queueLength"] = 5
        with pytest.raises(ClusterError, match="queueLength"):
            admin.call("POST", url, made)
    finally:
        admin.close()
