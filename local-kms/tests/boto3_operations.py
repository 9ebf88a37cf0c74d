"""Every operation once through boto3, every paginator over several pages, and what is malformed."""

from boto3_support import ROOT_DELEGATES, answered, kms, new_key, policy, refused, user
from boto3_rotation_and_import import wrap

KMS = kms()
# Sends what boto3 would refuse to send.
UNCHECKED = kms(parameter_validation=False)
CONTEXT = {"aws:ebs:id": "vol-1"}
OPERATIONS = {
    "CancelKeyDeletion", "CreateAlias", "CreateGrant", "CreateKey", "Decrypt", "DeleteAlias",
    "DeleteImportedKeyMaterial", "DescribeKey", "DisableKey", "DisableKeyRotation", "EnableKey", "EnableKeyRotation",
    "Encrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "GenerateRandom", "GetKeyLastUsage",
    "GetKeyPolicy", "GetKeyRotationStatus", "GetParametersForImport", "ImportKeyMaterial", "ListAliases", "ListGrants",
    "ListKeyPolicies", "ListKeyRotations", "ListKeys", "ListResourceTags", "ListRetirableGrants", "PutKeyPolicy",
    "ReEncrypt", "RetireGrant", "RevokeGrant", "RotateKeyOnDemand", "ScheduleKeyDeletion", "TagResource",
    "UntagResource", "UpdateAlias", "UpdateKeyDescription",
}  # fmt: skip


def every_operation():
    (key, arn), (other, _) = new_key(KMS, Description="one"), new_key(KMS)
    KMS.update_key_description(KeyId=key, Description="two")
    described = KMS.describe_key(KeyId=key)["KeyMetadata"]
    assert described["Description"] == "two" and described["Enabled"] and len(described["CurrentKeyMaterialId"]) == 64
    assert {entry["KeyId"] for entry in KMS.list_keys()["Keys"]} == {key, other}

    KMS.create_alias(AliasName="alias/one", TargetKeyId=other)
    KMS.update_alias(AliasName="alias/one", TargetKeyId=key)
    (alias,) = KMS.list_aliases()["Aliases"]
    assert alias["TargetKeyId"] == key and alias["LastUpdatedDate"] >= alias["CreationDate"], alias
    assert alias["AliasArn"] == arn.replace(f"key/{key}", "alias/one"), alias
    KMS.delete_alias(AliasName="alias/one")
    assert KMS.list_aliases(KeyId=key)["Aliases"] == []

    assert "KeyLastUsage" not in KMS.get_key_last_usage(KeyId=key)
    sealed = KMS.encrypt(KeyId=key, Plaintext=b"secret", EncryptionContext=CONTEXT)
    assert sealed["KeyId"] == arn and sealed["EncryptionAlgorithm"] == "SYMMETRIC_DEFAULT", sealed
    usage = KMS.get_key_last_usage(KeyId=key)
    request = sealed["ResponseMetadata"]["RequestId"]
    assert usage["KeyLastUsage"]["Operation"] == "Encrypt" and usage["KeyLastUsage"]["KmsRequestId"] == request, usage
    assert usage["TrackingStartDate"] <= usage["KeyLastUsage"]["Timestamp"], usage
    blob = sealed["CiphertextBlob"]
    opened = KMS.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT)
    assert (opened["Plaintext"], opened["KeyMaterialId"]) == (b"secret", described["CurrentKeyMaterialId"]), opened
    moved = KMS.re_encrypt(CiphertextBlob=blob, SourceEncryptionContext=CONTEXT, DestinationKeyId=other)
    assert moved["SourceKeyId"] == arn and moved["SourceKeyMaterialId"] == described["CurrentKeyMaterialId"], moved
    assert KMS.decrypt(CiphertextBlob=moved["CiphertextBlob"])["KeyId"] == moved["KeyId"] != arn
    assert len(KMS.generate_data_key(KeyId=key, KeySpec="AES_128")["Plaintext"]) == 16
    wrapped = KMS.generate_data_key_without_plaintext(KeyId=key, KeySpec="AES_256")["CiphertextBlob"]
    assert len(KMS.decrypt(CiphertextBlob=wrapped)["Plaintext"]) == 32
    assert KMS.generate_random(NumberOfBytes=32)["Plaintext"] != KMS.generate_random(NumberOfBytes=32)["Plaintext"]

    tags = [{"TagKey": "team", "TagValue": "db"}, {"TagKey": "tier", "TagValue": ""}]
    KMS.tag_resource(KeyId=key, Tags=tags)
    KMS.tag_resource(KeyId=key, Tags=[{"TagKey": "team", "TagValue": "ops"}])
    listed = {tag["TagKey"]: tag["TagValue"] for tag in KMS.list_resource_tags(KeyId=key)["Tags"]}
    assert listed == {"team": "ops", "tier": ""}, listed
    KMS.untag_resource(KeyId=key, TagKeys=["team", "not there"])
    assert KMS.list_resource_tags(KeyId=key)["Tags"] == [tags[1]]
    for wrong in ["aws:x", "tier", "x"]:
        with refused("TagException"):
            KMS.tag_resource(KeyId=key, Tags=[{"TagKey": wrong, "TagValue": "x"}] * (1 if wrong == "aws:x" else 2))
    with refused("TagException"):
        KMS.tag_resource(KeyId=key, Tags=[{"TagKey": f"tag-{i}", "TagValue": "x"} for i in range(50)])
    KMS.tag_resource(KeyId=key, Tags=[{"TagKey": f"tag-{i}", "TagValue": "x"} for i in range(49)])

    KMS.put_key_policy(KeyId=key, Policy=policy(ROOT_DELEGATES), PolicyName="default")
    got = KMS.get_key_policy(KeyId=key)
    assert (got["Policy"], got["PolicyName"]) == (policy(ROOT_DELEGATES), "default"), got
    assert KMS.list_key_policies(KeyId=key)["PolicyNames"] == ["default"]

    grant = {"KeyId": key, "GranteePrincipal": user("alice"), "Operations": ["Decrypt"]}
    retiring = grant | {"RetiringPrincipal": user("envol-admin")}
    first, second = KMS.create_grant(**grant), KMS.create_grant(**retiring)
    assert {entry["GrantId"] for entry in KMS.list_grants(KeyId=key)["Grants"]} == {first["GrantId"], second["GrantId"]}
    (retirable,) = KMS.list_retirable_grants(RetiringPrincipal=user("envol-admin"))["Grants"]
    assert retirable["GrantId"] == second["GrantId"], retirable
    KMS.revoke_grant(KeyId=key, GrantId=first["GrantId"])
    KMS.retire_grant(GrantToken=second["GrantToken"])
    assert KMS.list_grants(KeyId=key)["Grants"] == []

    KMS.enable_key_rotation(KeyId=key, RotationPeriodInDays=90)
    status = KMS.get_key_rotation_status(KeyId=key)
    assert status["KeyRotationEnabled"] and status["RotationPeriodInDays"] == 90, status
    KMS.disable_key_rotation(KeyId=key)
    assert not KMS.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"]
    KMS.rotate_key_on_demand(KeyId=key)
    (rotation,) = KMS.list_key_rotations(KeyId=key)["Rotations"]
    assert (rotation["RotationType"], rotation["KeyMaterialState"]) == ("ON_DEMAND", "CURRENT"), rotation

    external = KMS.create_key(Origin="EXTERNAL")["KeyMetadata"]["KeyId"]
    algorithm = "RSAES_OAEP_SHA_256"
    parameters = KMS.get_parameters_for_import(
        KeyId=external, WrappingAlgorithm=algorithm, WrappingKeySpec="RSA_2048"
    )
    KMS.import_key_material(
        KeyId=external,
        ImportToken=parameters["ImportToken"],
        EncryptedKeyMaterial=wrap(algorithm, parameters["PublicKey"], b"m" * 32),
        ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE",
    )
    KMS.delete_imported_key_material(KeyId=external)

    KMS.disable_key(KeyId=key)
    KMS.enable_key(KeyId=key)
    assert KMS.schedule_key_deletion(KeyId=key)["PendingWindowInDays"] == 30
    KMS.cancel_key_deletion(KeyId=key)
    assert answered == OPERATIONS, (OPERATIONS - answered, answered - OPERATIONS)


def other_operations_are_refused():
    key = KMS.create_key()["KeyMetadata"]["KeyId"]
    others = set(KMS.meta.service_model.operation_names) - OPERATIONS
    assert {"Sign", "GenerateMac", "ReplicateKey", "CreateCustomKeyStore"} <= others
    for method, operation in KMS.meta.method_to_api_mapping.items():
        if operation in others:
            members = KMS.meta.service_model.operation_model(operation).input_shape.members
            with refused("UnknownOperationException"):
                getattr(UNCHECKED, method)(**({"KeyId": key} if "KeyId" in members else {}))


def paginators():
    key = KMS.create_key(Tags=[{"TagKey": f"tag-{i}", "TagValue": "x"} for i in range(5)])["KeyMetadata"]["KeyId"]
    for i in range(5):
        KMS.create_key()
        KMS.create_alias(AliasName=f"alias/page/{i}", TargetKeyId=key)
        KMS.rotate_key_on_demand(KeyId=key)
        grantee = {"GranteePrincipal": user(f"somebody-{i}"), "RetiringPrincipal": user("alice")}
        KMS.create_grant(KeyId=key, Operations=["Decrypt"], **grantee)
    of_key = {"KeyId": key}
    paginated = {
        "list_keys": ("Keys", {}),
        "list_aliases": ("Aliases", {}),
        "list_resource_tags": ("Tags", of_key),
        "list_grants": ("Grants", of_key),
        "list_retirable_grants": ("Grants", {"RetiringPrincipal": user("alice")}),
        "list_key_rotations": ("Rotations", of_key | {"IncludeKeyMaterial": "ALL_KEY_MATERIAL"}),
        "list_key_policies": ("PolicyNames", of_key),
    }
    known = {method for method in dir(KMS) if method.startswith("list_") and KMS.can_paginate(method)}
    assert known == paginated.keys(), known ^ paginated.keys()
    for method, (member, parameters) in paginated.items():
        whole = getattr(KMS, method)(**parameters)
        assert whole["Truncated"] is False and "NextMarker" not in whole, (method, whole)
        for size in (1, 2, len(whole[member])):
            pages = list(KMS.get_paginator(method).paginate(**parameters, PaginationConfig={"PageSize": size}))
            assert [entry for page in pages for entry in page[member]] == whole[member], (method, size)
            assert len(pages) == -(-len(whole[member]) // size), (method, size, len(pages))
            assert len(pages) >= 2 or size > 1 or method == "list_key_policies", (method, size)
            assert [page["Truncated"] for page in pages] == [True] * (len(pages) - 1) + [False], (method, size)
        marker = "Li4u" if method != "list_retirable_grants" else "x"
        if method in ("list_grants", "list_retirable_grants", "list_key_rotations"):
            with refused("InvalidMarkerException"):
                getattr(KMS, method)(**parameters, Marker=marker)
        for limit in (0, 1001):
            with refused("ValidationException", "'limit' failed to satisfy constraint"):
                getattr(UNCHECKED, method)(**parameters, Limit=limit)


def wrong_types():
    """A member of another type than the model's is one thing, a value out of its bounds another."""
    key = KMS.create_key()["KeyMetadata"]["KeyId"]
    blob = KMS.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    for method, parameters in [
        ("describe_key", {"KeyId": 5}),
        ("create_key", {"Description": ["x"]}),
        ("create_key", {"MultiRegion": "yes"}),
        ("create_key", {"Tags": [{"TagKey": 5, "TagValue": "x"}]}),
        ("create_key", {"Tags": [{"TagKey": "x"}]}),
        ("list_keys", {"Limit": "many"}),
        ("generate_data_key", {"KeyId": key, "NumberOfBytes": "many"}),
        ("generate_data_key", {"KeyId": key, "NumberOfBytes": 64, "EncryptionContext": {"a": 1}}),
        ("decrypt", {"CiphertextBlob": blob, "GrantTokens": [1]}),
        ("decrypt", {"CiphertextBlob": blob, "DryRun": "yes"}),
        ("schedule_key_deletion", {"KeyId": key, "PendingWindowInDays": 7.5}),
        ("put_key_policy", {"KeyId": key, "Policy": {"Version": "2012-10-17"}}),
    ]:
        with refused("SerializationException"):
            getattr(UNCHECKED, method)(**parameters)
    for method, parameters, constraint in [
        ("describe_key", {}, "'keyId' failed to satisfy constraint: Member must not be null"),
        ("describe_key", {"KeyId": "x" * 2049}, "'keyId' failed to satisfy constraint: Member must have length less"),
        ("describe_key", {"KeyId": ""}, "'keyId' failed to satisfy constraint: Member must have length greater"),
        ("describe_key", {"KeyId": key, "GrantTokens": ["x"] * 11}, "'grantTokens' failed to satisfy constraint"),
        ("create_key", {"Description": "x" * 8193}, "'description' failed to satisfy constraint"),
        ("create_key", {"KeyUsage": "NOTHING"}, "'keyUsage' failed to satisfy constraint: Member must satisfy enum"),
        ("create_key", {"Tags": [{"TagKey": "x" * 129, "TagValue": ""}]}, "'tags.1.member.tagKey' failed"),
        ("create_key", {"Tags": [{"TagKey": "x", "TagValue": "x" * 257}]}, "'tags.1.member.tagValue' failed"),
        ("create_alias", {"AliasName": "alias/" + "x" * 251, "TargetKeyId": key}, "'aliasName' failed"),
        ("encrypt", {"KeyId": key, "Plaintext": b""}, "'plaintext' failed to satisfy constraint: Member must have"),
        ("encrypt", {"KeyId": key, "Plaintext": b"x" * 4097}, "'plaintext' failed to satisfy constraint"),
        ("decrypt", {"CiphertextBlob": b"x" * 6145}, "'ciphertextBlob' failed to satisfy constraint"),
        ("generate_data_key", {"KeyId": key, "NumberOfBytes": 1025}, "Value '1025' at 'numberOfBytes' failed"),
        ("generate_data_key", {"KeyId": key}, "Please specify either number of bytes or key spec."),
        ("generate_random", {"NumberOfBytes": 0}, "'numberOfBytes' failed to satisfy constraint"),
        ("create_grant", {"KeyId": key, "GranteePrincipal": user("x"), "Operations": ["Fly"]}, "'operations' failed"),
        ("enable_key_rotation", {"KeyId": key, "RotationPeriodInDays": 89}, "'rotationPeriodInDays' failed"),
    ]:
        with refused("ValidationException", constraint):
            getattr(UNCHECKED, method)(**parameters)
    # The client that sends unchecked sends what is right, too.
    assert UNCHECKED.decrypt(CiphertextBlob=blob, GrantTokens=[])["Plaintext"] == b"x"
    for unsupported in [{"KeySpec": "RSA_2048"}, {"KeySpec": "HMAC_256"}, {"MultiRegion": True}, {"XksKeyId": "x"}]:
        with refused("UnsupportedOperationException"):
            KMS.create_key(**unsupported)
    with refused("ValidationException", 'Alias must start with the prefix "alias/".'):
        KMS.create_alias(AliasName="no-alias", TargetKeyId=key)
    with refused("NotAuthorizedException"):
        KMS.create_alias(AliasName="alias/aws/mine", TargetKeyId=key)


if __name__ == "__main__":
    every_operation()
    other_operations_are_refused()
    paginators()
    wrong_types()
