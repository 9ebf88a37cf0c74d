#!/usr/bin/env bash
# Runs create, attach and every kind of revocation against the AWS account that the environment points to, and says which
# of the facts under "What has not been verified against AWS" in docs/aws.md held, one line each:
#
#   NUMBER held: FACT                                (what was seen, how long it took)
#   NUMBER did not hold: FACT                        (what was seen)
#   NUMBER could not be seen: FACT                   (why)
#
#   scripts/aws-check.sh [--yes] [--volume-profile NAME --grantee ARN] [--envol PROGRAM] [--deadline SECONDS]
#
# It makes two KMS keys of its own, tagged envol-aws-check, and schedules their deletion in 7 days when it ends, also when it
# is interrupted. Volumes lie in a temporary directory of their own and are attached with --raw: it takes /dev/fuse, no root.
# The volume service is the caller, or NAME, whose principal ARN nothing should allow anything on these keys.
# Exit code: 0 when everything was tried, whatever held; 2 for a wrong command line; else it did not come to the end.
set -euo pipefail
export LC_ALL=C AWS_PAGER=

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here probe=(--probe-interval 1s --confirm-denial 1s) tag=envol-aws-check database=db-aws-check

# --- the command line

usage() {
    sed -n '2,/^set /{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    printf '%s: %s\n' "$(basename "$0")" "$1" >&2
    exit 2
}

agreed='' volume_profile='' grantee='' envol=envol deadline_s=600
while [ $# -gt 0 ]; do
    case $1 in
    --yes) agreed=yes && shift && continue ;;
    --volume-profile | --grantee | --envol | --deadline) [ $# -ge 2 ] || usage "$1 needs a value" ;;
    *) usage "unknown: $1" ;;
    esac
    case $1 in
    --volume-profile) volume_profile=$2 ;;
    --grantee) grantee=$2 ;;
    --envol) envol=$2 ;;
    --deadline) deadline_s=$2 ;;
    esac
    shift 2
done
if [ "${volume_profile:+given}" != "${grantee:+given}" ]; then
    usage "--volume-profile and --grantee go together: the profile is of that principal"
fi
for program in aws python3 "$envol"; do
    command -v "$program" >/dev/null || { printf 'not found: %s\n' "$program" >&2 && exit 9; }
done

# --- what is printed

now_us() { printf '%s' "${EPOCHREALTIME/[.,]/}"; }
# A command in an expression is read when it is carried out, and Bash 5.2 takes a signal in that moment for a part of it.
seconds_since() { local now us; now=$(now_us) us=$((now - $1)); printf '%d.%d s' $((us / 1000000)) $((us / 100000 % 10)); }
note() { printf -- '-- %s\n' "$*"; }

facts=(
    [1]="the wrapped form of a 64-byte data key is 6144 bytes at most"
    [2]="a dry run of a Decrypt that is allowed answers DryRunOperationException, HTTP 400"
    [3]="a wrong signature is refused with InvalidSignatureException, HTTP 400"
    [4]="an unknown access key is refused with UnrecognizedClientException, HTTP 400"
    [5]="with its token a grant counts for the next call"
    [6]="DescribeKey is allowed by a grant for it alone"
    [7]="a grant for RetireGrant lets the grantee retire it"
    [8]="a revoked grant: Decrypt with its token answers AccessDeniedException"
    [9]="a Deny in the key policy overrules a grant: AccessDeniedException"
    [10]="once DisableKey is answered, the next Decrypt answers DisabledException"
    [11]="a dry run of Decrypt under a disabled key answers DisabledException"
    [12]="who may not use a disabled key is answered AccessDeniedException"
    [13]="Decrypt under a key pending deletion answers KMSInvalidStateException"
    [14]="CancelKeyDeletion leaves the key disabled"
    [15]="without imported material Decrypt answers KMSInvalidStateException, and the state is PendingImport"
    [16]="the same material imported again opens what was wrapped before"
    [17]="RevokeGrant ends a volume: access-denied"
    [18]="a Deny in the key policy ends a volume: access-denied"
    [19]="DisableKey ends a volume: key-disabled"
    [20]="ScheduleKeyDeletion ends a volume: key-pending-deletion"
    [21]="DeleteImportedKeyMaterial ends a volume: key-pending-import"
)
declare -A told=()

tell() {
    [ -z "${told[$1]-}" ] || return 0
    told[$1]=yes
    printf '%s %s: %s (%s)\n' "$1" "$2" "${facts[$1]}" "$3"
}

# judge NUMBER WANTED SEEN [MORE] : held if it is what was wanted, a pattern of the shell.
judge() {
    # shellcheck disable=SC2053 # a pattern
    if [[ $3 == $2 ]]; then tell "$1" held "$3${4:+; $4}"; else tell "$1" "did not hold" "$3${4:+; $4}"; fi
}

unseen() {
    local number
    for number in "${@:2}"; do tell "$number" "could not be seen" "$1"; done
}

# --- AWS

# An AWS CLI that is older than the variable for the endpoint is told it.
kms() { aws ${AWS_ENDPOINT_URL_KMS:+--endpoint-url "$AWS_ENDPOINT_URL_KMS"} kms "$@"; }
kms_text() { kms "$@" --output text; }
kms_as_volume() { kms "$@" ${volume_profile:+--profile "$volume_profile"}; }

# answer COMMAND... : ok, or AWS's error code, or what the CLI said.
answer() {
    local said
    if said=$("$@" 2>&1 >/dev/null); then
        echo ok
    elif [[ $said =~ \(([A-Za-z]+)\)\ when\ calling ]]; then
        echo "${BASH_REMATCH[1]}"
    else
        said=${said//$'\n'/ }
        echo "no answer: ${said: -120}"
    fi
}

# surely COMMAND... : KMS is eventually consistent, and what was just changed may not be known yet to who answers.
surely() {
    local attempt
    for attempt in 1 2 3 4 5; do
        "$@" 2>"$work/error" && return 0
        sleep "$attempt"
    done
    cat "$work/error" >&2
    return 1
}

# answer_and_status COMMAND... : the same with the status, which the CLI tells when it is asked to debug.
answer_and_status() {
    local said code=ok status=none
    said=$("$@" --debug 2>&1 >/dev/null) || code=none
    [[ $said =~ \"POST\ /\ HTTP/1.1\"\ ([0-9]+) ]] && status=${BASH_REMATCH[1]}
    [[ $said =~ \(([A-Za-z]+)\)\ when\ calling ]] && code=${BASH_REMATCH[1]}
    echo "$code, HTTP $status"
}

# set_decrypt KEY BLOB : what is asked from now on, as `decrypt` and `dry_run`.
set_decrypt() {
    decrypt=(decrypt --key-id "$1" --ciphertext-blob "fileb://$work/$2" --encryption-context "aws:rds:db-id=$database"
        --query KeyId --output text)
    dry_run=("${decrypt[@]}" --dry-run)
}

# wait_refused COMMAND... : asks until it is not answered ok; sets seen, calls and took. The time has that of the calls in it.
wait_refused() {
    local began
    began=$(now_us) calls=0
    until
        seen=$(answer "$@")
        calls=$((calls + 1))
        [ "$seen" != ok ] && [ "$seen" != DryRunOperationException ]
    do
        now=$(now_us)
        [ $((now - began)) -lt $((deadline_s * 1000000)) ] || break
        sleep 0.2
    done
    took="call $calls, $(seconds_since "$began")"
}

# wait_allowed COMMAND... : until it is answered ok.
wait_allowed() {
    local until_s=$((SECONDS + deadline_s))
    until [ "$(answer "$@")" = ok ] || [ $SECONDS -gt $until_s ]; do sleep 0.5; done
}

wait_state() {
    local until_s=$((SECONDS + deadline_s))
    until [ "$(state_of "$1")" = "$2" ]; do
        [ $SECONDS -lt $until_s ] || return 1
        sleep 0.5
    done
}
state_of() { kms_text describe-key --key-id "$1" --query KeyMetadata.KeyState 2>/dev/null; }

make_key() {
    kms_text create-key "$@" --tags "TagKey=$tag,TagValue=$$" --description "of scripts/aws-check.sh, to be deleted" \
        --query KeyMetadata.KeyId
}

wrap_data_key() {
    surely kms_text generate-data-key-without-plaintext --key-id "$1" --number-of-bytes 64 \
        --encryption-context "aws:rds:db-id=$database" --query CiphertextBlob | base64 -d >"$work/$2"
}

import_material() {
    surely kms get-parameters-for-import --key-id "$1" --wrapping-algorithm RSAES_OAEP_SHA_256 --wrapping-key-spec RSA_2048 \
        --output json | python3 "$here/wrap-key-material.py" "$work"
    surely kms import-key-material --key-id "$1" --import-token "fileb://$work/token" \
        --encrypted-key-material "fileb://$work/wrapped" --expiration-model KEY_MATERIAL_DOES_NOT_EXPIRE >/dev/null
}

# --- volumes

run_envol() { "$envol" --root "$work/root" "$@"; }

# field NAME : of what comes in.
field() { python3 -c 'import json, sys; print(json.load(sys.stdin).get(sys.argv[1]) or "")' "$1"; }

# serve KEY : makes a volume under it, as `volume`, with `grant_id` if it has one, and attaches it.
serve() {
    local grant=()
    [ -z "$grantee" ] || grant=(--grantee "$grantee" --kms-profile "$volume_profile")
    volume=$(surely run_envol create --db-id "$database" --size 16MiB --kms-key "$1" "${grant[@]}")
    volumes+=("$volume")
    surely run_envol attach "$volume" --raw "${probe[@]}" ${volume_profile:+--kms-profile "$volume_profile"} >/dev/null
    # Not in the call that needs it: Bash 5.2 reads a "$(...)" when it expands it, and takes a signal in that moment for a part of it.
    grant_id=$(run_envol --json status "$volume" | field grant_id)
    note "$volume is attached"
}

# ends NUMBER CAUSE REVOCATION... : does it, and measures from its answer until the volume is terminal.
ends() {
    local number=$1 cause=$2 began status='{}' state=in-use
    surely "${@:3}" >/dev/null
    began=$(now_us)
    while now=$(now_us) && [ $((now - began)) -lt $((deadline_s * 1000000)) ]; do
        status=$(run_envol --json status "$volume")
        state=$(field state <<<"$status")
        took=$(seconds_since "$began")
        [ "$state" != terminal ] || break
        sleep 0.2
    done
    judge "$number" "terminal: $cause" "$state: $(field cause <<<"$status")" \
        "$took after the revocation was answered"
}

# --- the end, whichever it is

keys=() volumes=() work='' interruption=''
clean_up() {
    local status=$? key volume
    # Bash may be in the middle of an expansion when a signal comes, and then $? is of that.
    status=${interruption:-$status}
    trap '' INT TERM HUP
    trap - EXIT
    set +e
    for volume in "${volumes[@]}"; do
        run_envol detach "$volume" --force >/dev/null 2>&1
        run_envol delete "$volume" --yes >/dev/null 2>&1 || note "$volume could not be deleted; it is in $work/root"
    done
    for key in "${keys[@]}"; do
        if [ "$(state_of "$key")" = PendingDeletion ] ||
            kms schedule-key-deletion --key-id "$key" --pending-window-in-days 7 >/dev/null; then
            note "key $key is deleted in 7 days"
        else
            note "SCHEDULE THE DELETION of key $key yourself: aws kms schedule-key-deletion --key-id $key"
            [ "$status" -ne 0 ] || status=1
        fi
    done
    if [ -n "$work" ] && ! grep -qF "$work" /proc/self/mountinfo; then rm -rf "$work"; fi
    exit "$status"
}

interrupted() {
    interruption=$1
    exit "$1"
}

# --- ask

identity=$(aws ${AWS_ENDPOINT_URL_STS:+--endpoint-url "$AWS_ENDPOINT_URL_STS"} sts get-caller-identity --query Arn --output text)
cat <<TEXT
This makes two KMS keys as $identity${AWS_ENDPOINT_URL_KMS:+ at $AWS_ENDPOINT_URL_KMS},
and some hundred calls. AWS charges 1 USD a month for a key, by the hour, and nothing while its deletion is
scheduled; 10,000 calls are 0.03 USD. So this costs a few cents, and never more than a dollar if it is left to end by itself.
The keys are deleted in 7 days.
TEXT
if [ -z "$agreed" ]; then
    [ -t 0 ] || { echo "not a terminal: say --yes" >&2 && exit 2; }
    read -r -p "Go on? [y/N] " agreed
    [[ $agreed == [yY]* ]] || exit 2
fi

trap clean_up EXIT
trap 'interrupted 130' INT
trap 'interrupted 143' TERM
trap 'interrupted 129' HUP
work=$(mktemp -d "${TMPDIR:-/tmp}/envol-aws-check.XXXXXX")
mkdir "$work/root"
key=$(make_key)
keys+=("$key")
note "key $key"
wait_state "$key" Enabled
arn=$(kms_text describe-key --key-id "$key" --query KeyMetadata.Arn)

# --- requests

wrap_data_key "$key" blob
set_decrypt "$key" blob
length=$(stat -c %s "$work/blob")
if [ "$length" -le 6144 ]; then tell 1 held "$length bytes"; else tell 1 "did not hold" "$length bytes"; fi
# The first one may be before everybody knows of the key.
wait_allowed kms "${decrypt[@]}"
judge 2 "DryRunOperationException, HTTP 400" "$(answer_and_status kms "${dry_run[@]}")"

access_key=${AWS_ACCESS_KEY_ID:-$(aws configure get aws_access_key_id || true)}
# signed_as ACCESS_KEY ARGUMENTS... : with a secret that is not its own.
signed_as() {
    env -u AWS_PROFILE -u AWS_SESSION_TOKEN AWS_DEFAULT_REGION="$(cut -d: -f4 <<<"$arn")" AWS_ACCESS_KEY_ID="$1" \
        AWS_SECRET_ACCESS_KEY=not-the-secret aws ${AWS_ENDPOINT_URL_KMS:+--endpoint-url "$AWS_ENDPOINT_URL_KMS"} kms "${@:2}"
}
if [[ $access_key == AKIA* ]]; then
    judge 3 "InvalidSignatureException, HTTP 400" "$(answer_and_status signed_as "$access_key" describe-key --key-id "$key")"
else
    unseen "the caller has no access key of a user" 3
fi
judge 4 "UnrecognizedClientException, HTTP 400" "$(answer_and_status signed_as AKIAENVOLCHECK000000 describe-key --key-id "$key")"

# --- a grant

policy=$(surely kms_text get-key-policy --key-id "$key" --policy-name default --query Policy)
deny=$(python3 -c '
import json, sys
policy = json.loads(sys.argv[1])
principal = {"AWS": sys.argv[2]} if sys.argv[2] else "*"
policy["Statement"].append({"Sid": "Check", "Effect": "Deny", "Principal": principal, "Action": "kms:Decrypt", "Resource": "*"})
print(json.dumps(policy))' "$policy" "$grantee")
set_policy() { surely kms put-key-policy --key-id "$key" --policy-name default --policy "$1"; }

if [ -z "$grantee" ]; then
    unseen "no --volume-profile of a principal that nothing but a grant allows anything" 5 6 7 8 9 12 17
else
    before=$(answer kms_as_volume "${decrypt[@]}")
    if [ "$before" != AccessDeniedException ]; then
        note "without a grant $grantee is answered $before: what a grant does cannot be told"
        unseen "$grantee may use the key without a grant" 5 6 7 8 9 12 17
    else
        make_grant() {
            surely kms_text create-grant --key-id "$key" --grantee-principal "$grantee" --operations Decrypt DescribeKey RetireGrant \
                --query '[GrantId,GrantToken]'
        }
        read -r grant token <<<"$(make_grant)"
        judge 5 ok "$(answer kms_as_volume "${decrypt[@]}" --grant-tokens "$token")"
        judge 6 ok "$(answer kms_as_volume describe-key --key-id "$arn" --grant-tokens "$token")"
        judge 7 DryRunOperationException "$(answer kms_as_volume retire-grant --grant-token "$token" --dry-run)"
        set_policy "$deny"
        wait_refused kms_as_volume "${decrypt[@]}" --grant-tokens "$token"
        judge 9 AccessDeniedException "$seen" "$took"
        set_policy "$policy"
        wait_allowed kms_as_volume "${decrypt[@]}" --grant-tokens "$token"
        surely kms revoke-grant --key-id "$key" --grant-id "$grant"
        wait_refused kms_as_volume "${decrypt[@]}" --grant-tokens "$token"
        judge 8 AccessDeniedException "$seen" "$took"
    fi
fi

# --- revocations of a volume each

if [ -z "${told[17]-}" ]; then
    serve "$key"
    ends 17 access-denied kms revoke-grant --key-id "$key" --grant-id "$grant_id"
fi

serve "$key"
ends 18 access-denied set_policy "$deny"
set_policy "$policy"
wait_allowed kms "${decrypt[@]}"

serve "$key"
ends 19 key-disabled kms disable-key --key-id "$key"
judge 11 DisabledException "$(answer kms "${dry_run[@]}")"
[ -n "${told[12]-}" ] || judge 12 AccessDeniedException "$(answer kms_as_volume "${decrypt[@]}")"
surely kms enable-key --key-id "$key"
wait_allowed kms "${decrypt[@]}"
surely kms disable-key --key-id "$key"
wait_refused kms "${decrypt[@]}"
if [ "$calls" = 1 ]; then judge 10 DisabledException "$seen" "$took"; else tell 10 "did not hold" "$seen only at $took"; fi
surely kms enable-key --key-id "$key"
wait_allowed kms "${decrypt[@]}"

serve "$key"
ends 20 key-pending-deletion kms schedule-key-deletion --key-id "$key" --pending-window-in-days 7
judge 13 KMSInvalidStateException "$(answer kms "${decrypt[@]}")"
surely kms cancel-key-deletion --key-id "$key" >/dev/null
judge 14 Disabled "$(state_of "$key")"

# --- imported material

python3 -c 'import secrets, sys; sys.stdout.buffer.write(secrets.token_bytes(32))' >"$work/material"
external=$(make_key --origin EXTERNAL)
keys+=("$external")
note "key $external, with imported material"
import_material "$external"
wait_state "$external" Enabled
wrap_data_key "$external" external-blob
set_decrypt "$external" external-blob
wait_allowed kms "${decrypt[@]}"
serve "$external"
ends 21 key-pending-import kms delete-imported-key-material --key-id "$external"
wait_refused kms "${decrypt[@]}"
judge 15 "KMSInvalidStateException, PendingImport" "$seen, $(state_of "$external")"
import_material "$external"
wait_state "$external" Enabled
wait_allowed kms "${decrypt[@]}"
judge 16 ok "$(answer kms "${decrypt[@]}")"
