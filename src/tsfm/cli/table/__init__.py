"""A column of numbers out of a file that a person has, with the times beside it.

From bytes to numbers in order: ``text`` (what the file is, its encoding), ``rows`` (separator, header, widths),
``times`` and ``counted`` (the order of the rows; with pandas), ``numbers`` (decimal sign, gaps), ``column`` (which one;
all of it).
What can be read in two ways is refused, with the option that says which.
"""
