"""Rotation, and key material that was made elsewhere (BYOK), through boto3."""

import datetime
import os

from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import padding

from boto3_support import kms, new_key, refused

KMS = kms()
CONTEXT = {"aws:ebs:id": "vol-1"}
NEVER = {"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}


def wrap(algorithm, public_key, material):
    """As the developer guide of KMS tells to do it with other tools."""
    public_key = serialization.load_der_public_key(public_key)
    digest = hashes.SHA1() if algorithm.endswith("SHA_1") else hashes.SHA256()
    oaep = padding.OAEP(mgf=padding.MGF1(digest), algorithm=digest, label=None)
    if algorithm.startswith("RSAES_OAEP"):
        return public_key.encrypt(material, oaep)
    wrapping = os.urandom(32)
    return public_key.encrypt(wrapping, oaep) + keywrap.aes_key_wrap_with_padding(wrapping, material)


def parameters(key, algorithm="RSAES_OAEP_SHA_256", spec="RSA_2048"):
    return KMS.get_parameters_for_import(KeyId=key, WrappingAlgorithm=algorithm, WrappingKeySpec=spec)


def import_material(key, material, algorithm="RSAES_OAEP_SHA_256", spec="RSA_2048", **members):
    got = parameters(key, algorithm, spec)
    wrapped = wrap(algorithm, got["PublicKey"], material)
    members = {"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"} | members
    return KMS.import_key_material(
        KeyId=key, ImportToken=got["ImportToken"], EncryptedKeyMaterial=wrapped, **members
    )


def metadata(key):
    return KMS.describe_key(KeyId=key)["KeyMetadata"]


def materials(key):
    return KMS.list_key_rotations(KeyId=key, IncludeKeyMaterial="ALL_KEY_MATERIAL")["Rotations"]


def rotation():
    key, arn = new_key(KMS)
    assert KMS.list_key_rotations(KeyId=key)["Rotations"] == []
    blobs = []
    for _ in range(3):
        blobs.append(KMS.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext=CONTEXT)["CiphertextBlob"])
        KMS.rotate_key_on_demand(KeyId=key)
    used = [KMS.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT)["KeyMaterialId"] for blob in blobs]
    now = metadata(key)["CurrentKeyMaterialId"]
    listed = materials(key)
    assert [entry["KeyMaterialId"] for entry in listed] == used + [now], (listed, used, now)
    assert [entry["KeyMaterialState"] for entry in listed] == ["NON_CURRENT"] * 3 + ["CURRENT"], listed
    assert [entry.get("RotationType") for entry in listed] == [None] + ["ON_DEMAND"] * 3, listed
    assert KMS.list_key_rotations(KeyId=key)["Rotations"] == listed[1:]
    assert metadata(key)["Arn"] == arn
    for _ in range(22):
        KMS.rotate_key_on_demand(KeyId=key)
    with refused("LimitExceededException"):
        KMS.rotate_key_on_demand(KeyId=key)
    assert KMS.decrypt(CiphertextBlob=blobs[0], EncryptionContext=CONTEXT)["KeyMaterialId"] == used[0]

    for period in (None, 90, 2560):
        KMS.enable_key_rotation(KeyId=key, **({} if period is None else {"RotationPeriodInDays": period}))
        status = KMS.get_key_rotation_status(KeyId=key)
        days = datetime.timedelta(days=period or 365)
        left = status["NextRotationDate"] - datetime.datetime.now(datetime.timezone.utc)
        assert status["KeyRotationEnabled"] and status["RotationPeriodInDays"] == days.days, status
        assert days - datetime.timedelta(minutes=5) < left <= days, status
    KMS.disable_key(KeyId=key)
    for call in (KMS.rotate_key_on_demand, KMS.enable_key_rotation, KMS.disable_key_rotation):
        with refused("DisabledException"):
            call(KeyId=key)
    assert KMS.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"]
    KMS.schedule_key_deletion(KeyId=key)
    assert not KMS.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"]
    with refused("KMSInvalidStateException", "is pending deletion."):
        KMS.rotate_key_on_demand(KeyId=key)
    KMS.cancel_key_deletion(KeyId=key)
    KMS.enable_key(KeyId=key)
    assert KMS.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"]
    KMS.disable_key_rotation(KeyId=key)
    assert "NextRotationDate" not in KMS.get_key_rotation_status(KeyId=key)


def every_way_to_wrap():
    for algorithm, spec in [
        ("RSAES_OAEP_SHA_1", "RSA_2048"),
        ("RSAES_OAEP_SHA_256", "RSA_3072"),
        ("RSA_AES_KEY_WRAP_SHA_1", "RSA_2048"),
        ("RSA_AES_KEY_WRAP_SHA_256", "RSA_4096"),
    ]:
        created = KMS.create_key(Origin="EXTERNAL")["KeyMetadata"]
        key = created["KeyId"]
        assert (created["KeyState"], created["Enabled"], created["Origin"]) == ("PendingImport", False, "EXTERNAL")
        with refused("KMSInvalidStateException", f"{created['Arn']} is pending import."):
            KMS.encrypt(KeyId=key, Plaintext=b"x")
        material = os.urandom(32)
        imported = import_material(key, material, algorithm, spec)
        assert imported["KeyId"] == created["Arn"] and metadata(key)["KeyState"] == "Enabled", imported
        blob = KMS.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
        KMS.delete_imported_key_material(KeyId=key)
        assert metadata(key)["KeyState"] == "PendingImport"
        with refused("KMSInvalidStateException", "is pending import."):
            KMS.decrypt(CiphertextBlob=blob)
        with refused("IncorrectKeyMaterialException"):
            import_material(key, os.urandom(32), algorithm, spec)
        # The same material, however it is wrapped.
        again = import_material(key, material)
        assert again["KeyMaterialId"] == imported["KeyMaterialId"]
        assert KMS.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def what_is_no_import():
    key, other = (KMS.create_key(Origin="EXTERNAL")["KeyMetadata"]["KeyId"] for _ in range(2))
    got, of_other = parameters(key), parameters(other)
    wrapped = wrap("RSAES_OAEP_SHA_256", got["PublicKey"], os.urandom(32))
    right = {"KeyId": key, "ImportToken": got["ImportToken"], "EncryptedKeyMaterial": wrapped} | NEVER
    for token in (of_other["ImportToken"], b"token", got["ImportToken"][:-1] + b"\0", got["ImportToken"] + b"\0"):
        with refused("InvalidImportTokenException"):
            KMS.import_key_material(**right | {"ImportToken": token})
    for damaged in (wrapped[:-1], b"x" * 256, wrap("RSAES_OAEP_SHA_1", got["PublicKey"], b"m" * 32)):
        with refused("InvalidCiphertextException"):
            KMS.import_key_material(**right | {"EncryptedKeyMaterial": damaged})
    for length in (16, 31, 33):
        short = wrap("RSAES_OAEP_SHA_256", got["PublicKey"], b"m" * length)
        with refused("IncorrectKeyMaterialException"):
            KMS.import_key_material(**right | {"EncryptedKeyMaterial": short})
    now = datetime.datetime.now(datetime.timezone.utc)
    for expiry in (
        {"ExpirationModel": "KEY_MATERIAL_EXPIRES"},
        {"ExpirationModel": "KEY_MATERIAL_EXPIRES", "ValidTo": now - datetime.timedelta(minutes=1)},
        {"ExpirationModel": "KEY_MATERIAL_EXPIRES", "ValidTo": now + datetime.timedelta(days=366)},
        {"ValidTo": now + datetime.timedelta(days=1)},
    ):
        with refused("ValidationException", "alid"):
            KMS.import_key_material(**right | expiry)
    assert metadata(key)["KeyState"] == "PendingImport"
    valid_to = (now + datetime.timedelta(days=30)).replace(microsecond=0)
    KMS.import_key_material(**right | {"ExpirationModel": "KEY_MATERIAL_EXPIRES", "ValidTo": valid_to})
    assert (metadata(key)["ValidTo"], metadata(key)["ExpirationModel"]) == (valid_to, "KEY_MATERIAL_EXPIRES")

    own = KMS.create_key()["KeyMetadata"]["KeyId"]
    with refused("UnsupportedOperationException"):
        parameters(own)
    with refused("UnsupportedOperationException"):
        KMS.delete_imported_key_material(KeyId=own)
    with refused("UnsupportedOperationException"):
        KMS.enable_key_rotation(KeyId=key)
    with refused("UnsupportedOperationException"):
        parameters(key, "RSAES_PKCS1_V1_5")


def imported_material_is_rotated():
    key = KMS.create_key(Origin="EXTERNAL")["KeyMetadata"]["KeyId"]
    first = import_material(key, b"1" * 32, KeyMaterialDescription="the first")["KeyMaterialId"]
    with refused("KMSInvalidStateException", "No available key material pending rotation"):
        KMS.rotate_key_on_demand(KeyId=key)
    blob = KMS.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    second = import_material(key, b"2" * 32, ImportType="NEW_KEY_MATERIAL")["KeyMaterialId"]
    assert metadata(key)["CurrentKeyMaterialId"] == first
    states = [(entry["KeyMaterialId"], entry["KeyMaterialState"], entry["ImportState"]) for entry in materials(key)]
    assert states == [(first, "CURRENT", "IMPORTED"), (second, "PENDING_ROTATION", "IMPORTED")], states
    assert materials(key)[0]["KeyMaterialDescription"] == "the first"
    KMS.rotate_key_on_demand(KeyId=key)
    assert metadata(key)["CurrentKeyMaterialId"] == second
    assert KMS.decrypt(CiphertextBlob=blob)["KeyMaterialId"] == first
    # Without any of its materials the key waits.
    assert KMS.delete_imported_key_material(KeyId=key, KeyMaterialId=first)["KeyMaterialId"] == first
    with refused("KMSInvalidStateException", "is pending import."):
        KMS.encrypt(KeyId=key, Plaintext=b"x")
    with refused("IncorrectKeyMaterialException"):
        import_material(key, b"3" * 32)
    import_material(key, b"1" * 32, KeyMaterialId=first)
    assert KMS.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


if __name__ == "__main__":
    rotation()
    every_way_to_wrap()
    what_is_no_import()
    imported_material_is_rotated()
