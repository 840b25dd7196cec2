"""Corpora: many pictures as many files, on this machine or a cluster.

One picture is one unit: it is written under a temporary name and then renamed, it gives the same
bytes whenever it is done, and no unit depends on another. So a run may be stopped at any moment, by
any means, and the same command does what is missing.
"""
