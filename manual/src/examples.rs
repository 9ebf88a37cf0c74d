//! Lines to type. Each names its verb, and so its page; `manual/tests` has every line read by the command line itself.

/// Whether the line is one of `typed`, such as `envol snapshot`, or of a verb of that group.
pub(crate) fn is_of(line: &str, typed: &str) -> bool {
    line.strip_prefix(typed).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

/// What for, and the line.
pub(crate) const EXAMPLES: &[(&str, &str)] = &[
    (
        "A volume of 100 GiB for the database db-orders:",
        "envol create --db-id db-orders --size 100GiB --kms-key alias/orders",
    ),
    (
        "With a grant for the role that serves it, and nothing else allowed to that role:",
        "envol create --db-id db-orders --size 100GiB --kms-key alias/orders --grantee arn:aws:iam::111122223333:role/envol-volume --kms-profile envol-volume",
    ),
    (
        "A new volume of a snapshot, the way back after a revocation:",
        "envol create --db-id db-orders --snapshot snap-0123456789abcdef0 --kms-key alias/orders",
    ),
    (
        "Mounted at /srv/orders, with ext4 made on it the first time:",
        "envol attach vol-0123456789abcdef0 /srv/orders --owner postgres",
    ),
    (
        "Asking KMS every 2 seconds, and a pager told of each event:",
        "envol attach vol-0123456789abcdef0 /srv/orders --probe-interval 2s --on-event https://pager.example/hook",
    ),
    ("Only the image file, without root:", "envol attach vol-0123456789abcdef0 --raw"),
    ("Taken away, if nothing uses it:", "envol detach vol-0123456789abcdef0"),
    ("What uses it is ended first:", "envol detach vol-0123456789abcdef0 --force"),
    ("The volumes of this host:", "envol list"),
    ("One volume: its state, why, and what to do:", "envol status vol-0123456789abcdef0"),
    ("The same for a program:", "envol status vol-0123456789abcdef0 --json"),
    ("What became of it, and what comes:", "envol events vol-0123456789abcdef0 --follow"),
    ("Damage, without a key:", "envol check vol-0123456789abcdef0"),
    ("Larger, under load; its file system grows with it:", "envol resize vol-0123456789abcdef0 200GiB"),
    (
        "Under another KMS key; the data stays as it is:",
        "envol rewrap vol-0123456789abcdef0 --kms-key alias/orders-2027",
    ),
    ("A copy of the header, to be kept elsewhere:", "envol header backup vol-0123456789abcdef0 orders.header"),
    ("Back to the image:", "envol header restore vol-0123456789abcdef0 orders.header"),
    ("Asked once more before it is gone:", "envol delete vol-0123456789abcdef0"),
    ("From a script:", "envol delete vol-0123456789abcdef0 --yes"),
    (
        "What an image says of itself, without a key:",
        "envol inspect /var/lib/envol/volumes/vol-0123456789abcdef0/backing",
    ),
    ("While the database works on:", "envol snapshot create vol-0123456789abcdef0"),
    ("To S3:", "envol snapshot create vol-0123456789abcdef0 --store s3://example-backups/envol"),
    ("Newest last:", "envol snapshot list vol-0123456789abcdef0"),
    ("One snapshot:", "envol snapshot show snap-0123456789abcdef0"),
    (
        "Under another key, to another place:",
        "envol snapshot copy snap-0123456789abcdef0 --kms-key alias/archive --to-store s3://example-archive/envol",
    ),
    ("For another account:", "envol snapshot share snap-0123456789abcdef0 --with 444455556666"),
    ("Every chunk read and authenticated:", "envol snapshot verify snap-0123456789abcdef0"),
    ("One snapshot, without a question:", "envol snapshot delete snap-0123456789abcdef0 --yes"),
    (
        "What a year of backups needs, first only told:",
        "envol snapshot prune vol-0123456789abcdef0 --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --dry-run",
    ),
    ("After interrupted commands:", "envol snapshot gc"),
    ("A throw-away volume under load, its key disabled:", "envol drill revoke --by disable-key"),
    (
        "On a volume of yours, which ends:",
        "envol drill revoke vol-0123456789abcdef0 --confirm vol-0123456789abcdef0 --by revoke-grant",
    ),
    ("After a drill that was interrupted:", "envol drill undo"),
    ("How fast this processor encrypts:", "envol bench cipher"),
    ("An attached volume beside its bare backing file:", "envol bench volume vol-0123456789abcdef0"),
    ("In a shell, before anything else: eval \"$(envol kms init)\"", "envol kms init"),
    ("Until interrupted:", "envol kms serve"),
    ("A role that alice may assume:", "envol kms principal create role/envol-volume --trusts alice"),
    ("Who there is:", "envol kms principal list"),
    ("A policy from a file:", "envol kms principal attach-policy alice policy.json"),
    ("Gone, with its credentials:", "envol kms principal delete alice"),
    (
        "Would it be allowed, and why not:",
        "envol kms simulate --principal alice --action kms:Decrypt --key alias/orders --context aws:rds:db-id=db-orders",
    ),
    ("Answers that take half a second:", "envol kms fault latency 500ms"),
    ("Every second call throttled for a minute:", "envol kms fault throttle --percent 50 --for 1m"),
    ("Nobody answers:", "envol kms fault outage --answer silence --for 30s"),
    ("Changes seen late, as on AWS:", "envol kms fault propagation 20s"),
    ("A year on, for rotation and expiry:", "envol kms fault clock --advance 365d"),
    ("What is in force:", "envol kms fault list"),
    ("As if nothing had been:", "envol kms fault clear"),
    ("Who unwrapped what, as it happens:", "envol kms audit --follow"),
    (
        "The probes of one volume alone:",
        "envol kms audit --context aws:ebs:id=vol-0123456789abcdef0 --context envol:use=canary",
    ),
];
