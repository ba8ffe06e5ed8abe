"""What `tsfm forecast` and `tsfm backtest` read: a file of any kind, standard input, or a query, as series.

In order: ``load`` (which kind of source), ``typed`` with ``workbook``, ``parquet`` and ``statement`` (cells with
types, as text), ``series`` (one for each id, with covariates), ``clock`` (the times that follow the last one).
"""
