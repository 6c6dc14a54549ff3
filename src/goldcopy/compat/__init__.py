"""The command lines that DBAs know, in front of the same engine: a front translates words into requests, and back.

Knows the peers' options, their files' names and keys, the order of their steps and the words of their logs; what it
does with pages, redo and servers is ``capture``'s, ``restore``'s, ``image``'s and ``server``'s. ``front`` is the way in
of the backup programs, ``options`` declares what they take, ``backup``, ``prepare``, ``copyback`` and ``decompress``
are their modes.
"""
