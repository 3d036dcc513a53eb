"""The page where people look into a network: its files, and the data and pictures that it shows.

Everything that the page shows has an address below ``ui/``, and the same address below the folder that
:mod:`.export` writes. :mod:`.routes` serves them, :mod:`.resources` computes them.
"""
