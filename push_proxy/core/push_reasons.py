"""Tables of `push_advice`: reasons for which a push was not taken, and what to do about each."""

from collections.abc import Mapping
from types import MappingProxyType

_HAND_IN = "the app has to hand in a new one, as it does at its next start"
_REPORT = "A fault of this service: report it with the log lines around it."
_PASSES = "It ends by itself."
_RELOAD = "then send SIGHUP"

ANY: Mapping[str, str] = MappingProxyType(
    {
        "no_target": "The device has no push token: the app has to hand one in (PUT of the device, "
        "or pn-prid in its REGISTER).",
        "unknown_app": "No provider is configured for the device's app: add it under providers, "
        f"{_RELOAD}.",
        "no_alert_token": "Nothing was sent, for on iOS only calls may be VoIP pushes: for "
        "anything else the app has to hand in an alert_token, too.",
        "expired": "The call was over before the push could leave: when it happens often, look at "
        "this machine's load.",
        "timeout": "No answer in time: look at the way from here to the provider, and at its "
        "status page.",
        "connect_failed": "No connection: is the address right, and does the firewall let this "
        "machine out to port 443?",
        "connect_timeout": "No connection: does the firewall let this machine out to port 443?",
        "dns_failed": "The name does not resolve: check this machine's name servers, and the URL "
        "if you have set one.",
        "tls_failed": "The server's certificate is not trusted: is a TLS proxy in between? Check "
        "ca_file and the URL.",
        "disconnected": "The connection broke twice: look at the way from here to the provider.",
        "http_error": "The answer was no proper HTTP: is this really the provider, or a proxy in "
        "between?",
        "address_refused": "The URL points into a private network: see allow_private in the "
        "configuration.",
        "bad_url": "The URL cannot be used: correct it.",
        "internal_error": _REPORT,
        "oauth_timeout": "The OAuth server did not answer in time: look at the way to it.",
        "oauth_connect_failed": "The OAuth server cannot be reached: does the firewall let this "
        "machine out to port 443?",
        "oauth_dns_failed": "The OAuth server's name does not resolve: check this machine's name "
        "servers, and token_uri if you have set it.",
        "oauth_tls_failed": "The OAuth server's certificate is not trusted: check ca_file and "
        "token_uri.",
        "oauth_disconnected": f"The OAuth server broke the connection. {_PASSES}",
        "oauth_http_error": "The OAuth server's answer was no proper HTTP: check token_uri.",
        "oauth_address_refused": "token_uri cannot be used: correct it.",
        "oauth_bad_url": "token_uri cannot be used: correct it.",
        "oauth_no_token": "What answers at the OAuth server's place gives no token: check "
        "token_uri, and whether a proxy interferes.",
    }
)
"""Reasons that several providers share."""

BY_STATUS: Mapping[int, str] = MappingProxyType(
    {
        200: "The answer was a success with a body that no provider sends: check the URL.",
        300: "It points elsewhere, and that is not followed: correct the URL.",
        400: _REPORT,
        401: f"Our credentials are not accepted: correct them under providers, {_RELOAD}.",
        403: f"Our credentials do not allow this: correct them under providers, {_RELOAD}.",
        404: f"The token is not known any more: {_HAND_IN}.",
        410: f"The token is not known any more: {_HAND_IN}.",
        413: "The payload is too long for the other side, even shortened.",
        429: f"Too many pushes: fewer are taken for a while. {_PASSES}",
        500: "The other side has a fault of its own: look at its log or its status page.",
    }
)
"""By HTTP status; whole hundreds stand for the rest of theirs."""

OAUTH_BY_STATUS: Mapping[int, str] = MappingProxyType(
    {
        200: "What answers at the OAuth server's place gives no token: check token_uri.",
        300: "The OAuth server points elsewhere: correct token_uri.",
        400: "The OAuth server does not accept our credentials: correct them under providers, "
        f"{_RELOAD}.",
        404: "There is no OAuth server at token_uri: correct it.",
        408: f"The OAuth server did not get our request in time. {_PASSES}",
        429: f"The OAuth server had too many requests from here. {_PASSES}",
        500: f"The OAuth server has a fault of its own. {_PASSES}",
    }
)

_APNS: Mapping[str, str] = {
    "BadDeviceToken": "Apple does not know the token, neither in production nor in the sandbox: "
    f"it is malformed, or of another app; {_HAND_IN}.",
    "Unregistered": f"The app was removed from the phone, or has another token now: {_HAND_IN}.",
    "ExpiredToken": f"The token has ended: {_HAND_IN}.",
    "DeviceTokenNotForTopic": "The token belongs to another app, or is no PushKit token: check "
    "app_id, and what the app hands in as token and alert_token.",
    "BadTopic": f"app_id is no bundle id: correct it in providers.apns, {_RELOAD}.",
    "MissingTopic": f"app_id is no bundle id: correct it in providers.apns, {_RELOAD}.",
    "TopicDisallowed": "The key or certificate is not for this app: check app_id and team_id, and "
    "that a certificate is one for VoIP.",
    "InvalidProviderToken": "Check team_id, key_id and key_file, that the key was not revoked, "
    "and this machine's clock.",
    "ExpiredProviderToken": "This machine's clock is wrong: check NTP.",
    "MissingProviderToken": "A certificate is not accepted here: check certificate_file.",
    "UnrelatedKeyIdInToken": "The key is limited to other apps: allow this one, or use its key.",
    "BadEnvironmentKeyIdInToken": "The key is for the other environment: check environment.",
    "BadCertificate": "The certificate is not accepted: renew it.",
    "BadCertificateEnvironment": "The certificate is for the other environment: check environment.",
    "Forbidden": "Apple refuses this account: look at its state in the developer portal.",
    "TooManyProviderTokenUpdates": "Another program makes provider tokens of the same team: let "
    "them share one, or use a key of another team.",
    "TooManyRequests": "Many pushes to one phone in a short time: look at its account's calls.",
    "InternalServerError": f"A fault of Apple's: see its system status. {_PASSES}",
    "ServiceUnavailable": f"Apple is overloaded: see its system status. {_PASSES}",
    "Shutdown": f"Apple restarts a server. {_PASSES}",
    "IdleTimeout": f"Apple closed idle connections. {_PASSES}",
    "certificate_expired": f"The certificate has ended: renew it, {_RELOAD}.",
    "certificate_refused": f"Apple refuses the certificate: renew it, {_RELOAD}.",
    "no_connection": "All connections were busy or on their way: is APNs slow to answer?",
    "no_http2": "What answers there does not speak HTTP/2: is a proxy in between?",
    "connect_failed": "No connection: let port 443 out to Apple's 17.0.0.0/8 and 2620:149::/32.",
    "connect_timeout": "No connection: let port 443 out to Apple's 17.0.0.0/8 and 2620:149::/32.",
    "silent": "The connection was dead, twice: look at the way from here to Apple (NAT, firewall).",
    "reset": f"Apple broke off the request, twice. {_PASSES}",
    "refused_stream": f"Apple took no more requests at once. {_PASSES}",
    "going_away": f"Apple closed the connection, twice. {_PASSES}",
    "streams_used_up": f"The connection was used up. {_PASSES}",
    "protocol_error": "What answers there does not speak HTTP/2 right: is a proxy in between?",
    "closing": "The service was stopping, or its providers were being replaced.",
    **dict.fromkeys(
        (
            "BadCollapseId", "BadExpirationDate", "BadMessageId", "BadPriority", "DuplicateHeaders",
            "InvalidPushType", "MissingDeviceToken", "PayloadEmpty", "PayloadTooLarge", "BadPath",
            "MethodNotAllowed", "http_400", "http_404", "http_405", "http_413",
        ),
        _REPORT,
    ),
}  # fmt: skip

_FCM: Mapping[str, str] = {
    "UNREGISTERED": f"The app was removed from the phone, or has another token now: {_HAND_IN}.",
    "INVALID_TOKEN": f"It is no token of FCM: {_HAND_IN}.",
    "SENDER_ID_MISMATCH": "The app was built for another Firebase project than "
    "service_account_file belongs to: use the project's own.",
    "UNAUTHENTICATED": "FCM does not take the access tokens of service_account_file: is it the "
    "project's own, and its key not deleted?",
    "PERMISSION_DENIED": "Give the service account the role Firebase Cloud Messaging API Admin, "
    "and enable the Firebase Cloud Messaging API (v1) in its project.",
    "THIRD_PARTY_AUTH_ERROR": "The project has no valid APNs key: push to iPhones by apns.",
    "APNS_AUTH_ERROR": "The project has no valid APNs key: push to iPhones by apns.",
    "QUOTA_EXCEEDED": "The project's quota is used up: see Quotas in the Google Cloud console.",
    "DEVICE_QUOTA_EXCEEDED": "Many pushes to one phone in a short time: look at its account's "
    "calls.",
    "NOT_FOUND": "Google does not know the project: check service_account_file and base_url.",
    "INTERNAL": f"A fault of Google's: see its status page. {_PASSES}",
    "UNAVAILABLE": f"FCM is overloaded: see its status page. {_PASSES}",
    "MESSAGE_TOO_BIG": _REPORT,
    "INVALID_ARGUMENT": _REPORT,
    "bad_message": _REPORT,
    "http_404": "What answers is not FCM: leave base_url out for Google's servers.",
    "oauth_clock_wrong": "This machine's clock is wrong: set it, and keep it by NTP.",
    "oauth_key_revoked": "The key in service_account_file was deleted: make a new one in the "
    f"Firebase console, {_RELOAD}.",
    "oauth_account_gone": "The service account was deleted: make another one and its key, "
    f"{_RELOAD}.",
    "oauth_account_disabled": "The service account is disabled: enable it in the Google Cloud "
    "console.",
    "oauth_invalid_grant": f"Google refuses the service account: make a new key, {_RELOAD}.",
    "oauth_invalid_client": f"Google does not know the service account: make a new key, {_RELOAD}.",
    "oauth_invalid_scope": "The service account may not use FCM: enable the Firebase Cloud "
    "Messaging API in its project.",
    "oauth_unauthorized_client": "The service account may not use FCM: enable the Firebase Cloud "
    "Messaging API in its project.",
}

_WEBPUSH: Mapping[str, str] = {
    "http_401": "The push service refuses the VAPID key: check it, and this machine's clock.",
    "http_403": "The subscription was made for another VAPID key: the app must subscribe anew with "
    "the one that push-proxy doctor shows.",
    "address_refused": "The subscription is at a private address: see "
    "providers.webpush[].allow_private.",
    "bad_subscription": f"It is no subscription: {_HAND_IN}.",
    "tls_failed": "The push service's certificate is not trusted: see providers.webpush[].ca_file.",
    "http_413": "The push service takes less than the 4096 bytes of the standard.",
}

_HMS: Mapping[str, str] = {
    "80100000": f"Huawei does not know the token: {_HAND_IN}.",
    "80100016": "Huawei takes the message for offensive, even without the caller's name.",
    "80200001": "hms_app_id and client_secret_file belong to different apps: correct them, "
    f"{_RELOAD}.",
    "80200003": f"Huawei does not accept our access tokens: check client_secret_file, {_RELOAD}.",
    "80200005": f"Huawei does not accept our access tokens: check client_secret_file, {_RELOAD}.",
    "80300002": "Open Push Kit for the app in AppGallery Connect; or the token is of another app.",
    "80300007": f"Huawei does not know the token: {_HAND_IN}.",
    "80300008": _REPORT,
    "80300011": "The app may not send urgent messages: ask Huawei for it in AppGallery Connect.",
    "80600003": f"Huawei's OAuth server does not answer Push Kit. {_PASSES}",
    "81000001": f"A fault of Huawei's. {_PASSES}",
    "http_404": "There is no such hms_app_id, or base_url is wrong.",
    "oauth_http_400": "hms_app_id or client_secret_file is wrong.",
    "oauth_http_401": "hms_app_id or client_secret_file is wrong.",
    "oauth_http_403": "This machine is not let through to Huawei's OAuth server.",
}

_RUSTORE: Mapping[str, str] = {
    "NOT_FOUND": f"RuStore does not know the token or the project: {_HAND_IN}; check project_id.",
    "UNREGISTERED": f"The app was removed from the phone, or has another token now: {_HAND_IN}.",
    "INVALID_TOKEN": f"It is no token of RuStore: {_HAND_IN}.",
    "INVALID_ARGUMENT": _REPORT,
    **dict.fromkeys(
        ("PERMISSION_DENIED", "UNAUTHENTICATED", "http_401", "http_403"),
        "service_token_file does not hold the service token of project_id.",
    ),
    "TOO_MANY_REQUESTS": f"Too many pushes: fewer are taken for a while. {_PASSES}",
    "INTERNAL": f"A fault of RuStore's. {_PASSES}",
    "UNAVAILABLE": f"RuStore is overloaded. {_PASSES}",
    "http_404": "There is no such project_id, or base_url is wrong.",
}

_WEBHOOK: Mapping[str, str] = {
    "tls_failed": "Your backend's certificate is not trusted: renew it, or have it signed by an "
    "authority that this machine believes.",
    "dns_failed": "Your backend's name does not resolve: check the url.",
    "connect_failed": "Nothing listens at your backend: check the url and that it runs.",
    "timeout": "Your backend does not answer in time: look at its load.",
    "http_400": "Your backend refuses the request: look at its log.",
    "http_401": "Your backend refuses the request: does it know the key in hmac_key_file?",
    "http_403": "Your backend refuses the request: does it know the key in hmac_key_file?",
}

BY_PROVIDER: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "apns": _APNS,
        "fcm": _FCM,
        "webpush": _WEBPUSH,
        "hms": _HMS,
        "rustore": _RUSTORE,
        "webhook": _WEBHOOK,
    }
)
"""Reasons that are one provider's own, or mean something of their own there."""
