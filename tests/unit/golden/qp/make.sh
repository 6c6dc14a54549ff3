#!/bin/bash
# make.sh SERVER SOCKET: files as the real `mariadb-backup --compress` writes them, with the sums of their plain bytes.
# SERVER: directory of an unpacked MariaDB 10.11; SOCKET: of a running one, user root without password.
set -eu
server=$1 socket=$2 here=$(cd "$(dirname "$0")" && pwd) work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$server/bin/mariadb" -S "$socket" -uroot <<'SQL'
CREATE DATABASE golden; USE golden;
CREATE TABLE golden.pages (a INT PRIMARY KEY, b VARCHAR(100)) ENGINE=InnoDB;
INSERT INTO golden.pages SELECT seq, CONCAT('row ', seq) FROM seq_1_to_400;
CREATE TABLE golden.words (a INT, b TEXT) ENGINE=MyISAM;
INSERT INTO golden.words SELECT seq, REPEAT('xyz', seq % 50) FROM seq_1_to_3000;
CREATE TABLE golden.noise (a BLOB) ENGINE=MyISAM;
INSERT INTO golden.noise SELECT RANDOM_BYTES(1000) FROM seq_1_to_20;
FLUSH TABLES; SET GLOBAL innodb_max_dirty_pages_pct = 0;
SQL
sleep 2
for kind in "" --compress; do
    "$server/bin/mariadb-backup" --backup $kind --databases=golden -S "$socket" -uroot --target-dir="$work/out$kind" 2>/dev/null
done
"$server/bin/mariadb" -S "$socket" -uroot -e 'DROP DATABASE golden'
rm -f "$here"/*.qp "$here/SHA256SUMS"
cd "$work/out/golden"
for f in pages.ibd words.MYD noise.MYD pages.frm; do
    cp "$work/out--compress/golden/$f.qp" "$here/"
    sha256sum "$f" >> "$here/SHA256SUMS"
done
chmod 644 "$here"/*
chmod 755 "$here/make.sh"
