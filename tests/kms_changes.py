"""Changes a KMS through boto3 until it is gone, or checks that everything it acknowledged is there.

kms_changes.py change      prints each change that was acknowledged, and each one before it is asked for, as a JSON line
kms_changes.py check FILE  FILE holds those lines; asserts that the KMS agrees
"""

import base64
import itertools
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

try:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError as error:
    sys.exit(f"kms_changes.py needs the Python module boto3: {error}")

THREADS = 4
CONTEXT = {"aws:ebs:id": "vol-1"}
KMS = boto3.client("kms", config=Config(retries={"total_max_attempts": 1}, max_pool_connections=THREADS))
PRINTING = threading.Lock()


def say(**line):
    with PRINTING:
        print(json.dumps(line), flush=True)


def change(thing, value, call, **parameters):
    """`thing` shall have `value`; whether it has if no answer comes, nobody knows."""
    say(thing=thing, value=value, acknowledged=False)
    answer = call(**parameters)
    if "DeletionDate" in answer:
        value = f"{value} at {answer['DeletionDate'].timestamp()}"
    say(thing=thing, value=value, acknowledged=True, request=answer["ResponseMetadata"]["RequestId"])
    return answer


def change_until_gone():
    try:
        for turn in itertools.count():
            created = KMS.create_key()
            key = created["KeyMetadata"]["KeyId"]
            say(thing=key, value="Enabled", acknowledged=True, request=created["ResponseMetadata"]["RequestId"])
            sealed = KMS.encrypt(KeyId=key, Plaintext=key.encode(), EncryptionContext=CONTEXT)["CiphertextBlob"]
            say(thing=f"plaintext of {key}", value=base64.b64encode(sealed).decode(), acknowledged=True)
            alias = f"alias/{key}"
            change(alias, key, KMS.create_alias, AliasName=alias, TargetKeyId=key)
            if turn % 2:
                change(alias, None, KMS.delete_alias, AliasName=alias)
            if turn % 3:
                change(key, "Disabled", KMS.disable_key, KeyId=key)
            if turn % 3 == 2:
                change(key, "Enabled", KMS.enable_key, KeyId=key)
            if turn % 4 == 3:
                change(key, "PendingDeletion", KMS.schedule_key_deletion, KeyId=key, PendingWindowInDays=7)
    except BotoCoreError:
        pass


def check(file):
    possible = {}
    for line in map(json.loads, open(file)):
        # An alias was not there before it was asked for; a key is first named by its own acknowledgement.
        values = possible.setdefault(line["thing"], {None})
        if line["acknowledged"]:
            values.clear()
        values.add(line["value"])

    listed = {key["KeyId"] for page in KMS.get_paginator("list_keys").paginate() for key in page["Keys"]}
    pages = KMS.get_paginator("list_aliases").paginate()
    aliases = {alias["AliasName"]: alias["TargetKeyId"] for page in pages for alias in page["Aliases"]}
    for thing, values in possible.items():
        if thing.startswith("alias/"):
            assert aliases.get(thing) in values, (thing, aliases.get(thing), values)
        elif thing.startswith("plaintext of "):
            (sealed,) = values
            check_plaintext(thing.removeprefix("plaintext of "), base64.b64decode(sealed))
        else:
            assert thing in listed, thing
            metadata = KMS.describe_key(KeyId=thing)["KeyMetadata"]
            state = metadata["KeyState"]
            dated = f"{state} at {metadata['DeletionDate'].timestamp()}" if "DeletionDate" in metadata else state
            assert {state, dated} & values, (thing, dated, values)


def check_plaintext(key, sealed):
    state = KMS.describe_key(KeyId=key)["KeyMetadata"]["KeyState"]
    try:
        answer = KMS.decrypt(CiphertextBlob=sealed, EncryptionContext=CONTEXT)
        assert state == "Enabled" and answer["Plaintext"] == key.encode(), (key, state)
    except ClientError as error:
        refusal = {"Disabled": "DisabledException", "PendingDeletion": "KMSInvalidStateException"}.get(state)
        assert error.response["Error"]["Code"] == refusal, (key, state, error)


if __name__ == "__main__":
    if sys.argv[1] == "check":
        check(sys.argv[2])
    else:
        with ThreadPoolExecutor(THREADS) as pool:
            for changing in [pool.submit(change_until_gone) for _ in range(THREADS)]:
                changing.result()
