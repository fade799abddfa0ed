"""The signature of the admin API, as `gateway/src/admin/signing.rs` verifies it."""

import hashlib
import hmac
import secrets
import time
from urllib.parse import quote, unquote_to_bytes, urlsplit

import requests

SERVICE = "gotgan-admin"
SIGNED = "host;x-amz-content-sha256;x-amz-date;x-gotgan-nonce"


def canonical_query(query):
    """Pairs decoded, sorted and encoded anew. A plus sign is no space here, so urllib's own parsers do not serve."""
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    decoded = sorted([unquote_to_bytes(part).decode("utf-8", "replace") for part in (name, value)] for name, _, value in pairs)
    return "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in decoded)


def hmac_sha256(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Signature(requests.auth.AuthBase):
    """Signs a request as it is sent, after everything else of it is made."""

    def __init__(self, access_key, secret, region):
        self.access_key, self.secret, self.region = access_key, secret, region

    def __call__(self, request):
        url = urlsplit(request.url)
        body = request.body or b""
        digest = hashlib.sha256(body.encode() if isinstance(body, str) else body).hexdigest()
        date, nonce = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), secrets.token_hex(16)
        scope = f"{date[:8]}/{self.region}/{SERVICE}/aws4_request"
        canonical = "\n".join([
            request.method, url.path or "/", canonical_query(url.query), f"host:{url.netloc}", f"x-amz-content-sha256:{digest}",
            f"x-amz-date:{date}", f"x-gotgan-nonce:{nonce}", "", SIGNED, digest,
        ])
        text = "\n".join(["AWS4-HMAC-SHA256", date, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key = f"AWS4{self.secret}".encode()
        for part in scope.split("/"):
            key = hmac_sha256(key, part)
        request.headers.update({
            "Host": url.netloc,
            "x-amz-date": date,
            "x-amz-content-sha256": digest,
            "x-gotgan-nonce": nonce,
            "Authorization": f"AWS4-HMAC-SHA256 Credential={self.access_key}/{scope}, SignedHeaders={SIGNED}, "
            f"Signature={hmac_sha256(key, text).hex()}",
        })
        return request
