"""What FCM and Google's front ends say when they refuse."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
QUOTA_FAILURE = "type.googleapis.com/google.rpc.QuotaFailure"

HTML_502 = (
    b"<!DOCTYPE html><html lang=en><title>Error 502 (Server Error)!!1</title>"
    b"<p><b>502.</b> <ins>That\xe2\x80\x99s an error.</ins>"
    b"<p>The server encountered a temporary error and could not complete your request."
)
HTML_404 = (
    b"<!DOCTYPE html><html lang=en><title>Error 404 (Not Found)!!1</title>"
    b"<p><b>404.</b> <ins>That\xe2\x80\x99s an error.</ins>"
    b"<p>The requested URL was not found on this server."
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is no 200."""

    status: int
    body: bytes
    content_type: str = "application/json; charset=UTF-8"
    code: str = ""
    """For the record: FCM's errorCode, or Google's status."""


@dataclass(frozen=True, slots=True)
class _Documented:
    http: int
    status: str
    message: str


CODES: dict[str, _Documented] = {
    "INVALID_ARGUMENT": _Documented(
        400,
        "INVALID_ARGUMENT",
        "The registration token is not a valid FCM registration token",
    ),
    "THIRD_PARTY_AUTH_ERROR": _Documented(
        401, "UNAUTHENTICATED", "Auth error from APNS or Web Push Service"
    ),
    "APNS_AUTH_ERROR": _Documented(
        401, "UNAUTHENTICATED", "Auth error from APNS or Web Push Service"
    ),
    "SENDER_ID_MISMATCH": _Documented(403, "PERMISSION_DENIED", "SenderId mismatch"),
    "UNREGISTERED": _Documented(404, "NOT_FOUND", "Requested entity was not found."),
    "QUOTA_EXCEEDED": _Documented(
        429, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric 'Send requests'."
    ),
    "INTERNAL": _Documented(500, "INTERNAL", "Internal error encountered."),
    "UNAVAILABLE": _Documented(503, "UNAVAILABLE", "The service is currently unavailable."),
}
"""By FCM's errorCode."""


def google(
    http: int, status: str, message: str, *details: dict[str, Any], code: str = ""
) -> Refusal:
    """Any error in Google's form."""
    said: dict[str, Any] = {"code": http, "message": message, "status": status}
    if details:
        said["details"] = list(details)
    body = json.dumps({"error": said}, indent=2).encode()
    return Refusal(http, body, code=code or status)


def fcm(code: str, *more: dict[str, Any]) -> Refusal:
    """A documented error with FCM's own detail."""
    known = CODES[code]
    detail = {"@type": FCM_ERROR, "errorCode": code}
    return google(known.http, known.status, known.message, detail, *more, code=code)


def bad_request(field: str, description: str, *, fcm_detail: bool = False) -> Refusal:
    """400 for a field; `fcm_detail`: FCM found it, not the front end that reads the JSON."""
    violation = {"field": field, "description": description}
    details: list[dict[str, Any]] = [{"@type": BAD_REQUEST, "fieldViolations": [violation]}]
    if fcm_detail:
        details.append({"@type": FCM_ERROR, "errorCode": "INVALID_ARGUMENT"})
    return google(400, "INVALID_ARGUMENT", description, *details)


def too_big() -> Refusal:
    """The message is over the limit: FCM's detail alone, as for a token that is none."""
    detail = {"@type": FCM_ERROR, "errorCode": "INVALID_ARGUMENT"}
    return google(400, "INVALID_ARGUMENT", "Android message is too big", detail)


def device_quota() -> Refusal:
    """Too many messages to one device: nothing that concerns others."""
    violation = {"subject": "device", "description": "Device message rate exceeded"}
    return fcm("QUOTA_EXCEEDED", {"@type": QUOTA_FAILURE, "violations": [violation]})


def unauthenticated(reason: str) -> Refusal:
    """The bearer token is missing, unknown or expired."""
    info = {
        "@type": ERROR_INFO,
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": {"service": "fcm.googleapis.com"},
    }
    message = "Request had invalid authentication credentials."
    return google(401, "UNAUTHENTICATED", message, info)


def forbidden(project: str) -> Refusal:
    """The service account may not send for this project."""
    message = (
        f"Permission 'cloudmessaging.messages.create' denied on resource "
        f"'//cloudresourcemanager.googleapis.com/projects/{project}' (or it may not exist)."
    )
    info = {"@type": ERROR_INFO, "reason": "IAM_PERMISSION_DENIED", "domain": "iam.googleapis.com"}
    return google(403, "PERMISSION_DENIED", message, info)


def service_disabled(project: str) -> Refusal:
    """The API is switched off in the project."""
    message = (
        f"Firebase Cloud Messaging API has not been used in project {project} before or it is "
        "disabled."
    )
    info = {"@type": ERROR_INFO, "reason": "SERVICE_DISABLED", "domain": "googleapis.com"}
    return google(403, "PERMISSION_DENIED", message, info)


def html(status: int, body: bytes = HTML_502) -> Refusal:
    """A page of the front end."""
    return Refusal(status, body, content_type="text/html; charset=UTF-8")


def oauth(error: str, description: str, *, status: int = 400) -> Refusal:
    """As the token endpoint says it (RFC 6749 §5.2)."""
    body = json.dumps({"error": error, "error_description": description}).encode()
    return Refusal(status, body, code=error)
