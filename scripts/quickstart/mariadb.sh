# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by quickstart.sh: MariaDB, with sysbench at work on it.

readonly db_title=MariaDB db_user=mysql bench="sysbench, inserts" clients="mariadb and sysbench"
readonly db_packages=(mariadbd=mariadb-server sysbench=sysbench)
# The server first.
readonly db_programs=(mariadbd mariadb sysbench)
# What its log has to say when its volume is gone.
readonly db_signs='\[ERROR\].*(returned 5|operating system error 5|Input/output error).*'

db_find() { [ -n "$(command -v mariadbd mariadb-install-db)" ] || fail "mariadbd is not on the PATH."; }
db_version() { mariadbd --no-defaults --version | sed 's/^[^ ]*mariadbd/mariadbd/; s/ for .*//'; }
db_init() {
    # Temporary files hold plaintext, too.
    run as_db mkdir "$place/mnt/tmp" || return 1
    run as_db mariadb-install-db --no-defaults --auth-root-authentication-method=normal --skip-test-db "--datadir=$place/mnt/data"
}
db_start() {
    start "$database_log" as_db mariadbd --no-defaults --skip-networking "--datadir=$place/mnt/data" "--socket=$place/socket/mariadb" \
        "--pid-file=$place/socket/pid" "--tmpdir=$place/mnt/tmp"
}
db_answers() { sql "select 1"; }
sql() { mariadb --no-defaults --user=root "--socket=$place/socket/mariadb" --batch --skip-column-names -e "$1"; }
# What was committed is in the tables' own file once the server has written back everything.
db_note() { sql "create table quickstart.note (text text); insert into quickstart.note values ('$1'); flush tables quickstart.note for export"; }

inserts() {
    sysbench oltp_insert --db-driver=mysql --mysql-user=root "--mysql-socket=$place/socket/mariadb" --mysql-db=quickstart \
        --tables=1 --table-size=1000 --threads=4 "$@"
}
load_fill() { run sql "create database quickstart; create table quickstart.counted (at datetime)" && run inserts prepare; }
load_for() { run inserts --time="$1" run; }
load_start() { start "$log" inserts --time=120 run; }
load_tps() { sed -n 's/^ *transactions: .*(\([0-9]*\)\..* per sec.*/\1/p' "$log" | tail -n 1; }
# Of the load, those that were acknowledged: InnoDB shows a row before it is durable, and a commit of our own after that
# waits for all before it.
transactions() { sql "select count(*) from quickstart.sbtest1; insert into quickstart.counted values (now())"; }
