#!/usr/bin/env bash
# Wraps a key of 32 bytes for transport, with the command line of OpenSSL 3 and nothing else.
#
#   wrap.sh PUBLIC.pem FINGERPRINT KEY METHOD >WRAPPED
#
# FINGERPRINT is what we publish of PUBLIC.pem: SHA-256 of its DER in hex. METHOD is RSA-OAEP-SHA256, or
# RSA-AES-KWP-SHA256: there the key of one use stands for a moment among the arguments of a process, so do that one
# where nobody else is logged in. A new key: openssl rand -out KEY 32
set -euo pipefail
[ $# = 4 ] || { echo "usage: wrap.sh PUBLIC.pem FINGERPRINT KEY METHOD >WRAPPED" >&2; exit 2; }
public=$1 fingerprint=$2 key=$3 method=$4
fail() { echo "wrap: $*" >&2; exit 1; }

[ "$(wc -c <"$key")" -eq 32 ] || fail "$key does not have 32 bytes"
found=$(openssl pkey -pubin -in "$public" -outform DER | openssl dgst -sha256 -r)
[ "${found%% *}" = "${fingerprint,,}" ] || fail "$public is another key: its fingerprint is ${found%% *}"

oaep() {
    openssl pkeyutl -encrypt -pubin -inkey "$public" \
        -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha256
}
case $method in
RSA-OAEP-SHA256) oaep <"$key" ;;
RSA-AES-KWP-SHA256)
    once=$(openssl rand -hex 32)
    printf '%b' "$(sed 's/../\\x&/g' <<<"$once")" | oaep
    openssl enc -id-aes256-wrap-pad -iv A65959A6 -K "$once" -in "$key"
    ;;
*) fail "no such method: $method" ;;
esac
