"""The databases that the load works on: a table of every kind that the server has. The bank comes first of all."""

from __future__ import annotations

import random
from dataclasses import dataclass

from lab.server import LabServer

ACCOUNTS = 500
BALANCE = 1000
ROWS = 1500
BURN_ROWS = 4000
ODD_DATABASE = "odd db.#1 üñ"
ODD_TABLE = "a.table #2 ж-x"
EMPTY_DATABASE = "empty#and.nothing"


@dataclass(frozen=True)
class Kind:
    """What the server can do, worked out once."""

    mariadb: bool
    number: tuple[int, ...]
    page_size: int

    @property
    def virtual(self) -> bool:
        """Generated columns exist."""
        return self.mariadb or self.number >= (5, 7)

    @property
    def instant(self) -> bool:
        """ADD COLUMN can be instant."""
        return self.mariadb or self.number >= (8,)

    @property
    def replays_sequences(self) -> bool:
        """A sequence's row event can be replayed from mysqlbinlog: MariaDB 10.5 crashes on it."""
        return self.mariadb and self.number >= (10, 6)

    @property
    def zip_sizes(self) -> tuple[int, ...]:
        """KEY_BLOCK_SIZEs for which ROW_FORMAT=COMPRESSED works here, in KiB."""
        largest = 0 if self.page_size > 16384 else self.page_size // 1024
        return tuple(k for k in (1, 2, 4, 8, 16) if k <= largest)


def kind_of(server: LabServer) -> Kind:
    """The Kind of a lab server."""
    return Kind(server.mariadb, server.info.number, server.page_size)


def quote(*names: str) -> str:
    """`a`.`b`, whatever the names are."""
    return ".".join("`" + n.replace("`", "``") + "`" for n in names)


def row_tables(kind: Kind) -> dict[str, str]:
    """name -> CREATE options of the tables with every row format."""
    formats = {f"t_{f}": f"ROW_FORMAT={f.upper()}" for f in ("redundant", "compact", "dynamic")}
    zips = {f"t_zip{k}": f"ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE={k}" for k in kind.zip_sizes}
    if kind.mariadb:
        paged = {"t_paged": "PAGE_COMPRESSED=1"}
    else:
        # with pages no larger than the file system's blocks there is no hole to punch
        paged = {"t_paged": "COMPRESSION='zlib'"} if kind.number >= (5, 7) and kind.page_size > 4096 else {}
    return formats | zips | paged


def setup(server: LabServer, seed: int = 1, *, remote: str = "") -> None:
    """Create and fill everything. ``remote``: a folder for tables and tablespaces outside the data directory."""
    kind, rng = kind_of(server), random.Random(seed)
    statements = [*_bank(), *_rows(kind, rng), *_misc(kind), *_other_engines(kind), *_odd(), *_code(kind), *_users(kind)]
    if kind.mariadb:
        statements += ["CREATE SEQUENCE misc.seq START WITH 5 INCREMENT BY 3 CACHE 20"]
    statements += _tablespaces(kind, remote)
    server.sql(*statements)


def _bank() -> list[str]:
    accounts = ",".join(f"({i},{BALANCE})" for i in range(ACCOUNTS))
    return [
        "CREATE DATABASE bank",
        "CREATE TABLE bank.account (id INT PRIMARY KEY, balance BIGINT NOT NULL) ENGINE=InnoDB",
        f"INSERT INTO bank.account VALUES {accounts}",
        "CREATE TABLE bank.transfer (id BIGINT AUTO_INCREMENT PRIMARY KEY, source INT NOT NULL, target INT NOT NULL,"
        " amount INT NOT NULL, note VARCHAR(200), KEY (source), KEY (target)) ENGINE=InnoDB",
    ]


def noise(rng: random.Random, count: int) -> str:
    """``count`` characters that do not compress."""
    return rng.randbytes((count + 1) // 2).hex()[:count]


def _rows(kind: Kind, rng: random.Random) -> list[str]:
    out = ["CREATE DATABASE forms"]
    virtual = ", twice INT GENERATED ALWAYS AS (k * 2) VIRTUAL, KEY (twice)" if kind.virtual else ""
    for name, options in row_tables(kind).items():
        out.append(
            f"CREATE TABLE forms.{name} (id INT AUTO_INCREMENT PRIMARY KEY, k INT NOT NULL DEFAULT 0,"
            f" c VARCHAR(100) CHARACTER SET latin1, pad CHAR(30) CHARACTER SET latin1, big MEDIUMBLOB, f DOUBLE,"
            f" at TIMESTAMP NULL, KEY k1 (k){virtual}) ENGINE=InnoDB {options}"
        )
        for _ in range(0, ROWS, 500):
            values = ",".join(
                f"({rng.randrange(ROWS)},'{noise(rng, 60)}','{noise(rng, 20)}',{rng.random()})" for _ in range(500)
            )
            out.append(f"INSERT INTO forms.{name} (k,c,pad,f) VALUES {values}")
    out.append("CREATE TABLE forms.burn (id INT PRIMARY KEY, k INT NOT NULL, pad CHAR(40), KEY (k)) ENGINE=InnoDB")
    values = ",".join(f"({i},{i},'{noise(rng, 40)}')" for i in range(BURN_ROWS))
    return [*out, f"INSERT INTO forms.burn VALUES {values}"]


def _misc(kind: Kind) -> list[str]:
    out = [
        "CREATE DATABASE misc",
        "CREATE TABLE misc.parent (id INT PRIMARY KEY, v INT) ENGINE=InnoDB",
        "INSERT INTO misc.parent VALUES " + ",".join(f"({i},0)" for i in range(200)),
        "CREATE TABLE misc.child (id INT AUTO_INCREMENT PRIMARY KEY, pid INT, b MEDIUMBLOB,"
        " CONSTRAINT fk_child FOREIGN KEY (pid) REFERENCES misc.parent (id) ON DELETE CASCADE) ENGINE=InnoDB",
        "CREATE TABLE misc.words (id INT AUTO_INCREMENT PRIMARY KEY, t TEXT, FULLTEXT KEY (t)) ENGINE=InnoDB",
        "CREATE TABLE misc.hashed (id INT NOT NULL AUTO_INCREMENT, y INT NOT NULL, v VARCHAR(100), PRIMARY KEY (id, y),"
        " KEY (v)) ENGINE=InnoDB PARTITION BY HASH (y) PARTITIONS 4",
        "CREATE TABLE misc.subbed (id INT NOT NULL AUTO_INCREMENT, y INT NOT NULL, v VARCHAR(100), PRIMARY KEY (id, y))"
        " ENGINE=InnoDB PARTITION BY RANGE (y) SUBPARTITION BY HASH (id) SUBPARTITIONS 2"
        " (PARTITION p0 VALUES LESS THAN (50), PARTITION p1 VALUES LESS THAN MAXVALUE)",
        "CREATE TABLE misc.audit (id INT AUTO_INCREMENT PRIMARY KEY, what VARCHAR(50)) ENGINE=InnoDB",
        "CREATE TABLE misc.keyless (a INT, b VARCHAR(50)) ENGINE=InnoDB",
    ]
    if kind.virtual:
        out.append(
            "CREATE TABLE misc.generated (id INT AUTO_INCREMENT PRIMARY KEY, a INT, b VARCHAR(40),"
            " v INT GENERATED ALWAYS AS (a % 7) VIRTUAL, s VARCHAR(60) GENERATED ALWAYS AS (CONCAT(b, '-', a)) STORED,"
            " KEY (v), KEY (s)) ENGINE=InnoDB"
        )
    return out


def _other_engines(kind: Kind) -> list[str]:
    row = "(id INT NOT NULL AUTO_INCREMENT, v VARCHAR(100), KEY (id))"
    out = [f"CREATE TABLE misc.{t} {row} ENGINE=MyISAM" for t in ("mine1", "mine2")]
    out.append(f"CREATE TABLE misc.merged {row} ENGINE=MERGE UNION=(misc.mine1,misc.mine2) INSERT_METHOD=LAST")
    out.append("CREATE TABLE misc.commas (id INT NOT NULL, v VARCHAR(100) NOT NULL) ENGINE=CSV")
    if kind.mariadb:
        out.append(f"CREATE TABLE misc.aria {row} ENGINE=Aria TRANSACTIONAL=1")
        out.append(f"CREATE TABLE misc.aria_plain {row} ENGINE=Aria TRANSACTIONAL=0")
    return out


def with_archive(server: LabServer) -> bool:
    """Create ARCHIVE tables where the engine is there or can be loaded. Returns whether it is."""
    try:
        if server.mariadb:
            server.sql("INSTALL SONAME 'ha_archive'")
        server.sql("CREATE TABLE misc.archived (id INT, v VARCHAR(100)) ENGINE=ARCHIVE")
    except Exception as e:
        if getattr(e, "args", [0])[0] in (1126, 1286, 1289, 1030):
            return False
        raise
    return True


def _odd() -> list[str]:
    odd = quote(ODD_DATABASE, ODD_TABLE)
    return [
        f"CREATE DATABASE {quote(EMPTY_DATABASE)}",
        f"CREATE DATABASE {quote(ODD_DATABASE)}",
        f"CREATE TABLE {odd} (`a b` INT AUTO_INCREMENT PRIMARY KEY, `ключ` VARCHAR(40)) ENGINE=InnoDB",
        f"CREATE TABLE {quote(ODD_DATABASE, '#mine 3')} (`a b` INT) ENGINE=MyISAM",
        f"INSERT INTO {odd} (`ключ`) VALUES ('один'),('два')",
    ]


def _code(kind: Kind) -> list[str]:
    out = [
        "CREATE VIEW misc.seen AS SELECT id, y, v FROM misc.hashed WHERE y < 50",
        "CREATE PROCEDURE misc.note_it(w VARCHAR(50)) INSERT INTO misc.audit (what) VALUES (w)",
        "CREATE FUNCTION misc.doubled(n INT) RETURNS INT DETERMINISTIC NO SQL RETURN n * 2",
        "CREATE TRIGGER misc.word_in AFTER INSERT ON misc.words FOR EACH ROW"
        " INSERT INTO misc.audit (what) VALUES (CONCAT('word ', NEW.id))",
        "CREATE EVENT misc.tick ON SCHEDULE EVERY 1 DAY STARTS '2036-01-01 00:00:00'"
        " DO INSERT INTO misc.audit (what) VALUES ('tick')",
    ]
    if not kind.mariadb and kind.number < (8,):
        out.insert(0, "SET GLOBAL log_bin_trust_function_creators = 1")
    return out


def _users(kind: Kind) -> list[str]:
    # a hash of known text: a statement with a salted password would not replay to the same row
    native = "*0D3CED9BEC10A777AEC23CCC353A8C08A633045E"
    if kind.mariadb or kind.number < (5, 7):
        create = f"CREATE USER 'teller'@'localhost' IDENTIFIED BY PASSWORD '{native}'"
    else:
        create = "CREATE USER 'teller'@'localhost' IDENTIFIED BY 'secret'"
    grants = "GRANT SELECT, INSERT ON bank.* TO 'teller'@'localhost'"
    return [create, grants, "GRANT SELECT (id) ON misc.parent TO 'teller'@'localhost'"]


def _tablespaces(kind: Kind, remote: str) -> list[str]:
    """General tablespaces (MySQL 5.7+) and, where a folder is given for them, remote ones."""
    out = []
    body = "(id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(100)) ENGINE=InnoDB"
    if not kind.mariadb and kind.number >= (5, 7):
        out += ["CREATE TABLESPACE shared_ts ADD DATAFILE 'shared_ts.ibd' ENGINE=InnoDB"]
        out += [f"CREATE TABLE forms.in_shared{n} {body} TABLESPACE shared_ts" for n in (1, 2)]
    if remote:
        out.append(f"CREATE TABLE forms.remote {body} DATA DIRECTORY='{remote}'")
        out.append(
            "CREATE TABLE forms.remote_parts (id INT PRIMARY KEY, v VARCHAR(100)) ENGINE=InnoDB PARTITION BY HASH (id)"
            f" (PARTITION p0 DATA DIRECTORY='{remote}', PARTITION p1 DATA DIRECTORY='{remote}')"
        )
        if not kind.mariadb and kind.number >= (5, 7):
            out.append(f"CREATE TABLESPACE far_ts ADD DATAFILE '{remote}/far_ts.ibd' ENGINE=InnoDB")
            out.append(f"CREATE TABLE forms.in_far {body} TABLESPACE far_ts")
    return out
