"""DDL as a workload: tables created, dropped, renamed, swapped, truncated, rebuilt and reshaped, at random."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pymysql

from lab.schema import Kind, noise

# a random change that this table does not allow (no such index, too many columns or keys, a name taken)
NOT_NOW = {1091, 1061, 1060, 1069, 1118, 1117, 1050, 1071, 4092, 1846, 1845}


@dataclass
class DdlWriter:
    """Works in databases ``ddl`` and ``ddl2``, with names of its own; remembers which tables are alive."""

    run: Callable[..., None]
    rng: random.Random
    kind: Kind
    alive: list[str] = field(default_factory=list)
    made: int = 0
    tag: int = 0

    def __post_init__(self) -> None:
        self.tag = self.rng.randrange(10**6)
        self.run("CREATE DATABASE IF NOT EXISTS ddl", "CREATE DATABASE IF NOT EXISTS ddl2")
        self._partitioned()
        for _ in range(4):
            self._create()

    def step(self) -> None:
        """One change."""
        if len(self.alive) < 4 or (self.rng.random() < 0.25 and len(self.alive) < 25):
            self._create()
            return
        change = self.rng.choice(self._changes())
        try:
            change(self.rng.choice(self.alive))
        except pymysql.err.MySQLError as e:
            if e.args[0] not in NOT_NOW:
                raise

    def _changes(self) -> list[Callable[[str], None]]:
        usual = [
            self._drop, self._rename, self._swap, self._truncate, self._force, self._add_index, self._drop_index,
            self._add_column, self._optimize, self._rows, self._rebuild_partition, self._exchange, self._move,
        ]
        return usual

    def _formats(self) -> list[str]:
        zips = [f"ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE={k}" for k in self.kind.zip_sizes if k >= 4]
        return ["", "", "ROW_FORMAT=DYNAMIC", "ROW_FORMAT=REDUNDANT", *zips]

    def _name(self) -> str:
        self.made += 1
        return f"ddl.t{self.tag}_{self.made}"

    def _create(self) -> None:
        name = self._name()
        self.run(
            f"CREATE TABLE {name} (id INT AUTO_INCREMENT PRIMARY KEY, a INT, b VARCHAR(120) CHARACTER SET latin1)"
            f" ENGINE=InnoDB {self.rng.choice(self._formats())}"
        )
        self.alive.append(name)
        self._rows(name)

    def _partitioned(self) -> None:
        columns = "(id INT NOT NULL, a INT, b VARCHAR(120) CHARACTER SET latin1, PRIMARY KEY (id)) ENGINE=InnoDB"
        self.run(
            f"CREATE TABLE ddl.parted{self.tag} {columns} PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (1000),"
            " PARTITION p1 VALUES LESS THAN (2000), PARTITION p2 VALUES LESS THAN MAXVALUE)",
            f"CREATE TABLE ddl.partner{self.tag} {columns}",
        )
        for table, low in (("parted", 0), ("parted", 1000), ("partner", 1)):
            values = ",".join(f"({i},{i},'{noise(self.rng, 80)}')" for i in range(low, low + 400))
            self.run(f"INSERT INTO ddl.{table}{self.tag} VALUES {values}")

    def _rows(self, name: str) -> None:
        count = self.rng.randint(5, 500)
        values = ",".join(f"({self.rng.randrange(999)},'{noise(self.rng, 80)}')" for _ in range(count))
        self.run(f"INSERT INTO {name} (a, b) VALUES {values}")

    def _drop(self, name: str) -> None:
        self.run(f"DROP TABLE {name}")
        self.alive.remove(name)

    def _rename(self, name: str) -> None:
        new = self._name()
        self.run(f"RENAME TABLE {name} TO {new}")
        self.alive[self.alive.index(name)] = new

    def _move(self, name: str) -> None:
        new = self._name().replace("ddl.", "ddl2." if name.startswith("ddl.") else "ddl.")
        self.run(f"RENAME TABLE {name} TO {new}")
        self.alive[self.alive.index(name)] = new

    def _swap(self, name: str) -> None:
        other = self.rng.choice(self.alive)
        if other != name:
            self.run(f"RENAME TABLE {name} TO ddl.aside{self.tag}, {other} TO {name}, ddl.aside{self.tag} TO {other}")

    def _truncate(self, name: str) -> None:
        self.run(f"TRUNCATE TABLE {name}")
        self._rows(name)

    def _force(self, name: str) -> None:
        self.run(f"ALTER TABLE {name} FORCE")

    def _add_index(self, name: str) -> None:
        column = self.rng.choice(["a", "b(20)", "a, b(10)"])
        self.run(f"ALTER TABLE {name} ADD INDEX i{self.rng.randrange(9)} ({column})")

    def _drop_index(self, name: str) -> None:
        self.run(f"ALTER TABLE {name} DROP INDEX i{self.rng.randrange(9)}")

    def _add_column(self, name: str) -> None:
        column = f"c{self.rng.randrange(6)}"
        if self.rng.random() < 0.3:
            self.run(f"ALTER TABLE {name} DROP COLUMN {column}")
        else:
            self.run(f"ALTER TABLE {name} ADD COLUMN {column} INT NOT NULL DEFAULT {self.rng.randrange(99)}")
            self.run(f"UPDATE {name} SET {column} = {column} + 1 WHERE id % 3 = 0")

    def _optimize(self, name: str) -> None:
        self.run(f"OPTIMIZE TABLE {name}")

    def _rebuild_partition(self, _name: str) -> None:
        self.run(f"ALTER TABLE ddl.parted{self.tag} REBUILD PARTITION p{self.rng.randrange(3)}")

    def _exchange(self, _name: str) -> None:
        self.run(f"ALTER TABLE ddl.parted{self.tag} EXCHANGE PARTITION p0 WITH TABLE ddl.partner{self.tag}")
        self.run(f"UPDATE ddl.partner{self.tag} SET a = a + 1 WHERE id % 7 = {self.rng.randrange(7)}")
