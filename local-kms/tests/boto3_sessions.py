"""Sessions of roles: by a profile with role_arn and source_profile, and by AssumeRole.

The server has the roles `reader` (an identity policy that allows kms:*) and `app` (no policies), which alice may assume.
"""

import json

from boto3_support import (
    ACCOUNT, ROOT_DELEGATES, allow, kms, kms_with, new_key, policy, refused, refused_by_sts, sts,
    sts_with, user,
)  # fmt: skip

ADMIN = kms()
READER, APP = f"{ACCOUNT}:role/reader", f"{ACCOUNT}:role/app"
STS = sts("alice")


def session_arn(role, name):
    return f"arn:aws:sts::111122223333:assumed-role/{role}/{name}"


def assume(role=READER, name="s1", **parameters):
    return STS.assume_role(RoleArn=role, RoleSessionName=name, **parameters)


def everybody_learns_who_they_are():
    for profile, arn in [("envol-admin", user("envol-admin")), ("alice", user("alice"))]:
        identity = sts(profile).get_caller_identity()
        assert (identity["Arn"], identity["Account"]) == (arn, "111122223333") and identity["UserId"], identity
    identity = sts("reader").get_caller_identity()
    role, session = identity["UserId"].split(":")
    # The name that the profile gives its sessions is the role's own.
    assert identity["Arn"] == session_arn("reader", role) and session == role, identity


def a_profile_makes_a_session_of_a_role():
    key, _ = new_key(ADMIN)
    blob = ADMIN.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    assert kms("reader").decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    app = kms("app")
    with refused("AccessDeniedException", f"User: {session_arn('app', 'AROA')}"):
        app.describe_key(KeyId=key)
    # The role in a policy means its sessions, and so does it in a grant.
    ADMIN.put_key_policy(KeyId=key, Policy=policy(ROOT_DELEGATES, allow({"AWS": APP}, "kms:DescribeKey")))
    app.describe_key(KeyId=key)
    with refused("AccessDeniedException"):
        app.decrypt(CiphertextBlob=blob)
    ADMIN.create_grant(KeyId=key, GranteePrincipal=APP, Operations=["Decrypt"])
    assert app.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    # What the role may is not what its user may.
    with refused("AccessDeniedException"):
        kms("alice").describe_key(KeyId=key)


def one_session_can_be_named():
    key, _ = new_key(ADMIN)
    blob = ADMIN.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    one, other = (kms_with(assume(APP, name)["Credentials"]) for name in ("one", "other"))
    statement = allow({"AWS": session_arn("app", "one")}, "kms:DescribeKey")
    ADMIN.put_key_policy(KeyId=key, Policy=policy(ROOT_DELEGATES, statement))
    ADMIN.create_grant(KeyId=key, GranteePrincipal=session_arn("app", "one"), Operations=["Decrypt"])
    one.describe_key(KeyId=key)
    assert one.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    with refused("AccessDeniedException"):
        other.describe_key(KeyId=key)
    with refused("AccessDeniedException"):
        other.decrypt(CiphertextBlob=blob)


def a_session_policy_takes_away_and_gives_nothing():
    key, _ = new_key(ADMIN)
    blob = ADMIN.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    only_decrypt = {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*"}
    text = json.dumps({"Version": "2012-10-17", "Statement": [only_decrypt]})
    assumed = assume(Policy=text)
    assert assumed["AssumedRoleUser"]["Arn"] == session_arn("reader", "s1"), assumed
    narrow, whole = kms_with(assumed["Credentials"]), kms_with(assume()["Credentials"])
    for client in (narrow, whole):
        assert client.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    whole.describe_key(KeyId=key)
    with refused("AccessDeniedException", "no session policy allows the kms:DescribeKey action"):
        narrow.describe_key(KeyId=key)
    with refused("AccessDeniedException"):
        kms_with(assume(APP, Policy=text)["Credentials"]).decrypt(CiphertextBlob=blob)
    for wrong in ("{", json.dumps({"Statement": [only_decrypt | {"Effect": "Perhaps"}]}), "x" * 2049):
        refused_by_sts("MalformedPolicyDocument", assume, Policy=wrong)


def only_whom_the_role_trusts_gets_a_session():
    assume()
    for profile in ("bob", "envol-admin"):
        refused_by_sts("AccessDenied", sts(profile).assume_role, RoleArn=READER, RoleSessionName="s1")
    # Who is not trusted does not learn whether there is such a role.
    refused_by_sts("AccessDenied", assume, role=f"{ACCOUNT}:role/none")
    unchecked = sts("alice", parameter_validation=False)
    right = {"RoleArn": READER, "RoleSessionName": "s1"}
    for wrong in (
        {"RoleSessionName": "x"},
        {"RoleSessionName": "x" * 65},
        {"RoleSessionName": "a name"},
        {"DurationSeconds": 899},
        {"DurationSeconds": 43201},
        {"DurationSeconds": "long"},
        {"RoleArn": "reader"},
    ):
        refused_by_sts("ValidationError", unchecked.assume_role, **right | wrong)
    refused_by_sts("InvalidAction", STS.get_access_key_info, AccessKeyId="AKIAAAAAAAAAAAAAAAAA")
    duration = unchecked.assume_role(**right, DurationSeconds=900)["Credentials"]["Expiration"]
    assert duration < assume()["Credentials"]["Expiration"]


def what_is_no_session_token_is_refused():
    right, other = assume()["Credentials"], assume()["Credentials"]
    token = right["SessionToken"]
    kms_with(right).list_keys()
    changed = ("A" if token[20] != "A" else "B").join((token[:20], token[21:]))
    for wrong in ("token", changed, token[:-4], token + "AAAA", other["SessionToken"], "x" * 5000):
        credentials = right | {"SessionToken": wrong}
        with refused("UnrecognizedClientException", "The security token included in the request is invalid."):
            kms_with(credentials).list_keys()
        refused_by_sts("InvalidClientTokenId", sts_with(credentials).get_caller_identity)
    with refused("UnrecognizedClientException"):
        kms_with(right | {"SessionToken": None}).list_keys()
    with refused("InvalidSignatureException"):
        kms_with(right | {"SecretAccessKey": other["SecretAccessKey"]}).list_keys()
    # A user's access key has no token.
    admins = ADMIN._request_signer._credentials
    keys = {"AccessKeyId": admins.access_key, "SecretAccessKey": admins.secret_key, "SessionToken": None}
    kms_with(keys).list_keys()
    with refused("UnrecognizedClientException"):
        kms_with(keys | {"SessionToken": token}).list_keys()


if __name__ == "__main__":
    everybody_learns_who_they_are()
    a_profile_makes_a_session_of_a_role()
    one_session_can_be_named()
    a_session_policy_takes_away_and_gives_nothing()
    only_whom_the_role_trusts_gets_a_session()
    what_is_no_session_token_is_refused()
