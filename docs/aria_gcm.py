"""ARIA-256-GCM (RFC 6209) of the system's OpenSSL 3, which the Python package `cryptography` does not offer."""
import ctypes, ctypes.util

crypto = ctypes.CDLL(ctypes.util.find_library("crypto"))
for name in ("EVP_CIPHER_CTX_new", "EVP_aria_256_gcm"):
    getattr(crypto, name).restype = ctypes.c_void_p
TAG, SET_TAG = 16, 0x11


class AriaGcm:
    def __init__(self, key):
        self.key = key

    def decrypt(self, nonce, data, aad):
        """The plaintext of `data`, which ends in its tag; `ValueError` when it is not authentic."""
        sealed, tag = data[:-TAG], data[-TAG:]
        out, length = ctypes.create_string_buffer(len(sealed) + 16), ctypes.c_int()
        context = ctypes.c_void_p(crypto.EVP_CIPHER_CTX_new())
        try:
            cipher = ctypes.c_void_p(crypto.EVP_aria_256_gcm())
            steps = [
                crypto.EVP_DecryptInit_ex(context, cipher, None, self.key, nonce),
                crypto.EVP_DecryptUpdate(context, None, ctypes.byref(length), aad, len(aad)),
                crypto.EVP_DecryptUpdate(context, out, ctypes.byref(length), sealed, len(sealed)) if sealed else 1,
                crypto.EVP_CIPHER_CTX_ctrl(context, SET_TAG, TAG, tag),
                crypto.EVP_DecryptFinal_ex(context, ctypes.create_string_buffer(16), ctypes.byref(length)),
            ]
        finally:
            crypto.EVP_CIPHER_CTX_free(context)
        if steps != [1] * 5:
            raise ValueError("not authentic")
        return out.raw[: len(sealed)]
