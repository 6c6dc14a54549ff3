"""Goldcopy: hot backup, recovery and restore for MySQL and MariaDB.

The rooms of the house, from the street down (imports point downwards only, import-linter holds it):

- ``cli``, ``compat``: fronts. They parse, render and translate; no logic.
- ``commands``: one module per operation, its story in order.
- ``capture``, ``restore``: the long-running engines.
- ``image``: what a backup looks like to whoever writes it (Sink) or reads it (Image).
- ``server``: a live server: session, locks, log position, processes.
- ``dialect``: what differs between server families and versions, as records.
- ``formats``: bytes <-> values; no I/O, no clock.
- ``options``, ``events``, ``errors``: declared once, used everywhere.
"""

__version__ = "0.1.0"
