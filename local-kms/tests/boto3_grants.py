"""Grants through boto3: the grantee is another user, by its profile, with no other permission than the grant."""

from boto3_support import ACCOUNT, ROOT_DELEGATES, allow, kms, new_key, policy, refused, user

ADMIN, ALICE, BOB, CAROL = kms(), kms("alice"), kms("bob"), kms("carol")
VOLUME = {"aws:ebs:id": "vol-1"}
DATABASE = VOLUME | {"aws:rds:db-id": "db-A"}


def seal(key, context):
    return ADMIN.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext=context)["CiphertextBlob"]


def grant(key, who="alice", operations=("Decrypt",), **members):
    return {"KeyId": key, "GranteePrincipal": user(who), "Operations": list(operations)} | members


def constraints():
    for kind, fitting, others in [
        ("EncryptionContextSubset", [VOLUME, DATABASE], [{}, {"aws:ebs:id": "vol-2"}, {"aws:rds:db-id": "db-A"}]),
        ("EncryptionContextEquals", [VOLUME], [{}, {"aws:ebs:id": "vol-2"}, DATABASE]),
    ]:
        key, arn = new_key(ADMIN)
        blobs = [(context, seal(key, context)) for context in fitting + others]
        for context, blob in blobs:
            with refused("AccessDeniedException"):
                ALICE.decrypt(CiphertextBlob=blob, EncryptionContext=context)
        operations = ["Decrypt", "GenerateDataKeyWithoutPlaintext", "DescribeKey"]
        ADMIN.create_grant(**grant(key, operations=operations, Constraints={kind: VOLUME}))
        for context, blob in blobs:
            if context in fitting:
                assert ALICE.decrypt(CiphertextBlob=blob, EncryptionContext=context)["KeyId"] == arn
                ALICE.generate_data_key_without_plaintext(KeyId=key, NumberOfBytes=64, EncryptionContext=context)
            else:
                with refused("AccessDeniedException"):
                    ALICE.decrypt(CiphertextBlob=blob, EncryptionContext=context)
        # A key of the context is compared without its case; a value with it.
        for context in ({"AWS:EBS:ID": "vol-1"}, {"aws:ebs:id": "VOL-1"}):
            allowed = context == {"AWS:EBS:ID": "vol-1"}
            sealed = seal(key, context)
            if allowed:
                assert ALICE.decrypt(CiphertextBlob=sealed, EncryptionContext=context)["KeyId"] == arn
            else:
                with refused("AccessDeniedException"):
                    ALICE.decrypt(CiphertextBlob=sealed, EncryptionContext=context)
        # Constraints are not for DescribeKey; the rest of the key is not hers.
        assert ALICE.describe_key(KeyId=key)["KeyMetadata"]["Arn"] == arn
        with refused("AccessDeniedException", "kms:Encrypt"):
            ALICE.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext=VOLUME)
        with refused("AccessDeniedException", "kms:DisableKey"):
            ALICE.disable_key(KeyId=key)
        with refused("AccessDeniedException"):
            BOB.describe_key(KeyId=key)


def a_name_makes_it_the_same_grant():
    key, _ = new_key(ADMIN)
    named = grant(key, Name="vol-1", Constraints={"EncryptionContextSubset": VOLUME})
    first, again = ADMIN.create_grant(**named), ADMIN.create_grant(**named)
    assert first["GrantId"] == again["GrantId"] and first["GrantToken"] != again["GrantToken"], (first, again)
    assert ADMIN.create_grant(**named | {"Operations": ["Encrypt"]})["GrantId"] != first["GrantId"]
    unnamed = grant(key)
    assert ADMIN.create_grant(**unnamed)["GrantId"] != ADMIN.create_grant(**unnamed)["GrantId"]
    listed = {entry["GrantId"]: entry for entry in ADMIN.list_grants(KeyId=key)["Grants"]}
    assert len(listed) == 4, listed
    entry = listed[first["GrantId"]]
    assert (entry["Name"], entry["GranteePrincipal"]) == ("vol-1", user("alice")), entry
    assert entry["Constraints"] == {"EncryptionContextSubset": VOLUME} and entry["Operations"] == ["Decrypt"], entry
    assert entry["IssuingAccount"] == f"{ACCOUNT}:root" and entry["KeyId"], entry


def lists_are_filtered():
    key, _ = new_key(ADMIN)
    mine = ADMIN.create_grant(**grant(key, RetiringPrincipal=user("carol")))["GrantId"]
    theirs = ADMIN.create_grant(**grant(key, "bob"))["GrantId"]

    def ids(**filters):
        return {entry["GrantId"] for entry in ADMIN.list_grants(KeyId=key, **filters)["Grants"]}

    assert ids() == {mine, theirs}
    assert ids(GranteePrincipal=user("alice")) == {mine} and ids(GrantId=theirs) == {theirs}
    assert ids(GranteePrincipal=user("carol")) == ids(GranteePrincipal=user("bob"), GrantId=mine) == set()
    retirable = ADMIN.list_retirable_grants(RetiringPrincipal=user("carol"))["Grants"]
    assert [entry["GrantId"] for entry in retirable] == [mine], retirable
    with refused("InvalidGrantIdException"):
        ADMIN.list_grants(KeyId=key, GrantId="no id")


def it_ends_by_revoking_and_by_retiring():
    key, arn = new_key(ADMIN)
    blob = seal(key, VOLUME)

    def decrypts():
        return ALICE.decrypt(CiphertextBlob=blob, EncryptionContext=VOLUME)["Plaintext"] == b"x"

    def no_longer_decrypts():
        with refused("AccessDeniedException"):
            decrypts()
        return ADMIN.list_grants(KeyId=key)["Grants"] == []

    made = ADMIN.create_grant(**grant(key))
    assert decrypts()
    with refused("AccessDeniedException", "kms:RevokeGrant"):
        BOB.revoke_grant(KeyId=key, GrantId=made["GrantId"])
    with refused("DryRunOperationException"):
        ADMIN.revoke_grant(KeyId=key, GrantId=made["GrantId"], DryRun=True)
    assert decrypts()
    ADMIN.revoke_grant(KeyId=key, GrantId=made["GrantId"])
    assert no_longer_decrypts()
    with refused("NotFoundException"):
        ADMIN.revoke_grant(KeyId=key, GrantId=made["GrantId"])

    # The retiring principal, by the token or by the id; nobody else.
    for by_token in (True, False):
        made = ADMIN.create_grant(**grant(key, RetiringPrincipal=user("carol")))
        by = {"GrantToken": made["GrantToken"]} if by_token else {"KeyId": arn, "GrantId": made["GrantId"]}
        for other in (ALICE, BOB):
            with refused("AccessDeniedException"):
                other.retire_grant(**by)
        with refused("DryRunOperationException"):
            CAROL.retire_grant(**by, DryRun=True)
        assert decrypts()
        CAROL.retire_grant(**by)
        assert no_longer_decrypts()
    # The grantee, if the grant says so.
    made = ADMIN.create_grant(**grant(key, operations=["Decrypt", "RetireGrant"]))
    assert decrypts()
    ALICE.retire_grant(KeyId=arn, GrantId=made["GrantId"])
    assert no_longer_decrypts()
    with refused("InvalidGrantTokenException"):
        CAROL.retire_grant(GrantToken="no token")


def the_grantee_gives_on_no_more_than_it_has():
    key, _ = new_key(ADMIN)
    blob = seal(key, DATABASE)
    # Without CreateGrant in it, it gives on nothing.
    ADMIN.create_grant(**grant(key, Constraints={"EncryptionContextSubset": VOLUME}))
    narrower = grant(key, "carol", Constraints={"EncryptionContextSubset": DATABASE})
    with refused("AccessDeniedException", "kms:CreateGrant"):
        ALICE.create_grant(**narrower)
    parent = ["Decrypt", "CreateGrant", "DescribeKey"]
    ADMIN.create_grant(**grant(key, operations=parent, Constraints={"EncryptionContextSubset": VOLUME}))
    for too_much in (
        narrower | {"Operations": ["Decrypt", "Encrypt"]},
        narrower | {"Constraints": {"EncryptionContextSubset": {"aws:rds:db-id": "db-A"}}},
        grant(key, "carol"),
    ):
        with refused("AccessDeniedException", "kms:CreateGrant"):
            ALICE.create_grant(**too_much)
    with refused("AccessDeniedException"):
        CAROL.decrypt(CiphertextBlob=blob, EncryptionContext=DATABASE)
    ALICE.create_grant(**narrower)
    ALICE.create_grant(**narrower | {"Constraints": {"EncryptionContextEquals": VOLUME}})
    assert CAROL.decrypt(CiphertextBlob=blob, EncryptionContext=DATABASE)["Plaintext"] == b"x"
    assert CAROL.decrypt(CiphertextBlob=seal(key, VOLUME), EncryptionContext=VOLUME)["Plaintext"] == b"x"


def tokens():
    key, _ = new_key(ADMIN)
    blob = seal(key, VOLUME)
    made = ADMIN.create_grant(**grant(key))
    call = {"CiphertextBlob": blob, "EncryptionContext": VOLUME}
    assert ALICE.decrypt(**call, GrantTokens=[made["GrantToken"]])["Plaintext"] == b"x"
    for wrong in ("token", made["GrantToken"][:-2], made["GrantId"]):
        with refused("InvalidGrantTokenException"):
            ALICE.decrypt(**call, GrantTokens=[wrong])
    # A token is of use to the grantee only, and ends with its grant.
    with refused("AccessDeniedException"):
        CAROL.decrypt(**call, GrantTokens=[made["GrantToken"]])
    ADMIN.revoke_grant(KeyId=key, GrantId=made["GrantId"])
    with refused("AccessDeniedException"):
        ALICE.decrypt(**call, GrantTokens=[made["GrantToken"]])


def the_state_of_the_key_counts():
    key, arn = new_key(ADMIN)
    blob = seal(key, VOLUME)
    made = ADMIN.create_grant(**grant(key))
    ADMIN.disable_key(KeyId=key)
    with refused("DisabledException", f"{arn} is disabled."):
        ADMIN.create_grant(**grant(key, "bob"))
    with refused("DisabledException", f"{arn} is disabled."):
        ALICE.decrypt(CiphertextBlob=blob, EncryptionContext=VOLUME)
    assert len(ADMIN.list_grants(KeyId=key)["Grants"]) == 1
    ADMIN.revoke_grant(KeyId=key, GrantId=made["GrantId"])
    assert ADMIN.list_grants(KeyId=key)["Grants"] == []
    external, _ = new_key(ADMIN, Origin="EXTERNAL")
    with refused("KMSInvalidStateException", "is pending import."):
        ADMIN.create_grant(**grant(external))
    ADMIN.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    with refused("KMSInvalidStateException", "is pending deletion."):
        ADMIN.create_grant(**grant(key))


def what_is_no_grant():
    key, _ = new_key(ADMIN)
    for members, code in [
        ({"Operations": ["Sign"]}, "ValidationException"),
        ({"Operations": ["Decrypt", "GenerateMac"]}, "ValidationException"),
        ({"Operations": []}, "ValidationException"),
        ({"GranteePrincipal": "alice"}, "InvalidArnException"),
        ({"GranteePrincipal": "arn:aws:s3:::bucket"}, "InvalidArnException"),
        ({"RetiringPrincipal": "nobody"}, "InvalidArnException"),
        ({"Name": "a name"}, "ValidationException"),
        ({"GrantTokens": ["token"]}, "InvalidGrantTokenException"),
        ({"Constraints": {"EncryptionContextSubset": {f"k{i}": "v" for i in range(9)}}}, "ValidationException"),
        ({"Constraints": {"EncryptionContextSubset": {"k": "v" * 385}}}, "ValidationException"),
        ({"Constraints": {"EncryptionContextSubset": VOLUME, "EncryptionContextEquals": VOLUME}}, "ValidationException"),
        ({"KeyId": "alias/none"}, "NotFoundException"),
        ({"DryRun": True}, "DryRunOperationException"),
    ]:
        with refused(code):
            ADMIN.create_grant(**grant(key) | members)
    assert ADMIN.list_grants(KeyId=key)["Grants"] == []
    widest = {"EncryptionContextSubset": {f"k{i}": "v" * 384 for i in range(8)}}
    ADMIN.create_grant(**grant(key, Constraints=widest))


def a_grant_outlives_what_the_policy_allowed_its_maker():
    key, _ = new_key(ADMIN)
    blob = seal(key, VOLUME)
    maker = allow({"AWS": user("bob")}, "kms:CreateGrant")
    ADMIN.put_key_policy(KeyId=key, Policy=policy(ROOT_DELEGATES, maker))
    BOB.create_grant(**grant(key))
    ADMIN.put_key_policy(KeyId=key, Policy=policy(ROOT_DELEGATES))
    with refused("AccessDeniedException"):
        BOB.create_grant(**grant(key))
    assert ALICE.decrypt(CiphertextBlob=blob, EncryptionContext=VOLUME)["Plaintext"] == b"x"


if __name__ == "__main__":
    constraints()
    a_name_makes_it_the_same_grant()
    lists_are_filtered()
    it_ends_by_revoking_and_by_retiring()
    the_grantee_gives_on_no_more_than_it_has()
    tokens()
    the_state_of_the_key_counts()
    what_is_no_grant()
    a_grant_outlives_what_the_policy_allowed_its_maker()
