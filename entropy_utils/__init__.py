"""Entropy in nine papers: the quantities, the methods and the experiments behind the notebooks.

Importing the package loads nothing heavy: import the room you need, for example
``from entropy_utils import information`` or ``from entropy_utils.language_model import token_statistics``.
"""

__version__ = "0.1.0"
