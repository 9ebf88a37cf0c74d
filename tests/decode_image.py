#!/usr/bin/env python3
"""decode_image.py IMAGE OFFSET LEN: writes that byte range of the volume, decrypted, to stdout.

A second implementation of docs/format.md, written from that page alone, so that the page and the product hold each
other. KMS is reached as boto3 reaches it, through the AWS variables; the region comes from the key's ARN.
"""
import hashlib, hmac, re, struct, sys, zlib
try:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.hashes import SHA512
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
except ImportError as error:
    sys.exit(f"decode_image.py needs the Python modules boto3 and cryptography: {error}")

BLOCK, MIB, TIB, MAP_LEN, BLOCKS_PER_REGION = 4096, 1 << 20, 1 << 40, 32 << 20, 1 << 28
LIFECYCLE_OFFSETS, COPY_OFFSETS, COPY_LEN = (256 << 10, 768 << 10), (0, 512 << 10), 16 << 10
FIELDS = struct.Struct("<8sIIQQQqQIBBBBHHHHH14s40s128s2048s6144s6144s1756s32sI")
VOLUME_ID, DATABASE_ID = re.compile(rb"vol-[A-Za-z0-9-]{1,32}"), re.compile(rb"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
KEY_ARN = re.compile(rb"arn:[!-9;-~]+:kms:([!-9;-~]+):[!-9;-~]+:key/[!-~]+")

def require(condition, why):
    if not condition:
        sys.exit(f"refused: {why}")

class Superblock:
    """One copy whose CRC is right."""
    def __init__(self, raw):
        (magic, version, block_size, features, self.sequence, self.size, _, _, window, policy, fs_state,
         fs_kind, id_kind, *lens, zeros_1, volume_id, database_id, arn, key, canary, zeros_2, self.mac,
         _) = FIELDS.unpack(raw)
        known = magic == b"envol\0SB" and version == 1 and block_size == BLOCK and features == 0
        require(known, "not a superblock of format version 1, or its block size or a feature is not known")
        require(16 * MIB <= self.size <= 64 * TIB and self.size % BLOCK == 0, "the size makes no sense")
        require(policy in (1, 2, 3) and (window != 0) == (policy == 2), "the revocation policy makes no sense")
        require((fs_state, fs_kind) in ((0, 0), (1, 1), (1, 2), (2, 1), (2, 2)), "the file system makes no sense")
        slots = (volume_id, database_id, arn, key, canary)
        fit = all(0 < n <= len(slot) and not any(slot[n:]) for n, slot in zip(lens, slots))
        require(fit and not any(zeros_1 + zeros_2), "a length is wrong, or what is not used is not zero")
        self.volume_id, database_id, arn, self.wrapped_key, _ = (slot[:n] for n, slot in zip(lens, slots))
        ids = VOLUME_ID.fullmatch(self.volume_id) and DATABASE_ID.fullmatch(database_id) and KEY_ARN.fullmatch(arn)
        require(ids and id_kind in (1, 2), "the volume id, the database id or the key's ARN makes no sense")
        self.arn, self.region, self.raw = arn.decode(), KEY_ARN.fullmatch(arn)[1].decode(), raw
        id_name = "aws:rds:db-id" if id_kind == 1 else "aws:rds:dbc-id"
        self.context = {id_name: database_id.decode(), "aws:ebs:id": self.volume_id.decode()}

def derive(volume_key, info):
    return HKDF(algorithm=SHA512(), length=64, salt=b"", info=info).derive(volume_key)

def read_at(image, offset, length):
    image.seek(offset)
    return image.read(length)

def open_volume(image):
    copies = [read_at(image, offset, COPY_LEN) for offset in COPY_OFFSETS]
    whole = [Superblock(c) for c in copies if len(c) == COPY_LEN and struct.pack("<I", zlib.crc32(c[:-4])) == c[-4:]]
    require(whole, "both copies of the superblock are corrupt")
    require(len({s.volume_id for s in whole}) == 1, "the two copies are of two volumes")
    require(len({s.sequence for s in whole}) == len({s.raw for s in whole}), "one sequence number, two superblocks")
    serving = max(whole, key=lambda s: s.sequence)
    lifecycle = b"".join(read_at(image, offset, 512) for offset in LIFECYCLE_OFFSETS)
    require(lifecycle == bytes(1024), "the volume is terminal, or its lifecycle record is damaged")
    regions = -(-serving.size // TIB)
    require(image.seek(0, 2) >= MIB + regions * MAP_LEN + serving.size, "the image is too short")
    request = {"CiphertextBlob": serving.wrapped_key, "KeyId": serving.arn, "EncryptionContext": serving.context}
    volume_key = boto3.client("kms", region_name=serving.region).decrypt(**request)["Plaintext"]
    mac_key = derive(volume_key, b"envol/v1/header-mac")
    macs = [hmac.new(mac_key, s.raw[:16348], hashlib.sha256).digest() for s in whole]
    require(len(volume_key) == 64 and macs == [s.mac for s in whole], "the MAC of a superblock is wrong")
    xts_keys = [derive(volume_key, b"envol/v1/xts-region" + struct.pack("<I", r)) for r in range(regions)]
    require(all(k[:32] != k[32:] for k in xts_keys), "both halves of an XTS key are the same")
    return serving.size, xts_keys

def read_block(image, xts_keys, block):
    region, index = block >> 28, block & (BLOCKS_PER_REGION - 1)
    base = MIB + region * (MAP_LEN + TIB)
    if not read_at(image, base + (index >> 3), 1)[0] >> (block & 7) & 1:
        return bytes(BLOCK)
    ciphertext = read_at(image, base + MAP_LEN + index * BLOCK, BLOCK)
    require(any(ciphertext), f"block {block} was lost")
    tweak = modes.XTS(block.to_bytes(16, "little"))
    return Cipher(algorithms.AES(xts_keys[region]), tweak).decryptor().update(ciphertext)

def main(path, offset, length):
    with open(path, "rb") as image:
        size, xts_keys = open_volume(image)
        end = offset + length
        require(0 <= offset <= end <= size, f"the volume has {size} bytes")
        for block in range(offset // BLOCK, -(-end // BLOCK)):
            start = block * BLOCK
            sys.stdout.buffer.write(read_block(image, xts_keys, block)[max(offset - start, 0) : end - start])

if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    except (BotoCoreError, ClientError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
