"""The folder of a catalog: what is in it, who may write, what was removed, compaction."""
