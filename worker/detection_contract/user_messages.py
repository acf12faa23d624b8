"""Sentences that users search for, each with the next step to take on the following line.

Log lines keep the wording of the original guide; they are formats for ``str.format``.
"""

from typing import Final

NO_CREDENTIALS: Final = (
    "AWS credentials not found!\n"
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, run `detection-worker setup-aws`, "
    "or give the pod an IAM role."
)
FILE_NOT_FOUND: Final = "S3 file not found: {url}\nVerify the S3 URL and that the file exists."
ACCESS_DENIED: Final = (
    "Failed to download S3 file: Access Denied\nCheck S3 bucket permissions and AWS credentials."
)
NO_SUCH_QUEUE: Final = "SQS queue does not exist: {url}\nVerify the queue URL and region."
QUEUE_DENIED: Final = (
    "Access to the SQS queue is denied: {url} ({code})\n"
    "Check the worker's role, and the key policy if the queue has a KMS key."
)
QUEUE_UNREACHABLE: Final = (
    "SQS cannot be reached: {code} for {url}\nCheck the network, the queue URL and its region."
)
NO_OUTBOX: Final = "No outbox queue given\nSet DETECTION_OUTBOX_URL or use --outbox URL."
NO_MODELS: Final = "No models could be loaded!\nTrain models using: detection-worker train --demo"
NO_CONFIG_FILE: Final = (
    "Configuration file not found: {path}\n"
    "Create aws_config.json from aws_config_template.json or give the right path with --config."
)


def counted(count: int, what: str, several: str | None = None) -> str:
    """Return a count with its noun: ``1 message``, ``2 messages``.

    Args:
        count: How many there are.
        what: The noun, with its verb where that changes too: ``message was``.
        several: The same in the plural; None appends an s.
    """
    return f"{count} {what if count == 1 else several or f'{what}s'}"


LOG_STARTING: Final = "Starting SQS consumer for queue: {queue_url}"
LOG_LOADED: Final = "Loaded models: {kinds}"
LOG_RECEIVED: Final = "Received {count} message(s)"
LOG_PROCESSING: Final = "Processing deepfake detection for: {url} (ID: {request_id})"
LOG_COMPLETE: Final = (
    "Detection complete - {label} (confidence: {confidence:.1%}) for {request_id}"
)
LOG_OTHER_VERDICT: Final = LOG_COMPLETE + " - the verdict is {verdict}"
LOG_NOT_APPLICABLE: Final = "Detection complete - NOT APPLICABLE ({reason}) for {request_id}"
LOG_DELETED: Final = "Message processed and deleted"
LOG_SKIPPED: Final = "Skipped {what} (message {message_id})"
LOG_SKIPPED_DELETED: Final = "Message skipped and deleted"
