# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by quickstart.sh: PostgreSQL, with pgbench at work on it.

readonly db_title=PostgreSQL db_user=postgres bench="pgbench, scale 10" clients="psql and pgbench"
readonly db_packages=(pg_ctlcluster=postgresql)
# The server first.
readonly db_programs=(postgres psql pgbench initdb)
# What its log has to say when its volume is gone.
readonly db_signs='[A-Z]+:  .*Input/output error'

db_find() {
    postgres_bin=$(find /usr/lib/postgresql/*/bin -name initdb -printf '%h\n' 2>/dev/null | sort -V | tail -n 1)
    [ -n "$postgres_bin" ] || fail "no PostgreSQL server under /usr/lib/postgresql, where Debian has it."
}
db_version() { "$postgres_bin/postgres" --version; }
db_init() { run as_db "$postgres_bin/initdb" -D "$place/mnt/data" -U postgres -A trust; }
db_start() { start "$database_log" as_db "$postgres_bin/postgres" -D "$place/mnt/data" -k "$place/socket" -c listen_addresses=; }
db_answers() { "$postgres_bin/pg_isready" -q -h "$place/socket"; }
sql() { "$postgres_bin/psql" -h "$place/socket" -U postgres -X -q -A -t -v ON_ERROR_STOP=1 -c "$1" postgres; }
db_note() { sql "create table note as select '$1' as text; checkpoint"; }

load_fill() { run "$postgres_bin/pgbench" -h "$place/socket" -U postgres -i -q -s 10 postgres; }
load_for() { run "$postgres_bin/pgbench" -h "$place/socket" -U postgres -c 4 -j 2 -T "$1" postgres; }
load_start() { start "$log" "$postgres_bin/pgbench" -h "$place/socket" -U postgres -n -c 4 -j 2 -T 120 postgres; }
load_tps() { sed -n 's/^tps = \([0-9]*\).*/\1/p' "$log" | tail -n 1; }
# Of the load, those that were acknowledged.
transactions() { sql 'select count(*) from pgbench_history'; }
