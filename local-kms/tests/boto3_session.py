"""Uses a KMS through boto3 and asserts every answer. Run by boto3.rs: boto3_session.py PART FILE."""

import base64
import contextlib
import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

CONTEXT = {"aws:rds:db-id": "db-X", "aws:ebs:id": "vol-1"}
KMS = boto3.client("kms", config=Config(retries={"total_max_attempts": 1}))


@contextlib.contextmanager
def refused(code, message=None):
    """The block must be refused with `code`, and `message` if given."""
    try:
        yield
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        if message is not None:
            assert error.response["Error"]["Message"] == message, error
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400, error
        assert error.response["ResponseMetadata"]["RequestId"], error
    else:
        raise AssertionError(f"not refused with {code}")


def before_restart(file):
    metadata = KMS.create_key(Description="volumes", Tags=[{"TagKey": "team", "TagValue": "db"}])["KeyMetadata"]
    key, arn = metadata["KeyId"], metadata["Arn"]
    assert metadata["KeyState"] == "Enabled" and metadata["CreationDate"].year >= 2024, metadata
    other = KMS.create_key()["KeyMetadata"]["KeyId"]

    KMS.create_alias(AliasName="alias/db", TargetKeyId=key)
    with refused("AlreadyExistsException"):
        KMS.create_alias(AliasName="alias/db", TargetKeyId=key)
    for name in [key, arn, "alias/db", arn.replace(f"key/{key}", "alias/db")]:
        assert KMS.describe_key(KeyId=name)["KeyMetadata"]["KeyId"] == key, name
    pages = list(KMS.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 1}))
    assert [len(page["Keys"]) for page in pages] == [1, 1], pages
    assert {page["Keys"][0]["KeyId"] for page in pages} == {key, other}, pages
    aliases = KMS.list_aliases(KeyId=key)["Aliases"]
    assert [alias["AliasName"] for alias in aliases] == ["alias/db"], aliases
    with refused("NotFoundException", "Invalid keyId 'fake-key-id'"):
        KMS.describe_key(KeyId="fake-key-id")

    data_key = KMS.generate_data_key(KeyId="alias/db", NumberOfBytes=64, EncryptionContext=CONTEXT)
    blob, plaintext = data_key["CiphertextBlob"], data_key["Plaintext"]
    assert len(plaintext) == 64 and data_key["KeyId"] == arn and len(data_key["KeyMaterialId"]) == 64
    sealed = KMS.generate_data_key_without_plaintext(KeyId=key, NumberOfBytes=64, EncryptionContext=CONTEXT)
    assert "Plaintext" not in sealed
    opened = KMS.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT)
    assert opened["Plaintext"] == plaintext and opened["KeyId"] == arn
    assert len(KMS.decrypt(CiphertextBlob=sealed["CiphertextBlob"], EncryptionContext=CONTEXT)["Plaintext"]) == 64
    for wrong in [{}, {"aws:ebs:id": "vol-1"}, {"aws:rds:db-id": "db-X", "aws:ebs:i": "dvol-1"}]:
        with refused("InvalidCiphertextException", ""):
            KMS.decrypt(CiphertextBlob=blob, EncryptionContext=wrong)
    with refused("InvalidCiphertextException"):
        KMS.decrypt(CiphertextBlob=blob[:-1], EncryptionContext=CONTEXT)
    with refused("IncorrectKeyException"):
        KMS.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT, KeyId=other)
    with refused("DryRunOperationException"):
        KMS.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT, DryRun=True)
    with refused("ValidationException"):
        KMS.encrypt(KeyId=key, Plaintext=b"x" * 4097)
    largest = KMS.encrypt(KeyId=key, Plaintext=b"x" * 4096)["CiphertextBlob"]
    assert len(largest) <= 6144 and KMS.decrypt(CiphertextBlob=largest)["Plaintext"] == b"x" * 4096

    KMS.disable_key(KeyId=key)
    with refused("DisabledException", f"{arn} is disabled."):
        KMS.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT)
    KMS.enable_key(KeyId=key)
    for days in [6, 31]:
        with refused("ValidationException"):
            KMS.schedule_key_deletion(KeyId=key, PendingWindowInDays=days)
    with refused("KMSInvalidStateException", f"{arn} is not pending deletion."):
        KMS.cancel_key_deletion(KeyId=key)
    scheduled = KMS.schedule_key_deletion(KeyId=key, PendingWindowInDays=30)
    assert scheduled["KeyState"] == "PendingDeletion" and scheduled["KeyId"] == arn, scheduled
    assert KMS.describe_key(KeyId=key)["KeyMetadata"]["DeletionDate"] == scheduled["DeletionDate"]
    with refused("KMSInvalidStateException", f"{arn} is pending deletion."):
        KMS.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT)
    assert KMS.cancel_key_deletion(KeyId=key)["KeyId"] == arn
    assert KMS.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Disabled"
    KMS.enable_key(KeyId=key)

    moved = KMS.re_encrypt(CiphertextBlob=blob, SourceEncryptionContext=CONTEXT, DestinationKeyId=other)
    assert KMS.decrypt(CiphertextBlob=moved["CiphertextBlob"], KeyId=other)["Plaintext"] == plaintext
    assert len(KMS.generate_random(NumberOfBytes=32)["Plaintext"]) == 32

    wrong_secret = boto3.client("kms", aws_access_key_id=access_key_id(), aws_secret_access_key="x" * 40)
    with refused("InvalidSignatureException"):
        wrong_secret.list_keys()
    unknown = boto3.client("kms", aws_access_key_id="AKIAAAAAAAAAAAAAAAAA", aws_secret_access_key="x" * 40)
    with refused("UnrecognizedClientException", "The security token included in the request is invalid."):
        unknown.list_keys()

    with open(file, "w", encoding="ascii") as out:
        encoded = {"blob": base64.b64encode(blob).decode(), "plaintext": base64.b64encode(plaintext).decode()}
        json.dump({"key": key, **encoded}, out)


def after_restart(file):
    with open(file, encoding="ascii") as saved:
        session = json.load(saved)
    opened = KMS.decrypt(CiphertextBlob=base64.b64decode(session["blob"]), EncryptionContext=CONTEXT)
    assert opened["Plaintext"] == base64.b64decode(session["plaintext"])
    assert KMS.describe_key(KeyId="alias/db")["KeyMetadata"]["KeyId"] == session["key"]
    KMS.delete_alias(AliasName="alias/db")
    assert KMS.list_aliases()["Aliases"] == []


def access_key_id():
    return boto3.Session().get_credentials().access_key


if __name__ == "__main__":
    {"before-restart": before_restart, "after-restart": after_restart}[sys.argv[1]](sys.argv[2])
