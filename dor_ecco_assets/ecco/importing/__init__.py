"""What other ECCO productions were configured with, turned into an overlay of ``configs/``.

`metadata` reads a folder of JSON files and a table, `generation` a ``product_generation_config``;
`table` holds datasets against PO.DAAC's table. Nothing is dropped in silence: an `Imported` lists
where every value came from and all that could not be carried over.
"""
