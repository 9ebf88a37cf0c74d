"""Key policies and identity policies through boto3: who may what, under which conditions.

The server has the users alice (no policies), bob (an identity policy that allows kms:Decrypt) and the credentials of
rds.us-east-1.amazonaws.com acting for alice.
"""

import json

from boto3_support import ACCOUNT, ROOT_DELEGATES, allow, kms, new_key, policy, refused, user

ADMIN, ALICE, BOB, RDS = kms(), kms("alice"), kms("bob"), kms("rds-for-alice")
# Sends what boto3 would refuse to send.
UNCHECKED = kms(parameter_validation=False)
CONTEXT = {"aws:rds:db-id": "db-A"}


def sealed(key, context=None):
    return ADMIN.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext=context or {})["CiphertextBlob"]


def put(key, *statements):
    ADMIN.put_key_policy(KeyId=key, Policy=policy(ROOT_DELEGATES, *statements))



def the_default_policy_leaves_it_to_iam():
    key, arn = new_key(ADMIN)
    default = json.loads(ADMIN.get_key_policy(KeyId=key, PolicyName="default")["Policy"])
    (statement,) = default["Statement"]
    assert (statement["Principal"], statement["Action"]) == ({"AWS": f"{ACCOUNT}:root"}, "kms:*"), default
    blob = sealed(key)
    assert BOB.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    with refused("AccessDeniedException", "no identity-based policy allows the kms:Encrypt action"):
        BOB.encrypt(KeyId=key, Plaintext=b"x")
    with refused("AccessDeniedException", f"User: {user('alice')} is not authorized to perform: kms:DescribeKey on"):
        ALICE.describe_key(KeyId=arn)
    # Named by the key policy, alice needs no other.
    put(key, allow({"AWS": user("alice")}, ["kms:Decrypt", "kms:DescribeKey"]))
    assert ALICE.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    assert ALICE.describe_key(KeyId=arn)["KeyMetadata"]["Arn"] == arn
    # Without the statement for the account, what IAM allows counts for nothing.
    ADMIN.put_key_policy(KeyId=key, Policy=policy(allow({"AWS": user("envol-admin")}, "kms:*")))
    with refused("AccessDeniedException"):
        BOB.decrypt(CiphertextBlob=blob)
    assert ADMIN.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    put(key)
    assert BOB.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def a_deny_beats_whatever_allows():
    key, _ = new_key(ADMIN)
    blob = sealed(key)
    ADMIN.create_grant(KeyId=key, GranteePrincipal=user("alice"), Operations=["Decrypt"])
    for client in (ALICE, BOB):
        assert client.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    put(key, allow("*", "kms:Decrypt", {"StringLike": {"aws:PrincipalArn": "*:user/[ab]*"}}, effect="Deny"))
    # The brackets are no wildcard.
    assert ALICE.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    put(key, allow("*", "kms:Decrypt", {"ArnLike": {"aws:PrincipalArn": [user("al*"), user("b?b")]}}, effect="Deny"))
    for client in (ALICE, BOB):
        with refused("AccessDeniedException"):
            client.decrypt(CiphertextBlob=blob)
        with refused("AccessDeniedException", "explicit deny in a resource-based policy"):
            client.decrypt(CiphertextBlob=blob, KeyId=key)
    assert ADMIN.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def conditions():
    """Each condition with a call of alice's that it lets through, and one that it does not."""
    key, arn = new_key(ADMIN, Tags=[{"TagKey": "team", "TagValue": "db"}])
    ADMIN.create_alias(AliasName="alias/conditions", TargetKeyId=key)
    of_a, of_b, of_none = sealed(key, CONTEXT), sealed(key, {"aws:rds:db-id": "db-B"}), sealed(key)

    def decrypt(client, blob, context):
        return client.decrypt(CiphertextBlob=blob, EncryptionContext=context)

    def case(actions, condition, right, wrong, principals=None):
        put(key, allow(principals or {"AWS": user("alice")}, actions, condition))
        right()
        with refused("AccessDeniedException"):
            wrong()

    def decrypt_a():
        return decrypt(ALICE, of_a, CONTEXT)

    def decrypt_b():
        return decrypt(ALICE, of_b, {"aws:rds:db-id": "db-B"})

    def decrypt_without():
        return decrypt(ALICE, of_none, {})

    db_id = "kms:EncryptionContext:aws:rds:db-id"
    case("kms:Decrypt", {"StringEquals": {db_id: "db-A"}}, decrypt_a, decrypt_b)
    case("kms:decrypt", {"StringEquals": {"KMS:encryptioncontext:AWS:RDS:DB-ID": ["db-A", "db-C"]}}, decrypt_a, decrypt_b)
    case("kms:Decrypt", {"StringLike": {db_id: "db-?"}}, decrypt_a, decrypt_without)
    case("kms:Decrypt", {"StringNotEquals": {db_id: "db-A"}}, decrypt_without, decrypt_a)
    case("kms:Decrypt", {"StringEqualsIfExists": {db_id: "db-A"}}, decrypt_without, decrypt_b)
    case("kms:Decrypt", {"ForAnyValue:StringEquals": {db_id: "db-A"}}, decrypt_a, decrypt_without)
    case("kms:Decrypt", {"Null": {"kms:EncryptionContextKeys": "false"}}, decrypt_b, decrypt_without)
    keys = {"ForAllValues:StringEquals": {"kms:EncryptionContextKeys": ["aws:rds:db-id"]}}
    case("kms:Encrypt", keys,
         lambda: ALICE.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext=CONTEXT),
         lambda: ALICE.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext=CONTEXT | {"more": "x"}))  # fmt: skip
    case("kms:Decrypt", {"StringEquals": {"kms:CallerAccount": "111122223333"}}, decrypt_a,
         lambda: ALICE.encrypt(KeyId=key, Plaintext=b"x"), principals="*")  # fmt: skip
    case("kms:*", {"StringEquals": {"kms:RequestAlias": "alias/conditions"}},
         lambda: ALICE.encrypt(KeyId="alias/conditions", Plaintext=b"x"),
         lambda: ALICE.encrypt(KeyId=key, Plaintext=b"x"))  # fmt: skip
    grant = {"KeyId": key, "GranteePrincipal": user("carol"), "Operations": ["Decrypt"]}
    case("kms:CreateGrant", {"ForAllValues:StringEquals": {"kms:GrantOperations": ["Decrypt", "DescribeKey"]}},
         lambda: ALICE.create_grant(**grant),
         lambda: ALICE.create_grant(**grant | {"Operations": ["Decrypt", "Encrypt"]}))  # fmt: skip
    case("kms:CreateGrant", {"StringEquals": {"kms:GrantConstraintType": "EncryptionContextSubset"}},
         lambda: ALICE.create_grant(**grant, Constraints={"EncryptionContextSubset": CONTEXT}),
         lambda: ALICE.create_grant(**grant, Constraints={"EncryptionContextEquals": CONTEXT}))  # fmt: skip
    case("kms:CreateGrant", {"StringEquals": {"kms:GranteePrincipal": user("carol")}},
         lambda: ALICE.create_grant(**grant),
         lambda: ALICE.create_grant(**grant | {"GranteePrincipal": user("bob")}))  # fmt: skip
    case("kms:ScheduleKeyDeletion", {"NumericGreaterThanEquals": {"kms:ScheduleKeyDeletionPendingWindowInDays": 14}},
         lambda: ALICE.schedule_key_deletion(KeyId=key, PendingWindowInDays=14),
         lambda: ALICE.schedule_key_deletion(KeyId=key, PendingWindowInDays=13))  # fmt: skip
    ADMIN.cancel_key_deletion(KeyId=key)
    ADMIN.enable_key(KeyId=key)

    # What differs by key: its tags, its aliases.
    other, _ = new_key(ADMIN, Tags=[{"TagKey": "team", "TagValue": "web"}])
    of_team = {"StringEquals": {"aws:ResourceTag/team": "db"}}
    with_alias = {"ForAnyValue:StringLike": {"kms:ResourceAliases": "alias/condition*"}}
    for condition in (of_team, with_alias):
        for either in (key, other):
            put(either, allow({"AWS": user("alice")}, "kms:Encrypt", condition))
        ALICE.encrypt(KeyId=key, Plaintext=b"x")
        with refused("AccessDeniedException"):
            ALICE.encrypt(KeyId=other, Plaintext=b"x")
    ADMIN.tag_resource(KeyId=other, Tags=[{"TagKey": "team", "TagValue": "db"}])
    put(other, allow({"AWS": user("alice")}, "kms:Encrypt", of_team))
    ALICE.encrypt(KeyId=other, Plaintext=b"x")


def a_service_acts_for_a_user():
    key, _ = new_key(ADMIN)
    blob = sealed(key, CONTEXT)
    through = {"StringEquals": {"kms:ViaService": "rds.us-east-1.amazonaws.com"}}
    put(key, allow({"AWS": user("alice")}, "kms:Decrypt", through))
    assert RDS.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT)["Plaintext"] == b"x"
    with refused("AccessDeniedException"):
        ALICE.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT)
    elsewhere = {"StringEquals": {"kms:ViaService": "ec2.us-east-1.amazonaws.com"}}
    put(key, allow({"AWS": user("alice")}, "kms:Decrypt", elsewhere))
    with refused("AccessDeniedException"):
        RDS.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT)
    # A header does not make a service of a caller.
    put(key, allow({"AWS": user("alice")}, "kms:Decrypt", through))
    pretender = kms("alice")
    pretender.meta.events.register(
        "before-sign.kms", lambda request, **_: request.headers.add_header("X-Amz-Via-Service", "rds.us-east-1.amazonaws.com")
    )
    with refused("AccessDeniedException"):
        pretender.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT)
    for_resources = {"Bool": {"kms:GrantIsForAWSResource": "true"}}
    put(key, allow({"AWS": user("alice")}, "kms:CreateGrant", for_resources))
    grant = {"KeyId": key, "GranteePrincipal": user("carol"), "Operations": ["Decrypt"]}
    RDS.create_grant(**grant)
    with refused("AccessDeniedException"):
        ALICE.create_grant(**grant)


def both_keys_of_a_re_encryption_have_a_say():
    (source, _), (destination, _) = new_key(ADMIN), new_key(ADMIN)
    blob = sealed(source)
    move = {"CiphertextBlob": blob, "DestinationKeyId": destination}
    put(source, allow({"AWS": user("alice")}, "kms:ReEncryptFrom"))
    with refused("AccessDeniedException", "kms:ReEncryptTo"):
        ALICE.re_encrypt(**move)
    put(destination, allow({"AWS": user("alice")}, "kms:ReEncrypt*"))
    ALICE.re_encrypt(**move)
    put(source)
    with refused("AccessDeniedException"):
        ALICE.re_encrypt(**move)


def what_is_no_key_policy():
    key, _ = new_key(ADMIN)
    before = ADMIN.get_key_policy(KeyId=key)["Policy"]
    everything = allow({"AWS": user("envol-admin")}, "kms:*")
    over_permissive = {"ForAllValues:StringEquals": {"kms:EncryptionContext:a": "b"}}
    for wrong in [
        "no policy",
        "[]",
        policy(everything | {"Effect": "Perhaps"}),
        policy(everything | {"Principal": {"AWS": "nobody"}}),
        policy(everything, allow({"AWS": user("alice")}, "kms:Decrypt", {"StringResembles": {"a": "b"}})),
        policy(everything, allow({"AWS": user("alice")}, "kms:Decrypt", over_permissive)),
        # It would lock its author out.
        policy(allow({"AWS": user("alice")}, "kms:*")),
    ]:
        with refused("MalformedPolicyDocumentException"):
            ADMIN.put_key_policy(KeyId=key, Policy=wrong)
        with refused("MalformedPolicyDocumentException"):
            ADMIN.create_key(Policy=wrong)
    large = policy(everything, *[allow({"AWS": user("alice")}, f"kms:{i:0100}") for i in range(200)])
    assert len(large) > 32 * 1024
    with refused("LimitExceededException"):
        ADMIN.put_key_policy(KeyId=key, Policy=large)
    with refused("ValidationException", "'policy' failed to satisfy constraint"):
        UNCHECKED.put_key_policy(KeyId=key, Policy="x" * 131_073)
    with refused("ValidationException", "'policy' failed to satisfy constraint"):
        ADMIN.put_key_policy(KeyId=key, Policy=policy(everything | {"Sid": "\u20ac"}).replace("\\u20ac", "\u20ac"))
    with refused("NotFoundException"):
        ADMIN.put_key_policy(KeyId=key, Policy=policy(everything), PolicyName="other")
    with refused("NotFoundException"):
        ADMIN.get_key_policy(KeyId=key, PolicyName="other")
    assert ADMIN.get_key_policy(KeyId=key)["Policy"] == before

    # Who insists is locked out.
    only_alice = policy(allow({"AWS": user("alice")}, "kms:*"))
    ADMIN.put_key_policy(KeyId=key, Policy=only_alice, BypassPolicyLockoutSafetyCheck=True)
    with refused("AccessDeniedException", "kms:PutKeyPolicy"):
        ADMIN.put_key_policy(KeyId=key, Policy=before)
    ALICE.put_key_policy(KeyId=key, Policy=before, BypassPolicyLockoutSafetyCheck=True)
    assert ADMIN.get_key_policy(KeyId=key)["Policy"] == before
    made = ADMIN.create_key(Policy=policy(everything))["KeyMetadata"]["KeyId"]
    assert ADMIN.get_key_policy(KeyId=made)["Policy"] == policy(everything)


def operations_without_a_key_are_for_iam_alone():
    for call in (
        lambda client: client.create_key(),
        lambda client: client.list_keys(),
        lambda client: client.list_aliases(),
        lambda client: client.generate_random(NumberOfBytes=8),
        lambda client: client.list_retirable_grants(RetiringPrincipal=user("alice")),
    ):
        call(ADMIN)
        with refused("AccessDeniedException", "no identity-based policy allows"):
            call(ALICE)


if __name__ == "__main__":
    the_default_policy_leaves_it_to_iam()
    a_deny_beats_whatever_allows()
    conditions()
    a_service_acts_for_a_user()
    both_keys_of_a_re_encryption_have_a_say()
    what_is_no_key_policy()
    operations_without_a_key_are_for_iam_alone()
