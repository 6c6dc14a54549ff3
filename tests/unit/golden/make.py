"""Makes the golden files beside it from real servers: small tablespaces with every kind of page checksum, and redo.

    python tests/unit/golden/make.py [CASE...]

Servers must be unpacked as ``scripts/test`` does it (SERVERS below). Each ``.xz`` is a small file as the server
left it; ``index.json`` says what it is and where it came from. Nothing here is made by Goldcopy itself.
"""

import json
import lzma
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pymysql

HERE = os.path.dirname(os.path.abspath(__file__))
SERVERS = os.path.expanduser("~/.cache/goldcopy-servers")
PORT = int(os.environ.get("GOLDEN_PORT", "3518"))
KEYS = "1;770A8A65DA156D24EE2A093277530142770A8A65DA156D24EE2A093277530142\n"
TABLE = "create table g.t (a int primary key, b varchar(400)) engine=InnoDB "

MARIADB = "mariadb-10.11"
OLD = ["--innodb-checksum-algorithm=crc32"]
FILE_KEYS = ["--plugin-load-add=file_key_management", "--file-key-management-filename={keys}"]

# name: (server, options at every start, statements before CREATE, table options)
SPACES = {
    "full_crc32": (MARIADB, [], [], ""),
    "full_crc32-compressed": (MARIADB, [], [], "page_compressed=1"),
    "full_crc32-encrypted": (MARIADB, FILE_KEYS, [], "encrypted=yes"),
    "mariadb-zip": (MARIADB, [], [], "row_format=compressed key_block_size=8"),
    "mariadb-zip-encrypted": (MARIADB, FILE_KEYS, [], "row_format=compressed key_block_size=4 encrypted=yes"),
    "mariadb-crc32": (MARIADB, OLD, [], ""),
    "mariadb-crc32-compressed": (MARIADB, OLD, [], "page_compressed=1"),
    "mariadb-crc32-encrypted": (MARIADB, [*OLD, *FILE_KEYS], [], "encrypted=yes"),
    "mysql-crc32": ("mysql-9.7", [], [], ""),
    "mysql-zip": ("mysql-9.7", [], [], "row_format=compressed key_block_size=2"),
    "mysql-zlib": ("mysql-9.7", [], [], "compression='zlib'"),
    "mysql-lz4": ("mysql-9.7", [], [], "compression='lz4'"),
    "mysql-innodb": ("mysql-5.6", [], [], ""),
    "mysql-zip-innodb": (
        "mysql-5.6", ["--innodb-file-format=Barracuda"], [], "row_format=compressed key_block_size=8"
    ),
    "mysql-none": ("mysql-5.6", ["--innodb-checksum-algorithm=none"], [], ""),
    "mysql56-crc32": ("mysql-5.6", ["--innodb-checksum-algorithm=crc32"], [], ""),
}
REDO = {"R108": MARIADB, "R105": "mariadb-10.5", "R8030": "mysql-9.7", "R56": "mysql-5.6"}


class Server:
    """A private server for one case."""

    def __init__(self, name, options, keys):
        self.name = name
        self.base = tempfile.mkdtemp(prefix="golden-", dir=os.path.expanduser("~/.cache/data"))
        self.dir = os.path.join(self.base, "data")
        self.options = [o.format(keys=keys) for o in options]
        if not name.startswith("mariadb") and name != "mysql-5.6":
            self.options.append("--mysqlx=OFF")

    def start(self):
        command = [f"{SERVERS}/{self.name}/start.sh", self.dir, str(PORT), *self.options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return pymysql.connect(unix_socket=f"{self.dir}/mysqld.sock", user="root", autocommit=True)

    def stop(self):
        subprocess.run([f"{SERVERS}/{self.name}/stop.sh", self.dir, str(PORT)], check=True)

    def kill(self):
        with open(f"{self.dir}/mysqld.pid") as f:
            pid = int(f.read())
        os.kill(pid, signal.SIGKILL)
        while os.path.exists(f"/proc/{pid}/cmdline") and open(f"/proc/{pid}/cmdline").read():
            time.sleep(0.05)

    def read(self, name):
        with open(os.path.join(self.dir, name), "rb") as f:
            return f.read()

    def remove(self):
        shutil.rmtree(self.base)


def keep(name, data):
    with open(os.path.join(HERE, name + ".xz"), "wb") as f:
        f.write(lzma.compress(data, preset=9))


def fill(server, cursor, table_options):
    cursor.execute("create database g")
    cursor.execute(TABLE + table_options)
    for i in range(60):
        cursor.execute(f"insert into g.t values ({i}, repeat('{chr(97 + i % 26)}', {200 + i}))")


def make_space(name, keys):
    server_name, options, before, table_options = SPACES[name]
    server = Server(server_name, options, keys)
    connection = server.start()
    for statement in before:
        connection.cursor().execute(statement)
    fill(server, connection.cursor(), table_options)
    connection.close()
    server.stop()
    data = server.read("g/t.ibd")
    if name in ("full_crc32-encrypted", "mariadb-crc32-encrypted"):
        data = data[:16384] + data[3 * 16384 : 4 * 16384]  # ciphertext cannot be compressed: page 0 and the root
    keep(name, data)
    entry = {"server": server_name, "options": options, "table": TABLE + table_options}
    if name in ("full_crc32", "mysql-innodb"):
        system = server.read("ibdata1")
        keep(name + ".system", system[:16384] + system[5 * 16384 : 6 * 16384])
    server.remove()
    return entry


def make_redo(layout, keys):
    """The log directory of a server that was killed right after some inserts: nothing but raw files.

    The log is made anew before, so that it holds little but those inserts.
    """
    server = Server(REDO[layout], [], keys)
    option = "--innodb-redo-log-capacity" if layout == "R8030" else "--innodb-log-file-size"
    server.options.append(f"{option}=10M")
    server.start().close()
    server.stop()
    if layout == "R8030":
        for n in os.listdir(os.path.join(server.dir, "#innodb_redo")):
            os.unlink(os.path.join(server.dir, "#innodb_redo", n))
    server.options[-1] = f"{option}={8 if layout == 'R8030' else 5}M"
    connection = server.start()
    fill(server, connection.cursor(), "")
    connection.cursor().execute("update g.t set b = repeat('q', 390)")
    time.sleep(1.5)
    connection.close()
    server.kill()
    folder = "#innodb_redo" if layout == "R8030" else "."
    names = sorted(n for n in os.listdir(os.path.join(server.dir, folder)) if re.match(r"ib_logfile\d|#ib_redo\d+$", n))
    files = {}
    for n in names:
        data = server.read(os.path.join(folder, n))
        files[n] = len(data)
        keep(f"{layout}-{n.strip('#')}", data.rstrip(b"\0"))
    server.remove()
    return {"server": REDO[layout], "folder": folder, "files": files}


def main():
    path = os.path.join(HERE, "index.json")
    index = json.load(open(path)) if os.path.exists(path) else {"spaces": {}, "redo": {}}
    wanted = sys.argv[1:] or [*SPACES, *REDO]
    with tempfile.NamedTemporaryFile("w", suffix=".keys") as keys:
        keys.write(KEYS)
        keys.flush()
        os.chmod(keys.name, 0o644)
        for name in wanted:
            if name in SPACES:
                index["spaces"][name] = make_space(name, keys.name)
            else:
                index["redo"][name] = make_redo(name, keys.name)
            with open(path, "w") as f:
                json.dump(index, f, indent=1)


if __name__ == "__main__":
    main()
