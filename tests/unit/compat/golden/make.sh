#!/bin/bash
# Makes the golden information files with the real mariadb-backup: make.sh SERVERS_DIR SCRATCH_DIR PORT
# One directory a version: full/, inc/ (an increment, with history), prepared/, extra/ (--extra-lsndir), gtid/.
set -euo pipefail
servers=$1 scratch=$2 port=$3
here=$(cd "$(dirname "$0")" && pwd)

keep() { # keep FROM TO: only the information files
  mkdir -p "$2"
  for f in "$1"/*_checkpoints "$1"/*_info "$1"/xtrabackup_binlog_pos_innodb "$1"/backup-my.cnf; do
    [ -f "$f" ] && cp "$f" "$2/" || true
  done
}

for name in mariadb-10.5 mariadb-10.11 mariadb-11.8; do
  data=$scratch/$name out=$here/$name bin=$servers/$name/bin
  rm -rf "$data" "$data".bak && mkdir -p "$data.bak"/{extra,stream}
  "$servers/$name/start.sh" "$data" "$port" --log-bin=binlog --server-id=7
  sql() { "$bin/mariadb" -uroot -S "$data/mysqld.sock" -e "$1"; }
  take() { "$bin/mariadb-backup" --no-defaults --backup -uroot -S "$data/mysqld.sock" --datadir="$data" "$@" 2>"$scratch/log"; }
  sql "CREATE DATABASE d; CREATE TABLE d.t (a INT) ENGINE=InnoDB; INSERT INTO d.t VALUES (1)"
  sql "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=1, MASTER_USER='r', MASTER_LOG_FILE='binlog.000002', MASTER_LOG_POS=10900, MASTER_USE_GTID=no"
  take --target-dir="$data.bak/full" --slave-info --extra-lsndir="$data.bak/extra"
  sql "INSERT INTO d.t VALUES (2); SET GLOBAL gtid_slave_pos='0-4205-60'; CHANGE MASTER TO MASTER_USE_GTID=slave_pos"
  take --target-dir="$data.bak/inc" --slave-info --incremental-basedir="$data.bak/full" --history=weekly --databases=d
  take --target-dir="$data.bak/unused" --stream=xbstream --extra-lsndir="$data.bak/stream" >/dev/null
  sql "SELECT * FROM mysql.mariadb_backup_history\G" >"$scratch/history" 2>/dev/null ||
    sql "SELECT * FROM PERCONA_SCHEMA.xtrabackup_history\G" >"$scratch/history"
  rm -rf "$out"
  for kind in full inc extra stream; do keep "$data.bak/$kind" "$out/$kind"; done
  cp "$scratch/history" "$out/history.txt"
  "$bin/mariadb-backup" --no-defaults --prepare --target-dir="$data.bak/full" 2>"$scratch/log"
  keep "$data.bak/full" "$out/prepared"
  "$servers/$name/stop.sh" "$data" "$port"
done

# what my_print_defaults makes of an option file with every kind of quoting
"$servers/mariadb-11.8/bin/my_print_defaults" --defaults-file="$here/quoting.cnf" --defaults-group-suffix=.2 \
  xtrabackup mysqld >"$here/quoting.txt"
