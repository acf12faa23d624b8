"""AWS STS over HTTP: the query protocol, as far as a pod's identity needs it."""

import re
from datetime import UTC, datetime
from pathlib import Path
from xml.sax.saxutils import escape

from detection_testing.aws import query
from detection_testing.aws.clock import ServerClock
from detection_testing.aws.query import QueryError
from detection_testing.aws.sqs.registry import ACCOUNT_ID
from detection_testing.aws.sts.credentials import CredentialStore
from detection_testing.http.values import Request, Response

ACTIONS = ("AssumeRoleWithWebIdentity", "GetCallerIdentity")
_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]{1,512}")


class StsHttp:
    """Answers STS requests.

    Args:
        credentials: Store of issued credentials.
        clock: The server's.
        expiry_s: Life of issued credentials, seconds; None for what the request asks.
        token_file: The only web identity token that is accepted is the content of this file at
            the time of the request, as a cluster rotates it; None accepts any that is not empty.
    """

    def __init__(
        self,
        *,
        credentials: CredentialStore,
        clock: ServerClock,
        expiry_s: float | None = None,
        token_file: Path | None = None,
    ) -> None:
        self._credentials = credentials
        self._clock = clock
        self._expiry_s = expiry_s
        self._token_file = token_file

    def handle(self, action: str, request: Request) -> Response:
        """Carry out one request."""
        try:
            if action == "GetCallerIdentity":
                return self._identity(request)
            return self._assume(request.form())
        except QueryError as exc:
            return render_error(exc)

    def _identity(self, request: Request) -> Response:
        refusal = self._credentials.refusal(request, now_s=self._clock.now_s())
        if refusal is not None:
            raise QueryError(
                refusal, "The security token included in the request is invalid", status=403
            )
        arn = escape(self._credentials.identity(request))
        body = f"<Arn>{arn}</Arn><UserId>AIDALOCAL</UserId><Account>{ACCOUNT_ID}</Account>"
        return _render("GetCallerIdentity", body)

    def _assume(self, parameters: dict[str, str]) -> Response:
        role = parameters.get("RoleArn", "")
        session = parameters.get("RoleSessionName", "")
        seconds = self._lifetime_s(parameters)
        if not _ROLE.fullmatch(role) or not session:
            raise QueryError("ValidationError", f"Invalid role {role!r} or session {session!r}")
        self._check_token(parameters.get("WebIdentityToken", ""))
        arn = role.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/") + "/" + session
        expires_s = self._clock.now_s() + seconds
        issued = self._credentials.issue(arn=arn, expires_s=expires_s)
        until = datetime.fromtimestamp(expires_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = (
            f"<Credentials><AccessKeyId>{issued.access_key_id}</AccessKeyId>"
            f"<SecretAccessKey>{issued.secret_access_key}</SecretAccessKey>"
            f"<SessionToken>{issued.session_token}</SessionToken>"
            f"<Expiration>{until}</Expiration></Credentials>"
            f"<AssumedRoleUser><Arn>{escape(arn)}</Arn>"
            f"<AssumedRoleId>AROALOCAL:{escape(session)}</AssumedRoleId></AssumedRoleUser>"
        )
        return _render("AssumeRoleWithWebIdentity", body)

    def _lifetime_s(self, parameters: dict[str, str]) -> float:
        # STS API reference, AssumeRoleWithWebIdentity: 900 to 43,200 s, by default an hour.
        text = parameters.get("DurationSeconds", "3600")
        if not text.isdigit() or not 900 <= int(text) <= 43_200:
            raise QueryError("ValidationError", f"DurationSeconds {text} is not 900 to 43200")
        return int(text) if self._expiry_s is None else self._expiry_s

    def _check_token(self, token: str) -> None:
        if len(token) < 4:  # the API reference's minimum length
            raise QueryError("ValidationError", "WebIdentityToken must have length at least 4")
        if self._token_file is not None and token != self._token_file.read_text():
            text = "Couldn't verify the token: it is not the current one"
            raise QueryError("InvalidIdentityToken", text)


def render_error(error: QueryError) -> Response:
    """Return an error as STS sends it."""
    return query.render_error(error, namespace=_NAMESPACE)


def _render(action: str, result: str) -> Response:
    return query.render(action, result, namespace=_NAMESPACE)
