"""What the scripts of boto3 share: clients by profile, what must be refused, and every answer held against botocore's
own model of KMS."""

import base64
import binascii
import contextlib
import json

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ACCOUNT = "arn:aws:iam::111122223333"
ONCE = {"total_max_attempts": 1}

# Members that an answer may lack; by shape.
OPTIONAL = {
    "AliasListEntry": {"TargetKeyId", "CreationDate", "LastUpdatedDate"},
    "DecryptResponse": {"CiphertextForRecipient"},
    "GenerateDataKeyResponse": {"CiphertextForRecipient"},
    "GenerateRandomResponse": {"CiphertextForRecipient"},
    "GetKeyLastUsageResponse": {"KeyLastUsage"},
    "GetKeyRotationStatusResponse": {"RotationPeriodInDays", "NextRotationDate", "OnDemandRotationStartDate"},
    "GrantConstraints": {"EncryptionContextEquals", "EncryptionContextSubset", "SourceArn"},
    "GrantListEntry": {"RetiringPrincipal", "Constraints", "GranteeServicePrincipal", "RetiringServicePrincipal"},
    "KeyMetadata": {
        "DeletionDate", "ValidTo", "ExpirationModel", "CurrentKeyMaterialId", "CustomKeyStoreId", "CloudHsmClusterId",
        "SigningAlgorithms", "KeyAgreementAlgorithms", "EncapsulationAlgorithms", "MacAlgorithms",
        "MultiRegionConfiguration", "PendingDeletionWindowInDays", "XksKeyConfiguration",
    },
    "RotationsListEntry": {
        "KeyMaterialDescription", "ImportState", "ExpirationModel", "ValidTo", "RotationDate", "RotationType",
    },
}  # fmt: skip

# Errors that have a class of their own in boto3.
MODELLED = {shape.name for shape in boto3.client("kms").meta.service_model.error_shapes}

# The operations that were answered, and held against the model.
answered = set()


def kms(profile=None, **config):
    """A client of KMS with a profile that the server wrote; without one, the administrator's."""
    return watched(boto3.Session(profile_name=profile).client("kms", config=Config(retries=ONCE, **config)))


def kms_with(credentials):
    """The same with the credentials of STS."""
    return watched(boto3.client("kms", config=Config(retries=ONCE), **key_arguments(credentials)))


def sts(profile=None, **config):
    return boto3.Session(profile_name=profile).client("sts", config=Config(retries=ONCE, **config))


def sts_with(credentials):
    return boto3.client("sts", config=Config(retries=ONCE), **key_arguments(credentials))


def key_arguments(credentials):
    return {
        "aws_access_key_id": credentials["AccessKeyId"],
        "aws_secret_access_key": credentials["SecretAccessKey"],
        "aws_session_token": credentials["SessionToken"],
    }


def watched(client):
    client.meta.events.register("before-parse.kms", check_answer)
    return client


def check_answer(operation_model, response_dict, **_):
    """boto3 drops members that it does not know, so what the server sent is looked at before boto3 does."""
    name, shape = operation_model.name, operation_model.output_shape
    assert response_dict["headers"]["content-type"] == "application/x-amz-json-1.1", (name, response_dict["headers"])
    if response_dict["status_code"] == 200:
        body = json.loads(response_dict["body"] or "{}")
        if shape is None:
            assert body == {}, (name, body)
        else:
            check(name, shape, body)
        answered.add(name)


def check(where, shape, value):
    wrong = f"{where}: {value!r} is no {shape.name}"
    kind = shape.type_name
    if kind == "structure":
        assert isinstance(value, dict), wrong
        assert value.keys() <= shape.members.keys(), f"{where}: {value.keys() - shape.members.keys()} is not modelled"
        # The last page has no NextMarker.
        missing = shape.members.keys() - value.keys() - OPTIONAL.get(shape.name, set()) - {"NextMarker"}
        assert not missing, f"{where}: {missing} is missing"
        for name, member in value.items():
            check(f"{where}.{name}", shape.members[name], member)
    elif kind == "list":
        assert isinstance(value, list), wrong
        for item in value:
            check(f"{where}[]", shape.member, item)
    elif kind == "map":
        assert isinstance(value, dict), wrong
        for key, item in value.items():
            check(f"{where} key", shape.key, key)
            check(f"{where}[{key}]", shape.value, item)
    elif kind == "string":
        assert isinstance(value, str), wrong
        assert value in getattr(shape, "enum", []) or not getattr(shape, "enum", []), wrong
        # A grant that has no name has an empty one, whatever the model says; recorded from AWS.
        if value or shape.name != "GrantNameType":
            check_length(wrong, shape, len(value))
    elif kind == "blob":
        assert isinstance(value, str), wrong
        try:
            check_length(wrong, shape, len(base64.b64decode(value, validate=True)))
        except binascii.Error as error:
            raise AssertionError(wrong) from error
    elif kind == "boolean":
        assert isinstance(value, bool), wrong
    elif kind in ("integer", "long"):
        assert isinstance(value, int) and not isinstance(value, bool), wrong
    elif kind == "timestamp":
        assert isinstance(value, (int, float)) and not isinstance(value, bool), wrong
        assert 1_600_000_000 < value < 4_000_000_000, wrong
    else:
        raise AssertionError(f"{where}: nobody knows a {kind}")


def check_length(wrong, shape, length):
    assert shape.metadata.get("min", 0) <= length <= shape.metadata.get("max", length), wrong


@contextlib.contextmanager
def refused(code, part=""):
    """The block must be refused with `code`, by the class that boto3 has for it, and `part` must be in the message."""
    try:
        yield
    except ClientError as error:
        answer = error.response
        assert answer["Error"]["Code"] == code, error
        assert part in answer["Error"]["Message"], error
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400, answer
        assert answer["ResponseMetadata"]["RequestId"], answer
        assert type(error).__name__ == (code if code in MODELLED else "ClientError"), (type(error), code)
    else:
        raise AssertionError(f"not refused with {code}")


def refused_by_sts(code, call, **parameters):
    """STS has codes and statuses of its own."""
    try:
        call(**parameters)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        assert error.response["ResponseMetadata"]["RequestId"], error.response
    else:
        raise AssertionError(f"not refused with {code}")


def new_key(client, **parameters):
    """Its id and its ARN."""
    metadata = client.create_key(**parameters)["KeyMetadata"]
    return metadata["KeyId"], metadata["Arn"]


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(principals, actions, condition=None, effect="Allow"):
    statement = {"Effect": effect, "Principal": principals, "Action": actions, "Resource": "*"}
    if condition is not None:
        statement["Condition"] = condition
    return statement


def user(name):
    return f"{ACCOUNT}:user/{name}"


ROOT_DELEGATES = allow({"AWS": f"{ACCOUNT}:root"}, "kms:*")
