"""The lab: real servers, a load on them, and the oracle that says whether a restored copy lost anything.

This room knows servers, SQL and the ``goldcopy`` command line. It imports nothing of ``goldcopy`` itself, so that
a fault there cannot hide itself here.
"""
