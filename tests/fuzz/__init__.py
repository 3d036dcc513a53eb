"""Structured mutations of every file that the package reads, in processes with limits of memory and time.

``python -m tests.fuzz --cases 2000`` runs them, ``python -m tests.fuzz.replay FORMAT FILE`` one of them.

* ``corpus.py`` makes the sound files, ``mutators/`` damages them: bytes anywhere, and each format's own fields;
* ``targets.py`` uses a file as a user would, ``worker.py`` does so in a process with limits, ``pool.py`` keeps such
  processes and says what became of each case.

A case is the name of a format and a number: equal numbers give equal files.
"""
