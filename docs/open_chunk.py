#!/usr/bin/env python3
"""Opens sealed segments of a body from docs/format.md alone.

usage: open_chunk.py VECTORS.json      checks the vectors
       open_chunk.py DATA_KEY_HEX BODY_ID_HEX LENGTH CHUNK_NUMBER < chunk > plaintext
A chunk is read as it is stored: segments at a stride of 65,600 bytes.
"""
import hashlib, hmac, json, struct, sys

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from aria_gcm import AriaGcm

SEGMENT, TAG, STRIDE, PER_CHUNK, FORMAT = 65_536, 16, 65_600, 64, 1
SUITES = {1: AESGCM, 2: ChaCha20Poly1305, 3: AriaGcm}


def derive(key, suite, purpose, context):
    """SP 800-108 r1, counter mode, HMAC-SHA-256, one block."""
    text = struct.pack(">I", 1) + b"GTGN" + bytes([FORMAT, suite]) + purpose + b"\0" + context + struct.pack(">I", 256)
    return hmac.new(key, text, hashlib.sha256).digest()


def open_segment(data_key, suite, body, length, number, sealed):
    last = max(1, -(-length // SEGMENT)) - 1
    nonce = bytes([number == last, 0, 0, 0]) + struct.pack(">Q", number)
    aead = SUITES[suite](derive(data_key, suite, b"body", body))
    return aead.decrypt(nonce, sealed, b"GTGN" + bytes([FORMAT, suite]) + body)


def open_chunk(data_key, suite, body, length, number, stored):
    out = b""
    for n in range(number * PER_CHUNK, min((number + 1) * PER_CHUNK, max(1, -(-length // SEGMENT)))):
        at = n % PER_CHUNK * STRIDE
        plain = min(SEGMENT, length - n * SEGMENT)
        out += open_segment(data_key, suite, body, length, n, stored[at : at + plain + TAG])
    return out


if __name__ == "__main__":
    if len(sys.argv) == 2:
        for v in json.load(open(sys.argv[1]))["bodies"]:
            key, body, stored = (bytes.fromhex(v[f]) for f in ("data_key", "body_id", "stored"))
            plain = open_chunk(key, v["suite"], body, v["length"], 0, stored)
            assert hashlib.sha256(plain).hexdigest() == v["plain_sha256"], v
            print("ok", v["suite"], v["length"])
    else:
        key, body = (bytes.fromhex(a) for a in sys.argv[1:3])
        sys.stdout.buffer.write(open_chunk(key, 1, body, int(sys.argv[3]), int(sys.argv[4]), sys.stdin.buffer.read()))
