"""Amazon S3 over HTTP: objects by path style and by virtual host, errors in XML."""

import json
import uuid
from collections.abc import Callable
from itertools import count
from urllib.parse import quote
from xml.sax.saxutils import escape

from detection_testing.aws.clock import ServerClock
from detection_testing.aws.s3.checksums import checksums_of
from detection_testing.aws.s3.deletion import deletions_of, render_deleted
from detection_testing.aws.s3.errors import S3Error, render_error
from detection_testing.aws.s3.listing import listing_of, page_of, render
from detection_testing.aws.s3.notifications import (
    QueueNotification,
    event_of,
    notifications_of,
    setup_event,
)
from detection_testing.aws.s3.notifications import render as render_notifications
from detection_testing.aws.s3.objects import ObjectActions
from detection_testing.aws.s3.store import S3Store, StoredObject
from detection_testing.aws.s3.target import S3Target
from detection_testing.aws.sqs.delivery import QueueDelivery
from detection_testing.aws.sqs.registry import ACCOUNT_ID, REGION
from detection_testing.http.values import Request, Response

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


class S3Http:
    """Answers S3 requests.

    Args:
        store: The objects.
        clock: The server's.
        queues: Where events of objects are sent to.
    """

    def __init__(self, *, store: S3Store, clock: ServerClock, queues: QueueDelivery) -> None:
        self._store = store
        self._clock = clock
        self._queues = queues
        self._notifications: dict[str, list[QueueNotification]] = {}
        self._sequence = count(1)
        self._objects = ObjectActions(store=store, clock=clock, changed=self._changed)
        self._actions: dict[str, Callable[[S3Target, Request], Response]] = {
            "GetObject": self._objects.get,
            "HeadObject": self._objects.get,
            "PutObject": self._objects.put,
            "DeleteObject": self._objects.delete,
            "DeleteObjects": self._delete_all,
            "CreateBucket": self._create_bucket,
            "HeadBucket": self._head_bucket,
            "DeleteBucket": self._delete_bucket,
            "ListObjectsV2": self._list,
            "PutBucketVersioning": self._versioning,
            "GetBucketLocation": self._location,
            "ListBuckets": self._buckets,
            "PutBucketNotificationConfiguration": self._notify,
            "GetBucketNotificationConfiguration": self._show_notifications,
        }

    def handle(self, target: S3Target, request: Request) -> Response:
        """Carry out one request."""
        try:
            action = self._actions.get(target.operation, _unknown)
            _check_owner(request)
            response = action(target, request)
        except S3Error as exc:
            return render_error(exc, resource=request.path)
        number = uuid.uuid4().hex
        response.headers |= {"x-amz-request-id": number[:16].upper(), "x-amz-id-2": number}
        return response

    def _changed(self, event: str, target: S3Target, stored: StoredObject | None) -> None:
        for notification in self._notifications.get(target.bucket, ()):
            if notification.wants(event, target.key):
                document = event_of(
                    event,
                    notification,
                    bucket=target.bucket,
                    key=target.key,
                    stored=stored,
                    sequence=next(self._sequence),
                    now_s=self._clock.now_s(),
                )
                self._queues.send(notification.queue_arn, json.dumps(document))

    def _notify(self, target: S3Target, request: Request) -> Response:
        self._head_bucket(target, request)
        found = notifications_of(request.body, is_standard=self._is_standard)
        self._notifications[target.bucket] = found
        for notification in found:
            document = setup_event(target.bucket, now_s=self._clock.now_s())
            self._queues.send(notification.queue_arn, json.dumps(document))
        return Response()

    def _show_notifications(self, target: S3Target, request: Request) -> Response:
        self._head_bucket(target, request)
        shown = render_notifications(self._notifications.get(target.bucket, []))
        return _xml(
            f'<NotificationConfiguration xmlns="{_NAMESPACE}">{shown}</NotificationConfiguration>'
        )

    def _is_standard(self, arn: str) -> bool:
        queue = self._queues.find(arn)
        return queue is not None and not queue.settings.fifo

    def _delete_all(self, target: S3Target, request: Request) -> Response:
        # S3 API reference, DeleteObjects: the body comes with its MD5 or another checksum.
        if (
            not checksums_of(request.headers, request.body)
            and "content-md5" not in request.headers
        ):
            text = "Missing required header for this request: Content-MD5"
            raise S3Error("InvalidRequest", text, status=400)
        self._head_bucket(target, request)
        deletions, quiet = deletions_of(request.body)
        shown = []
        for deletion in deletions:
            gone = self._objects.remove(target._replace(key=deletion.key), deletion.version_id)
            shown.append(render_deleted(deletion, gone))
        elements = "" if quiet else "".join(shown)
        return _xml(f'<DeleteResult xmlns="{_NAMESPACE}">{elements}</DeleteResult>')

    def _create_bucket(self, target: S3Target, request: Request) -> Response:
        del request
        self._store.create_bucket(target.bucket)
        return Response(headers={"Location": f"/{quote(target.bucket)}"})

    def _head_bucket(self, target: S3Target, request: Request) -> Response:
        del request
        if not self._store.has_bucket(target.bucket):
            text = "The specified bucket does not exist"
            details = {"BucketName": target.bucket}
            raise S3Error("NoSuchBucket", text, status=404, details=details)
        return Response(headers={"x-amz-bucket-region": REGION})

    def _delete_bucket(self, target: S3Target, request: Request) -> Response:
        del request
        self._store.delete_bucket(target.bucket)
        return Response(status=204)

    def _versioning(self, target: S3Target, request: Request) -> Response:
        enabled = b"<Status>Enabled</Status>" in request.body
        self._store.set_versioning(target.bucket, enabled=enabled)
        return Response()

    def _location(self, target: S3Target, request: Request) -> Response:
        self._head_bucket(target, request)
        return _xml(f'<LocationConstraint xmlns="{_NAMESPACE}"/>')

    def _buckets(self, target: S3Target, request: Request) -> Response:
        del target, request
        names = "".join(
            f"<Bucket><Name>{escape(n)}</Name></Bucket>" for n in self._store.bucket_names()
        )
        return _xml(
            f'<ListAllMyBucketsResult xmlns="{_NAMESPACE}"><Owner><ID>local</ID></Owner>'
            f"<Buckets>{names}</Buckets></ListAllMyBucketsResult>"
        )

    def _list(self, target: S3Target, request: Request) -> Response:
        parameters = request.parameters()
        listing = listing_of(parameters)
        keys = self._store.keys(target.bucket, prefix=listing.prefix)
        page = page_of(keys, listing)
        elements = render(
            target.bucket, page, parameters, lambda key: self._store.get(target.bucket, key)
        )
        return _xml(f'<ListBucketResult xmlns="{_NAMESPACE}">{elements}</ListBucketResult>')


def _check_owner(request: Request) -> None:
    if request.headers.get("x-amz-expected-bucket-owner", ACCOUNT_ID) != ACCOUNT_ID:
        raise S3Error("AccessDenied", "Access Denied", status=403)


def _unknown(target: S3Target, request: Request) -> Response:
    text = f"{request.method} of this kind is not implemented here"
    raise S3Error("NotImplemented", text, status=501)


def _xml(body: str) -> Response:
    text = '<?xml version="1.0" encoding="UTF-8"?>\n' + body
    return Response(headers={"Content-Type": "application/xml"}, body=text.encode())
