#!/usr/bin/env python3
"""Wraps key material for ImportKeyMaterial, with nothing but Python's own library.

    aws kms get-parameters-for-import … --wrapping-algorithm RSAES_OAEP_SHA_256 --output json | wrap-key-material.py DIR

DIR/material is what to wrap; DIR/wrapped and DIR/token are then what import-key-material asks for.
"""

import base64
import hashlib
import json
import pathlib
import secrets
import sys


def element(der, at):
    """Where the content of the DER element at `at` begins and ends."""
    length, begin = der[at + 1], at + 2
    if length & 0x80:
        octets = length & 0x7F
        length, begin = int.from_bytes(der[begin : begin + octets], "big"), begin + octets
    return begin, begin + length


def public_key(der):
    """Modulus and exponent of a SubjectPublicKeyInfo (RFC 5280) that holds an RSAPublicKey (RFC 8017, A.1.1)."""
    info, _ = element(der, 0)
    _, after_algorithm = element(der, info)
    bits, _ = element(der, after_algorithm)
    # The first octet of a bit string counts unused bits.
    key, _ = element(der, bits + 1)
    modulus, after_modulus = element(der, key)
    exponent, end = element(der, after_modulus)
    return int.from_bytes(der[modulus:after_modulus], "big"), int.from_bytes(der[exponent:end], "big")


def mask(seed, length):
    """MGF1 with SHA-256 (RFC 8017, B.2.1)."""
    blocks = (hashlib.sha256(seed + count.to_bytes(4, "big")).digest() for count in range(length // 32 + 1))
    return b"".join(blocks)[:length]


def exclusive_or(left, right):
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def oaep(modulus, exponent, message):
    """RSAES-OAEP with SHA-256 and no label (RFC 8017, 7.1.1)."""
    size = (modulus.bit_length() + 7) // 8
    padding = bytes(size - len(message) - 2 * 32 - 2)
    block = hashlib.sha256(b"").digest() + padding + b"\x01" + message
    seed = secrets.token_bytes(32)
    masked = exclusive_or(block, mask(seed, len(block)))
    masked_seed = exclusive_or(seed, mask(masked, 32))
    encoded = int.from_bytes(b"\x00" + masked_seed + masked, "big")
    return pow(encoded, exponent, modulus).to_bytes(size, "big")


def main():
    directory = pathlib.Path(sys.argv[1])
    parameters = json.load(sys.stdin)
    modulus, exponent = public_key(base64.b64decode(parameters["PublicKey"]))
    wrapped = oaep(modulus, exponent, (directory / "material").read_bytes())
    (directory / "wrapped").write_bytes(wrapped)
    (directory / "token").write_bytes(base64.b64decode(parameters["ImportToken"]))


if __name__ == "__main__":
    main()
