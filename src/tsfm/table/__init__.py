"""Reads one column of numbers, and the times beside it, from a person's text file.

From bytes to numbers in order: ``text`` (what the file is, its encoding), ``rows`` (separator, header, widths),
``times`` and ``counted`` (the order of the rows; with pandas), ``numbers`` (decimal sign, gaps), ``column`` (which one;
all of it).
Text that can be read in two ways is refused; the message names the option that decides.
"""
