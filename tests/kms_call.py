"""Makes one call through boto3, in one attempt, and prints how it went as a JSON line.

kms_call.py PROFILE METHOD PARAMETERS   PARAMETERS is a JSON object; CiphertextBlob in it is base64
"""

import base64
import json
import sys
import time

try:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError as error:
    sys.exit(f"kms_call.py needs the Python module boto3: {error}")

# Longer than any answer takes, but for the one that never comes.
READ_TIMEOUT = 15


def main(profile, method, parameters):
    config = Config(retries={"total_max_attempts": 1}, read_timeout=READ_TIMEOUT)
    parameters = json.loads(parameters)
    if "CiphertextBlob" in parameters:
        parameters["CiphertextBlob"] = base64.b64decode(parameters["CiphertextBlob"])
    call = getattr(boto3.Session(profile_name=profile).client("kms", config=config), method)
    began = time.monotonic()
    outcome = {"code": "", "message": "", "status": 200}
    try:
        outcome["answer"] = call(**parameters)
    except ClientError as error:
        outcome |= {"code": error.response["Error"]["Code"], "message": error.response["Error"]["Message"]}
        outcome["status"] = error.response["ResponseMetadata"]["HTTPStatusCode"]
    except BotoCoreError as error:
        outcome |= {"code": type(error).__name__, "message": str(error), "status": 0}
    outcome["seconds"] = time.monotonic() - began
    print(json.dumps(outcome, default=lambda value: base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)))


if __name__ == "__main__":
    main(*sys.argv[1:])
