"""Reports on any set of runs: tables in the terminal and one HTML page.

::

    run folders --> results --> sections/*  plain data: Section, Table, Picture ... (blocks)
                                    |
                        +-----------+------------+
                        |                        |
                      page                summary_tables
                        |                        |
                html + templates/             console
"""
