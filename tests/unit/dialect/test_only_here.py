"""A version compared anywhere but in the table is a server that the table forgets."""

import re
from pathlib import Path

import goldcopy

SOURCE = Path(goldcopy.__file__).parent
# What comparing server versions looks like: an order between something called a version and anything, or between
# anything and a tuple of numbers such as (8, 0, 30)
COMPARISONS = (
    re.compile(r"\b\w*version(?:_tuple|_info|_number|\.numbers|\.major|\.series)?(?:\[[^]]*\])?(?:\([^)]*\))?\s*(?:<=?|>=?)(?!\w*])\s"),
    re.compile(r"(?:<=?|>=?)\s*\(\s*\d+\s*,\s*\d+[^()]*\)"),
    re.compile(r"(?:<=?|>=?)\s*(?:\w+\.)*\w*version\b"),
    re.compile(r"\bversion\w*(?:\.\w+)?\.startswith\("),
    re.compile(r"\bmajor\s*(?:<=?|>=?|==)|\bminor\s*(?:<=?|>=?|==)"),
)
# The Python that runs us is no server
ALLOWED = re.compile(r"sys\.version_info")


def offences(text):
    return [
        line.strip()
        for line in text.splitlines()
        if any(c.search(line) for c in COMPARISONS) and not ALLOWED.search(line)
    ]


def test_versions_are_compared_in_the_table_only():
    found = [
        f"{path.relative_to(SOURCE)}: {line}"
        for path in sorted(SOURCE.rglob("*.py"))
        if "dialect" not in path.relative_to(SOURCE).parts
        for line in offences(path.read_text())
    ]
    assert not found, "compare versions in goldcopy/dialect only:\n" + "\n".join(found)


def test_the_search_finds_what_it_is_for():
    for line in (
        "if version < 80030:", "if server.version >= other:", "if numbers >= (8, 0, 30):", "x = version_tuple > y",
        "if major >= 8:", "if info.version.startswith('8.0'):", "if (10, 8) <= v:  # x\nif v < (10, 8):",
        "if parse(a).numbers >= (10, 5):", "return v > self.version",
    ):
        assert offences(line), line
    for line in (
        "conversion = 3 < 4", "def choose(version: str) -> Dialect:", "if size > (a, b):",
        "if sys.version_info < (3, 12):",
    ):  # fmt: skip
        assert not offences(line), line
