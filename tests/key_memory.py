#!/usr/bin/env python3
"""key_memory.py IMAGE: asks KMS for the volume key, derives the others, and for each line `PID` on stdin prints in which
mappings of that process which of them lies, as one JSON object.

The names of mappings are those of /proc/PID/maps; reading another process's memory needs root.
"""
import base64, json, sys
import decode_image

def sbox():
    """FIPS 197, 5.1.1: the inverse in GF(2^8), and an affine map of it."""
    box, p, q = [0x63] * 256, 1, 1
    while True:
        p ^= (p << 1 ^ (0x11B if p & 0x80 else 0)) & 0xFF
        for shift in (1, 2, 4):
            q ^= q << shift & 0xFF
        q ^= 0x09 if q & 0x80 else 0
        turned = q
        for shift in (1, 2, 3, 4):
            turned ^= (q << shift | q >> 8 - shift) & 0xFF
        box[p] = turned ^ 0x63
        if p == 1:
            return box

def round_keys(key):
    """FIPS 197, 5.2, for AES-256: fifteen keys of 16 bytes."""
    box, words, constant = sbox(), [key[i : i + 4] for i in range(0, 32, 4)], 1
    for i in range(8, 60):
        word = words[-1]
        if i % 8 == 0:
            word = bytes(box[b] for b in word[1:] + word[:1])
            word, constant = bytes([word[0] ^ constant]) + word[1:], constant << 1
        elif i % 8 == 4:
            word = bytes(box[b] for b in word)
        words.append(bytes(a ^ b for a, b in zip(words[i - 8], word)))
    return [b"".join(words[i : i + 4]) for i in range(0, 60, 4)]

def patterns(path):
    keys = []
    derive = decode_image.derive
    decode_image.derive = lambda key, info: (keys.append(key), derive(key, info))[1]
    with open(path, "rb") as image:
        _, xts = decode_image.open_volume(image)
    volume_key = keys[0]
    found = {"volume key": [volume_key, volume_key[:32], volume_key[32:]],
             "volume key in base64": [base64.b64encode(volume_key)[:84]],
             "key of the header's MAC": [derive(volume_key, b"envol/v1/header-mac")],
             "XTS keys": [half for key in xts for half in (key[:32], key[32:])]}
    found["round keys"] = [one for half in found["XTS keys"] for one in round_keys(half)[2:]]
    return found

def mappings(pid):
    for line in open(f"/proc/{pid}/maps"):
        fields = line.split(None, 5)
        if fields[1].startswith("r") and not line.rstrip().endswith(("[vvar]", "[vvar_vclock]", "[vsyscall]")):
            start, end = (int(part, 16) for part in fields[0].split("-"))
            yield start, end, fields[5].strip() if len(fields) > 5 else "anonymous"

def scan(pid, secrets):
    hits = {}
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for start, end, name in mappings(pid):
            try:
                memory.seek(start)
                content = memory.read(end - start)
            except (OSError, ValueError, OverflowError):
                continue
            for what, values in secrets.items():
                if any(value in content for value in values):
                    hits.setdefault(what, []).append(name)
    return hits

if __name__ == "__main__":
    secrets = patterns(sys.argv[1])
    print("ready", flush=True)
    for line in sys.stdin:
        try:
            hits = scan(int(line), secrets)
        except (FileNotFoundError, ProcessLookupError):
            hits = {}
        print(json.dumps(hits), flush=True)
